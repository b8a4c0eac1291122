"""The files beside a model's weights that can change its numbers, and their hash.

Configuration, tokenizer, chat templates and, where it may run, the code that comes with a model.
What is only about the model (its card, how it was trained, how text is generated with it) is not
among them; nor is an adapter beside the weights, because the weights are loaded without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from valuebias.scoring.weights import digest

__all__ = ["code_files", "companions", "tell"]

_PATTERNS = (
    "config.json",
    "configuration*.json",
    "modules.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tekken.json",
    "tokenizer*",
    "*tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.spm",
    "*.bpe",
    "*.tiktoken",
    "*.index.json",
    "chat_template*",
    "additional_chat_templates/*",
)
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".onnx_data", ".data", ".h5")
_ABOUT = (
    "readme*",
    "license*",
    "notice*",
    "*.md",
    "generation_config.json",
    "trainer_state.json",
    "training_args*",
    "*_results.json",
    "events.out.*",
    "*.log",
    "*.png",
    "*.jpg",
    "*.pyc",
    "adapter_*",
)
"""What lies in models' folders and is only about them."""


def companions(folder: Path) -> list[Path]:
    """Find what a tokenizer and a configuration are loaded from.

    Parameters
    ----------
    folder : pathlib.Path
        The model's, or the tokenizer's.

    Returns
    -------
    list of pathlib.Path
        Files, sorted.
    """
    found = {path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not path.name.lower().endswith(_WEIGHTS))


def code_files(folder: Path) -> list[Path]:
    """Find what code that comes with a model may be, or may read: all but weights.

    Parameters
    ----------
    folder : pathlib.Path
        The model's.

    Returns
    -------
    list of pathlib.Path
        Files, sorted; also in folders below, but for hidden ones.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.name.lower().endswith(_WEIGHTS)
        and not any(path.match(pattern) for pattern in _cases(_ABOUT))
    )


def tell(folder: Path, files: Iterable[Path]) -> str:
    """Hash files with their places in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        In which they lie.
    files : iterable of pathlib.Path
        Which.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    lines = [f"{path.relative_to(folder).as_posix()} {digest([path])}" for path in files]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _cases(patterns: Iterable[str]) -> list[str]:
    """Give patterns in the three ways in which such names are written."""
    return [made for p in patterns for made in (p, p.upper(), p.capitalize())]
