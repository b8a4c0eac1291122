"""Tiny random models with a small real tokenizer, for everything that starts from text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from valuebias.backends.testing.samples import ARCHITECTURES, WINDOW, write_model

__all__ = [
    "ARCHITECTURES",
    "CHAT",
    "WINDOW",
    "missing",
    "tiny",
    "token_classifier",
    "write_tokenizer",
]

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>")
TEXT = (
    "What, in one word, is the greatest thing ever? What is the worst thing? Say the best, the "
    "most important, the least important; answer with one word. love power friendship ambition "
    "freedom competence kindness harmony success control trust care achievement community mastery"
)


def missing() -> str | None:
    """Say what must be installed before models can be written; None where nothing is missing."""
    for module in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return None


def tiny(
    architecture: str,
    kind: str,
    folder: Path,
    *,
    labels: int = 1,
    seed: int = 0,
    chat_template: str | None = CHAT,
    tokens: int = 320,
) -> Path:
    """Write a tiny random model and its tokenizer of so many tokens; give the folder back.

    `kind` is "reward" (a classifier of `labels` labels) or "logprob" (a causal language model).
    As in the real ones, Qwen has more rows than its tokenizer has tokens and writes no BOS.
    """
    qwen = architecture.startswith("qwen")
    encode = make_tokenizer(bos=not qwen, chat_template=chat_template, tokens=tokens)
    write_model(
        folder,
        architecture,
        kind=kind,  # type: ignore[arg-type]
        labels=labels,
        vocabulary=len(encode) + (24 if qwen else 0),
        seed=seed,
        special={"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    )
    encode.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, bos: bool = True, chat_template: str | None = CHAT) -> Path:
    """Write the tokenizer alone."""
    make_tokenizer(bos=bos, chat_template=chat_template).save_pretrained(folder)
    return folder


def make_tokenizer(*, bos: bool = True, chat_template: str | None = CHAT, tokens: int = 320) -> Any:
    """Train byte pairs on a paragraph: all 256 bytes, about sixty merges, six special tokens.

    With a thousand tokens, each of the paragraph's words is one.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    pad, bos, eos = SPECIAL[:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def token_classifier(folder: Path, *, labels: int = 2, architecture: str = "llama") -> Path:
    """Write a tiny random classifier of tokens, as TRL's trainer of process reward models does."""
    import torch
    import transformers

    encode = make_tokenizer(bos=True, chat_template=None)
    config = transformers.AutoConfig.for_model(
        architecture, vocab_size=len(encode), hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, num_labels=labels,
        pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(5)
    model = transformers.AutoModelForTokenClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    model.save_pretrained(folder)
    encode.save_pretrained(folder)
    return folder
