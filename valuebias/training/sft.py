"""Fine-tune a language model to answer prompts with chosen tokens: LoRA, by TRL's SFTTrainer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from valuebias._core.arrays import Integers
from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_number
from valuebias._core.provenance import record
from valuebias._core.sums import seal_folder
from valuebias.training.common import ARGUMENTS, Advance, apart, losses, reporting, without_futures

__all__ = ["LoraSettings", "merge", "train"]

_IGNORED = -100
"""The label of a token that the loss leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """How a language model is fine-tuned.

    Attributes
    ----------
    rank : int, default 8
        Of the low-rank change of every linear layer but the last.
    learning_rate : float, default 1e-3
        At the first step; it falls to 0 in a straight line.
    n_steps : int, default 60
        Updates.
    batch_size : int, default 8
        Answers in each of them.
    replay : float, default 0.5
        Share of the answers that the model gives itself: tokens drawn from what it says before any
        training. They keep the rest of the vocabulary nearer to what it was.

    Raises
    ------
    ValueBiasError
        If a number is out of its range.

    Examples
    --------
    >>> LoraSettings(n_steps=10)
    LoraSettings(rank=8, learning_rate=0.001, n_steps=10, batch_size=8, replay=0.5)
    >>> LoraSettings(rank=0)
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: rank is 0; expected a whole number above 0.
    """

    rank: int = 8
    learning_rate: float = 1e-3
    n_steps: int = 60
    batch_size: int = 8
    replay: float = 0.5

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("rank", "n_steps", "batch_size"):
            check_number(getattr(self, name), name, "a whole number above 0", least=1, kinds=int)
        expected = "a number above 0 and below 1"
        rate, share, kinds = self.learning_rate, self.replay, int | float
        check_number(
            rate, "learning_rate", expected, least=0, most=1, above=True, below=True, kinds=kinds
        )
        expected = "a share, 0 or more, below 1"
        check_number(share, "replay", expected, least=0, most=1, below=True, kinds=kinds)


def train(
    folder: Path,
    tokenizer: Path,
    answers: Sequence[tuple[Integers, int]],
    target: Path,
    *,
    name: str,
    settings: LoraSettings,
    seed: int,
    on_cpu: bool,
    advance: Advance | None,
) -> None:
    """Train an adapter and write it, whole or not at all."""
    with apart(seed) as scratch:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoTokenizer, PrinterCallback
        from trl import SFTConfig, SFTTrainer

        arguments = SFTConfig(
            output_dir=str(scratch),
            max_steps=settings.n_steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            seed=seed,
            bf16=False,
            use_cpu=on_cpu,
            # The tokens and their labels are here already.
            dataset_kwargs={"skip_prepare_dataset": True},
            **ARGUMENTS,
        )
        trainer = SFTTrainer(
            model=_model(folder),
            args=arguments,
            train_dataset=Dataset.from_list([_example(ids, first) for ids, first in answers]),
            processing_class=AutoTokenizer.from_pretrained(tokenizer, local_files_only=True),
            peft_config=LoraConfig(
                r=settings.rank,
                lora_alpha=2 * settings.rank,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
            callbacks=[reporting(advance)] if advance is not None else [],
        )
        # Without bars of its own, the trainer prints every loss instead.
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        details = {"loss": losses(trainer), "settings": asdict(settings), "seed": seed}
        # Else where the model lies on this machine would be kept with it; so it is in the card.
        for adapter in trainer.model.peft_config.values():
            adapter.base_model_name_or_path = name
        with atomic_path(target) as part:
            # Told not to look whether the vocabulary has grown, which would ask the hub.
            trainer.model.save_pretrained(part, save_embedding_layers=False)
            (part / "README.md").unlink(missing_ok=True)
            about = json.dumps(record(details=details))
            (part / "training.json").write_text(about, encoding="utf-8")
            seal_folder(part)


def merge(folder: Path, adapter: Path, target: Path) -> None:
    """Put an adapter into the weights of its model, and write both as one model."""
    from peft import PeftModel

    from valuebias.backends.loading import quiet

    with quiet(), without_futures():
        model = PeftModel.from_pretrained(_model(folder), adapter).merge_and_unload()
        with atomic_path(target) as part:
            model.save_pretrained(part)
            seal_folder(part)


def _model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )


def _example(ids: Integers, first: int) -> dict[str, list[int]]:
    tokens = [int(token) for token in ids]
    return {"input_ids": tokens, "labels": [_IGNORED] * first + tokens[first:]}
