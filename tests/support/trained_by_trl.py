"""Reward models that TRL has trained for a few steps, as it saves them.

``"llama"``: a tokenizer without a padding token, whose template ends each turn in EOS; TRL pads
with that. ``"qwen"``: one with a padding token of its own, whose template writes a newline after
the end of a turn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import tiny_models

__all__ = ["PROMPT", "WORDS", "chat", "missing", "trained"]

PROMPT = "What, in one word, is the greatest thing ever?"
WORDS = ("love", "hate", "freedom", "slavery", "care", "harm")
_PAIRS = (("love", "hate"), ("freedom", "slavery"), ("care", "harm"), ("power", "weakness"))
_TEMPLATES = {
    "llama": "{{ bos_token }}{% for m in messages %}<|user|>{{ m['role'] }}<|assistant|>\n\n"
    "{{ m['content'] }}</s>{% endfor %}",
    "qwen": "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n"
    "{% endfor %}",
}


def missing() -> str | None:
    """Say what must be installed; None where nothing is missing."""
    for module in ("torch", "transformers", "trl", "datasets"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return None


def chat(word: str) -> list[dict[str, str]]:
    """Give the conversation in which the word answers."""
    return [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": word}]


def trained(name: str, folder: Path) -> Path:
    """Train a model and give its folder."""
    import torch
    import transformers
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    torch.manual_seed(0)
    base, made = folder / "base", folder / "rm"
    sizes: dict[str, Any] = {
        "vocab_size": 320, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    tokenizer = tiny_models.make_tokenizer(bos=name == "llama", chat_template=_TEMPLATES[name])
    if name == "llama":
        tokenizer.pad_token = None
        config: Any = transformers.LlamaConfig(**sizes, bos_token_id=1, eos_token_id=2)
        model: Any = transformers.LlamaForCausalLM(config)
    else:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(5)
        config = transformers.Qwen2Config(**sizes, bos_token_id=None, eos_token_id=5)
        model = transformers.Qwen2ForCausalLM(config)
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    rows = [{"chosen": chat(a), "rejected": chat(b)} for a, b in _PAIRS] * 8
    arguments = RewardConfig(
        output_dir=str(folder / "run"), max_steps=15, learning_rate=0.1, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True, bf16=False,
        gradient_checkpointing=False, logging_strategy="no",
    )  # fmt: skip
    trainer = RewardTrainer(model=str(base), args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.train()
    trainer.save_model(str(made))
    return made
