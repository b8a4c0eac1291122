"""TRL's reward trainer, which hands what a batch puts out to further terms of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from trl import RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from valuebias.backends.heads import body_of
from valuebias.errors import ValueBiasError
from valuebias.training.terms import REFERENCE, BatchOutputs, Term, log_probs

if TYPE_CHECKING:
    from valuebias.training.language_head import LanguageHead

__all__ = ["OutputsTrainer", "PairCollator", "add_reference"]

_SIDES = ("chosen", "rejected")
_TOKENS = ("input_ids", "attention_mask")


class PairCollator(DataCollatorForPreference):  # type: ignore[misc]  # untyped
    """Pads pairs as TRL does, and puts numbers beside them: columns ``chosen_x``, ``rejected_x``.

    A batch has them as ``x``, of all chosen answers and then of all rejected ones.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch."""
        batch: dict[str, Any] = super().torch_call(examples)
        for column in examples[0]:
            side, _, name = column.partition("_")
            if side == _SIDES[0] and name != "ids":
                both = [one[f"{side}_{name}"] for side in _SIDES for one in examples]
                batch[name] = torch.tensor(both)
        return batch


class OutputsTrainer(RewardTrainer):  # type: ignore[misc]  # untyped
    """Adds `terms` to the loss, and stops at once where it is no number."""

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.terms: list[Term] = []
        self._base_name = name

    def training_step(self, *args: Any, **options: Any) -> Any:
        """Train on a batch."""
        loss = super().training_step(*args, **options)
        if not loss.isfinite():
            raise ValueBiasError(
                f"The loss of {self._base_name!r} is {loss.item()} in step "
                f"{self.state.global_step + 1}. Give a lower learning_rate, or float32 "
                "arithmetic (bf16=False)."
            )
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **options: Any
    ) -> Any:
        """Compute the reward's loss as TRL does, then each term from what came out for it."""
        tokens = {name: inputs[name] for name in _TOKENS}
        with last_hidden(model) as seen:
            loss, outputs = super().compute_loss(model, tokens, return_outputs=True, **options)
        batch = _outputs(inputs, seen[0], outputs)
        with self.accelerator.autocast():
            for term in self.terms:
                loss = term(loss, batch)
        return (loss, outputs) if return_outputs else loss

    def _set_signature_columns_if_needed(self) -> None:
        """Keep all columns: each is there for a term."""
        self._signature_columns = list(self.train_dataset.column_names)


@contextmanager
def last_hidden(model: Any) -> Iterator[list[Tensor]]:
    """Keep what the body of a classifier puts out while this is open, and no longer."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    seen: list[Tensor] = []
    hook = body_of(plain).register_forward_hook(lambda *given: seen.append(given[-1][0]))
    try:
        yield seen
    finally:
        hook.remove()


def _outputs(inputs: Mapping[str, Tensor], hidden: Tensor, outputs: Any) -> BatchOutputs:
    ids, mask = (inputs[name] for name in _TOKENS)
    beside = {name: values for name, values in inputs.items() if name not in _TOKENS}
    return BatchOutputs(ids, mask, hidden, outputs.logits[:, 0], beside)


def add_reference(trainer: OutputsTrainer, language: LanguageHead) -> None:
    """Add the log-probs of all answers before any training, as a column."""
    model, data = trainer.model.eval(), trainer.train_dataset
    size = trainer.args.per_device_train_batch_size
    found: dict[str, list[float]] = {side: [] for side in _SIDES}
    with torch.no_grad(), trainer.accelerator.autocast():
        for start in range(0, len(data), size):
            rows = [data[i] for i in range(start, min(start + size, len(data)))]
            made = trainer.data_collator(rows)
            made = {name: values.to(trainer.args.device) for name, values in made.items()}
            with last_hidden(model) as seen:
                outputs = model(**{name: made[name] for name in _TOKENS}, use_cache=False)
            values = log_probs(_outputs(made, seen[0], outputs), language).tolist()
            found["chosen"] += values[: len(rows)]
            found["rejected"] += values[len(rows) :]
    for side, values in found.items():
        data = data.add_column(f"{side}_{REFERENCE}", values)
    trainer.train_dataset = data
    model.train()
