"""Studies that train tiny models, small enough to be run in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import tiny_models

from valuebias import Model
from valuebias.ablation import Study, TrainingSettings

__all__ = ["BRIEF", "FAST", "WORDS", "bases", "files", "grid", "pairs", "study"]

WORDS = {"agency": ["power", "control", "mastery"], "communion": ["love", "trust", "care"]}
PROMPTS = pd.DataFrame(
    {"text": ["The best?", "The worst?"], "framing": ["positive", "negative"]}, index=["b", "w"]
)
FAST = TrainingSettings(learning_rate=1e-2, epochs=3, linear_checkpoints=1, log_checkpoints=3)
BRIEF = TrainingSettings(max_steps=1, log_checkpoints=0, linear_checkpoints=0)


def pairs(n: int, *, long: int = 0) -> pd.DataFrame:
    """Make pairs in which "love" is preferred to "power"; some of them are long."""
    answers = [f"love {i % 5}" + " and trust" * 30 * (i < long) for i in range(n)]
    worse = [f"power {i % 7}" for i in range(n)]
    prompts = [f"Which, {i}?" for i in range(n)]
    return pd.DataFrame({"prompt": prompts, "chosen": answers, "rejected": worse})


def bases(folder: Path) -> Path:
    """Write the two bases that studies are about."""
    tiny_models.tiny("llama", "logprob", folder / "llama")
    tiny_models.tiny("gemma2", "logprob", folder / "gemma", seed=1)
    return folder


def study(folder: Path, **changes: Any) -> Study:
    """Describe a study of one base; what is given changes it."""
    asked: dict[str, Any] = {
        "bases": Model(str(folder / "llama"), family="Llama", base="L"),
        "sources": {"plain": pairs(100)},
        "n_pairs": [24, 48],
        "seeds": [0],
        "tuning": "lora",
        "training": FAST,
        "prompts": PROMPTS,
        "lexicon": WORDS,
    }
    return Study(**asked | changes)


def grid(folder: Path) -> Study:
    """Describe a study of both bases."""
    return study(
        folder,
        bases=[
            Model(str(folder / "llama"), family="Llama", base="L"),
            Model(str(folder / "gemma"), family="Gemma", base="G"),
        ],
    )


def files(folder: Path) -> dict[Path, int]:
    """Say when each file was written, but for the scores put together at the end."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "scores.nc"
    }
