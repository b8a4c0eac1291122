"""What a reward head reads, by transformers alone; and a model that has no such head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models

__all__ = ["bert", "hidden", "tensors", "two_layers"]


def hidden(folder: str, prompt: str, response: str) -> np.ndarray:
    """Compute what the head reads, with transformers and nothing of this package."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)["input_ids"]
    body = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return np.asarray(body(ids)[0][0, -1].double().numpy())


def bert(folder: Path) -> Path:
    import transformers

    encode = tiny_models.make_tokenizer(bos=True, chat_template=None)
    config = transformers.AutoConfig.for_model(
        "bert", vocab_size=len(encode), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_labels=1,
    )  # fmt: skip
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    encode.save_pretrained(folder)
    return folder


def tensors(folder: Path | str) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(path)
    return found


def two_layers(folder: Path, width: int = 16) -> Path:
    """Write a reward model whose head has two layers, as safetensors keep it."""
    import torch
    from safetensors.torch import save_file

    tiny_models.tiny("llama", "reward", folder)
    weights = tensors(folder)
    generator = torch.Generator().manual_seed(2)
    del weights["score.weight"]
    weights["score.0.weight"] = torch.randn(width, 32, generator=generator) / 6
    weights["score.0.bias"] = torch.randn(width, generator=generator)
    weights["score.2.weight"] = torch.randn(1, width, generator=generator) / 4
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["reward_head"] = {"kind": "mlp", "width": width}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
