"""What a reward head reads, by transformers alone; and a model that has no such head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tiny_models

__all__ = ["bert", "hidden"]


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
