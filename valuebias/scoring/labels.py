"""Several labels of one head: computed together, kept as rows of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from valuebias._core.arrays import Floats
from valuebias.backends.base import Backend, Source
from valuebias.models.labels import asks_several, one_a_label
from valuebias.models.resolve import resolve
from valuebias.schema.contract import check_unique
from valuebias.scoring.compute import Batch
from valuebias.scoring.keeping import BlockWriter
from valuebias.scoring.prepare import PreparedModel, by_base
from valuebias.scoring.request import Block, ScoringRequest

__all__ = ["LabelWriters", "Together", "together", "union", "with_labels"]


def with_labels(
    request: ScoringRequest, engine: Backend, *, weights: bool = True
) -> ScoringRequest:
    """Put a model for each label in the place of one that asks for several."""
    if request.kind != "reward" or not any(map(asks_several, request.models)):
        return request
    models = []
    for model in request.models:
        if not asks_several(model):
            models.append(model)
            continue
        resolved = resolve(
            model,
            kind=request.measured,
            with_weights=weights and engine.weights_here,
            adapted=engine.adapters,
        )
        models += one_a_label(model, resolved)
    check_unique([model.name for model in models], "model")
    return replace(request, models=tuple(models))


@dataclass(frozen=True, slots=True)
class Together:
    """Models that are computed in one go: labels of one head, and as a rule a single model."""

    members: tuple[PreparedModel, ...]

    @property
    def source(self) -> Source:
        """What is to be loaded."""
        sources = [member.resolved.source for member in self.members]
        if len(sources) == 1:
            return sources[0]
        return replace(
            sources[0],
            name=self.name,
            read_labels=tuple(source.label for source in sources),
        )

    @property
    def width(self) -> int | None:
        """How many rewards a conversation has; None where it is a single number."""
        return None if len(self.members) == 1 else len(self.members)

    @property
    def name(self) -> str:
        """What to call them in messages."""
        first = self.members[0]
        return first.name if len(self.members) == 1 else str(first.entry.coords["reward_model"])


def together(prepared: Sequence[PreparedModel], engine: Backend) -> list[Together]:
    """Group models by what is computed in one go, adapters of one base after one another."""
    groups: dict[str, list[PreparedModel]] = {}
    for model in (model for group in by_base(prepared) for _, model in group):
        alike = model.name
        if engine.several_labels and "label" in model.entry.coords:
            others = {k: v for k, v in model.entry.settings.items() if k != "label"}
            alike = json.dumps([model.entry.coords["reward_model"], others])
        groups.setdefault(alike, []).append(model)
    return [Together(tuple(members)) for members in groups.values()]


class LabelWriters:
    """Finishes the blocks of models that are computed together.

    ``missing`` says of which blocks each is to be written: of a label that was asked for later,
    others may be there.
    """

    def __init__(self, writers: Sequence[BlockWriter], missing: Sequence[Sequence[Block]]) -> None:
        self._writers = writers
        self._missing = [frozenset(block.index for block in some) for some in missing]

    def __call__(self, batch: Batch, values: Floats) -> None:
        """Check and store a block."""
        if len(self._writers) == 1:
            self._writers[0](batch, values)
            return
        for k, (writer, missing) in enumerate(zip(self._writers, self._missing, strict=True)):
            if batch.block.index in missing:
                writer(batch, values[..., k])


def union(some: Sequence[Sequence[Block]]) -> list[Block]:
    """Give the blocks that any has, in order."""
    known: Mapping[tuple[int, int], Block] = {b.index: b for blocks in some for b in blocks}
    return [known[index] for index in sorted(known)]
