"""Several labels of one head: computed together, kept as rows of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from valuebias._core.arrays import Floats
from valuebias.backends.base import Backend, Source
from valuebias.models.labels import asks_several, one_a_label
from valuebias.models.resolve import resolve
from valuebias.schema.contract import check_unique
from valuebias.scoring.compute import NO_TOKENS, Batch
from valuebias.scoring.keeping import BlockWriter, InMemory, OnDisk
from valuebias.scoring.prepare import PreparedModel, by_base
from valuebias.scoring.references import Against
from valuebias.scoring.request import Block, ScoringRequest

__all__ = ["LabelWriters", "Places", "Together", "together", "with_labels"]


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
    def first(self) -> PreparedModel:
        """One of them: they differ in the label alone."""
        return self.members[0]

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
        if len(self.members) == 1:
            return self.first.name
        return str(self.first.entry.coords["reward_model"])


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


class Places:
    """Where the scores of models that are computed together are kept, and what is missing there."""

    def __init__(self, group: Together, keeper: InMemory | OnDisk, request: ScoringRequest) -> None:
        self._group, self._keeper, self._request = group, keeper, request
        self.vocabulary = NO_TOKENS
        if request.words is None:
            self.vocabulary = group.first.tokenizer().vocabulary()
        self._scores = [keeper.scores_of(one.entry, self.vocabulary) for one in group.members]
        self._missing = [self._own(i, scores.missing()) for i, scores in enumerate(self._scores)]
        own = [self._own(i, scores.blocks) for i, scores in enumerate(self._scores)]
        self.blocks = [block for some in own for block in some]
        """All blocks that this run is about, of each model."""
        self.todo = _union(self._missing)
        """Those to be computed."""
        self.pairs = sum(block.pairs for block in _union(own))
        self.n_responses = self._scores[0].n_responses

    def _own(self, i: int, blocks: list[Block]) -> list[Block]:
        share = self._request.share
        return blocks if share is None else share.of(self._group.members[i].name, blocks)

    def note_run(self, run: Mapping[str, Any]) -> None:
        """Write down with what the blocks are computed."""
        for model, missing in zip(self._group.members, self._missing, strict=True):
            if missing:
                self._keeper.note_run(model.name, run)

    def writers(self, against: Mapping[str, Against]) -> LabelWriters:
        """Give what finishes the blocks."""
        writers = [
            BlockWriter(self._request, model, scores, self.vocabulary, against.get(model.name))
            for model, scores in zip(self._group.members, self._scores, strict=True)
        ]
        return LabelWriters(writers, self._missing)


def _union(some: Sequence[Sequence[Block]]) -> list[Block]:
    """Give the blocks that any has, in order."""
    known = {block.index: block for blocks in some for block in blocks}
    return [known[index] for index in sorted(known)]
