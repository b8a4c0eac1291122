"""What a store writes down of the engine and the machine that computed a model's scores."""

from __future__ import annotations

import platform
from typing import Any

from valuebias._core.provenance import versions
from valuebias.scoring.compute import Runner

__all__ = ["SCORE_PACKAGES", "run_record", "score_packages"]

# The fields of a store's provenance on which scores may depend.
SCORE_PACKAGES = frozenset(
    ("numpy", "onnxruntime", "onnxruntime-gpu", "optimum-onnx", "tokenizers", "torch")
) | {"transformers", "valuebias"}


def score_packages() -> dict[str, str]:
    """Name the versions of the packages here on which scores may depend."""
    return {name: version for name, version in versions().items() if name in SCORE_PACKAGES}


def run_record(runner: Runner) -> dict[str, Any]:
    """Say with what a model is computed."""
    return {
        "device": runner.model.device,
        "dtype": runner.model.dtype,
        "batch_tokens": runner.batch_tokens,
        "details": runner.model.details(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": score_packages(),
    }
