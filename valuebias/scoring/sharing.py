"""Which part of a request a shard computes, so that several processes do one request together.

A share is made of whole rows of blocks: a model's blocks after the same prompts. Rewards of a
vocabulary need that, since a block looks up conversations that occurred in an earlier one. Rows are
laid end to end in the order of the request and cut into parts of like work, so that a shard loads
few models (labels of one head lie on one another, since one pass gives all of them); which shard
has a row follows from what a shard's store says of all of them.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from valuebias._core.checks import WHOLE
from valuebias._core.text import visible
from valuebias.errors import ValueBiasError, few, shown

__all__ = ["ScoringShard", "Share", "Work", "check_same_shard", "check_shard", "say_finished"]


class _Block(Protocol):
    @property
    def index(self) -> tuple[int, int]: ...


_B = TypeVar("_B", bound=_Block)
_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done for one model."""

    name: str  # its label
    prompts: int  # how many prompts its blocks have
    cost: int  # the work per prompt, roughly
    along: str = ""  # another label of the same head: the model from whose passes this is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One shard's part of a request."""

    index: int  # which shard, from 1
    n: int  # of how many
    n_prompts: int
    work: tuple[Work, ...]  # of all models of the request, in its order
    # Where the models are policies and those to be scored their references: each policy's name with
    # its reference's. A reference is scored where its policies are.
    references: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Name it, as in messages."""
        return f"shard {self.index} of {self.n}"

    def rows(self, name: str) -> frozenset[int]:
        """Say which rows of a model's blocks belong to the shard."""
        return self._own()[name]

    def names(self) -> list[str]:
        """List the models of which the shard has any."""
        return [name for name, rows in self._own().items() if rows]

    def of_references(self, references: Mapping[str, str]) -> Share:
        """Give the part of the references, by the name of their policies, that the shard needs."""
        return replace(self, references=tuple(references.items()))

    def of(self, name: str, blocks: Iterable[_B]) -> list[_B]:
        """Keep the shard's own among the blocks of a model."""
        own = self.rows(name)
        return [block for block in blocks if block.index[0] in own]

    def prompts(self, name: str) -> int:
        """Count the prompts after which the shard scores a model."""
        policies = {one: policy for policy, one in self.references}
        name_there = policies.get(name, name)
        each = next(one.prompts for one in self.work if one.name == name_there)
        return sum(min(each, self.n_prompts - row * each) for row in self.rows(name))

    def _own(self) -> dict[str, frozenset[int]]:
        """Give for each model the rows that belong to the shard."""
        owners = self._owners().items()
        own = {
            name: frozenset(row for row, shard in rows if shard == self.index)
            for name, rows in owners
        }
        if not self.references:
            return own
        needed: dict[str, frozenset[int]] = {}
        for policy, reference in self.references:
            needed[reference] = needed.get(reference, frozenset()) | own[policy]
        return needed

    def _owners(self) -> dict[str, list[tuple[int, int]]]:
        """Give for each model its rows, each with the shard that it belongs to.

        A row belongs to the shard in whose part of the whole work its middle lies. Counted in whole
        numbers, so that it is the same on every machine.
        """
        total = self.n_prompts * sum(one.cost for one in self.work if not one.along)
        owners: dict[str, list[tuple[int, int]]] = {}
        before = 0
        for one in self.work:
            if one.along:
                owners[one.name] = owners[one.along]
                continue
            owners[one.name] = []
            for row, start in enumerate(range(0, self.n_prompts, one.prompts)):
                work = one.cost * min(one.prompts, self.n_prompts - start)
                owners[one.name].append((row, (2 * before + work) * self.n // (2 * total) + 1))
                before += work
        return owners

    def record(self) -> dict[str, Any]:
        """Say in JSON's types which shard it is, and of what."""
        work = [
            {"name": w.name, "prompts": w.prompts, "cost": w.cost}
            | ({"along": w.along} if w.along else {})
            for w in self.work
        ]
        said = {"index": self.index, "n": self.n, "n_prompts": self.n_prompts, "models": work}
        return said | ({"references": dict(self.references)} if self.references else {})

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> Share | None:
        """Read what a store's provenance says of its shard; None where it is none."""
        said = provenance.get("shard")
        if said is None:
            return None
        try:
            work = tuple(
                Work(
                    name=str(w["name"]),
                    prompts=int(w["prompts"]),
                    cost=int(w["cost"]),
                    along=str(w.get("along", "")),
                )
                for w in said["models"]
            )
            own = {one.name: one.prompts for one in work if not one.along}
            share = cls(
                index=int(said["index"]),
                n=int(said["n"]),
                n_prompts=int(said["n_prompts"]),
                work=work,
                references=tuple(dict(said.get("references", {})).items()),
            )
            # More prompts than anyone has would fill the memory with rows.
            whole = 0 < share.n_prompts <= _MOST and all(min(w.prompts, w.cost) > 0 for w in work)
            known = {policy for policy, _ in share.references} <= {w.name for w in work}
            known = known and all(own[w.along] == w.prompts for w in work if w.along)
            if not (1 <= share.index <= share.n and work and whole and known):
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueBiasError(
                f"The store's provenance says of its shard {shown(said)}, which valuebias.score "
                "does not write. Score the shard again, in another store."
            ) from error
        return share

    def difference(self, other: Share) -> str:
        """Say how the request of another shard differs; empty where it is the same."""
        if self.n != other.n:
            return f"a request in {self.n} shards, not {other.n}"
        if self.n_prompts != other.n_prompts:
            return f"{self.n_prompts} prompts, not {other.n_prompts}"
        names, others = [w.name for w in self.work], [w.name for w in other.work]
        more = [name for name in names if name not in others]
        less = [name for name in others if name not in names]
        if more or less:
            said = [f"with {few(more)}"] * bool(more) + [f"without {few(less)}"] * bool(less)
            return f"other models ({' and '.join(said)})"
        if names != others:
            return "the models in another order"
        if self.references != other.references:
            return "other references"
        pairs = list(zip(self.work, other.work, strict=True))
        if any(one.along != two.along for one, two in pairs):
            return "labels that are computed otherwise together"
        changed = [one.name for one, two in pairs if one.prompts != two.prompts]
        if changed:
            return f"blocks of another size of {few(changed)}"
        # Sizes that differ a little, as by another version of a library, need not change the parts.
        if self._owners() != other._owners():
            changed = [one.name for one, two in pairs if one.cost != two.cost]
            return f"models of another size ({few(changed)}), and so other parts"
        return ""


@dataclass(frozen=True, slots=True)
class ScoringShard:
    """One shard of a request, finished: a part of its scores, in a store.

    It stands for the path of its store, wherever a path may be given. What
    :func:`valuebias.read` gives of it has NaN for the scores of the other shards;
    :func:`valuebias.merge` puts all shards together.

    Attributes
    ----------
    store : pathlib.Path
        Where its scores are.
    index : int
        Which shard it is, from 1.
    n : int
        How many shards there are.
    n_blocks : int
        How many blocks of scores it has; 0 where there are fewer rows of blocks than shards.
    n_scores : int
        How many scores it has.

    Examples
    --------
    >>> print(ScoringShard(Path("shards/3.zarr"), 3, 8, 4, 9_828))
    Shard 3 of 8 is finished: 9,828 scores (4 blocks), in 'shards/3.zarr'. It is a part of the
    scores; once all 8 shards are finished, valuebias.merge(stores, out="scores.zarr") puts them
    together.
    """

    store: Path
    index: int
    n: int
    n_blocks: int
    n_scores: int

    def __fspath__(self) -> str:
        """Give the path of the store."""
        return str(self.store)

    def __str__(self) -> str:
        """Say what is there, and what is to be done with it."""
        return say_finished(self, 'valuebias.merge(stores, out="scores.zarr")')

    def _repr_html_(self) -> str:
        """Say the same in a notebook."""
        return f"<p>{html.escape(visible(str(self)))}</p>"


def say_finished(shard: ScoringShard, how: str) -> str:
    """Say what a shard has, and how it is put together with the others."""
    blocks = f"{shard.n_blocks} block{'s' if shard.n_blocks > 1 else ''}"
    what = f"{shard.n_scores:,} scores ({blocks}), in {str(shard.store)!r}"
    if not shard.n_blocks:
        what = f"nothing falls to it, as {str(shard.store)!r} says"
    return (
        f"Shard {shard.index} of {shard.n} is finished: {what}. It is a part of the scores; once "
        f"all {shard.n} shards are finished, {how} puts them together."
    )


def check_shard(shard: Any) -> tuple[int, int]:
    """Check what was given as ``shard=``.

    Examples
    --------
    >>> check_shard((3, 8))
    (3, 8)
    >>> check_shard((0, 8))
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: shard is (0, 8); expected (i, n), the i-th of n shards, ...
    """
    pair = isinstance(shard, Sequence) and not isinstance(shard, str | bytes) and len(shard) == 2
    whole = pair and all(isinstance(k, WHOLE) and not isinstance(k, bool) for k in shard)
    if not (whole and 1 <= shard[0] <= shard[1]):
        raise ValueBiasError(
            f"shard is {shown(shard)}; expected (i, n), the i-th of n shards, counted from 1 as in "
            "(3, 8)."
        )
    return int(shard[0]), int(shard[1])


def check_same_shard(path: Path, found: Share | None, asked: Share | None) -> None:
    """Refuse to go on with a shard as another one, or as the whole request."""
    name = repr(str(path))
    if asked is None and found is not None:
        said = f"The store {name} is {found} of a request. Go on with it as such"
        others = "to score the whole request, choose another store."
        raise ValueBiasError(
            f"{said} (shard=({found.index}, {found.n})); {others}",
            in_shell=f"{said} (--shard {found.index}/{found.n}); {others}",
        )
    if asked is not None and found is None:
        raise ValueBiasError(
            f"The store {name} was made without shards, so that it is not {asked}. Choose another "
            f"store for that."
        )
    if asked is None or found is None:
        return
    if (asked.index, asked.n) != (found.index, found.n):
        raise ValueBiasError(
            f"The store {name} is {found}, not {asked}. Each shard needs a store of its own: "
            "choose another."
        )
    difference = found.difference(asked)
    if difference:
        raise ValueBiasError(
            f"The store {name} is {found} of another request: {difference}. Its part would be "
            "another one now. Give the request as it was, or choose another store, also for all "
            "other shards."
        )
