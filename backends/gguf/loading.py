"""Load the model of a GGUF file with transformers, its configuration and its head corrected."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from valuebias.backends.base import Source
from valuebias.backends.gguf.config import gguf_config
from valuebias.backends.gguf.files import read_gguf, whole

__all__ = ["load_gguf"]


def load_gguf(source: Source, family: Any, options: dict[str, Any]) -> tuple[Any, set[str]]:
    """Load a model from a GGUF file, or from all its parts."""
    import transformers

    path = source.folder / str(source.file)
    config = gguf_config(path, source.name)
    labels = options.pop("num_labels", None)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    quantised = getattr(transformers, "GgufConfig", None)
    with whole(path) as file:
        if quantised is not None:
            # Plain weights, where this transformers would leave them in blocks.
            options["quantization_config"] = quantised(gguf_file=file.name, dequantize=True)
        model, info = family.from_pretrained(
            file.parent, config=config, gguf_file=file.name, **options
        )
    missing = set(info["missing_keys"])
    if hasattr(model, "score"):
        missing -= _put_head(model, source)
    return model, missing


def _put_head(model: Any, source: Source) -> set[str]:
    """Copy the file's head into the classifier; transformers does not know its name."""
    small = read_gguf(source.folder / str(source.file)).small
    weight, bias = small.get("cls.output.weight"), small.get("cls.output.bias")
    if weight is None:
        return set()
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    head.weight.data = torch.from_numpy(weight.copy())
    if bias is not None:
        head.bias.data = torch.from_numpy(bias.copy())
    # In float32 as in the file, whatever the body is in.
    model.score = head.to(device=model.score.weight.device)
    return {"score.weight", "score.bias"}
