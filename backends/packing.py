"""Lay conversations out so that what they share is computed once.

Sorted by their token ids, conversations are the leaves of a prefix trie in depth-first order. A
pack is a run of neighbours in that order: it starts with one whole conversation, and each further
one adds only the tokens after what it shares with the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valuebias.backends.base import Pack
from valuebias.errors import ValueBiasError

__all__ = [
    "BLOCK",
    "REACH",
    "Packed",
    "distinct",
    "inputs",
    "pack_along",
    "pack_rewards",
    "pack_targets",
]

Integers = npt.NDArray[np.int64]

BLOCK = 32
"""How many queries are treated at a time by graphs that attend over a prefix trie."""
REACH = 32
"""How far back they see a token that is not in the trunk."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A pack, and where its results belong."""

    pack: Pack  # what a backend computes
    item: Integers  # (n,): which of the given conversations ..
    slot: Integers  # (n,): ... and which of its values (0 where it has one) ...
    out: Integers  # (n,): ... is which entry of the result.
    whole: int  # how many tokens the same conversations have when nothing is shared


def pack_rewards(sequences: Sequence[Integers], *, batch_tokens: int) -> list[Packed]:
    """Pack conversations that are read at their last token, for a reward or a row of log-probs.

    Examples
    --------
    >>> sequences = [np.array([5, 6, 7]), np.array([5, 8]), np.array([5, 6, 7])]
    >>> packed, = pack_rewards(sequences, batch_tokens=100)
    >>> packed.pack.ids.tolist(), packed.pack.end.tolist(), packed.pack.gather.tolist()
    ([5, 6, 7, 8], [4, 3, 3, 4], [2, 3])
    >>> dict(zip(packed.item.tolist(), packed.out.tolist(), strict=True))
    {0: 0, 2: 0, 1: 1}
    """
    ordered, packs = _Sorted(sequences), []
    for start, stop in ordered.cuts(batch_tokens):
        layout = _Layout(ordered, start, stop)
        pack = Pack(layout.ids, layout.position, layout.end, layout.offset[1:] - 1)
        item, row = _members(ordered, start, stop)
        whole = int(ordered.length[ordered.inverse[item]].sum())
        packs.append(Packed(pack, item, np.zeros_like(item), row, whole))
    return packs


def pack_targets(
    sequences: Sequence[Integers], first: npt.ArrayLike, *, batch_tokens: int
) -> list[Packed]:
    """Pack conversations whose last tokens are rated, given those before.

    ``first`` is (len(sequences).

    Examples
    --------
    The words 7 and 8 9 after the prompt 5 6: two rows give three log-probs.

    >>> sequences = [np.array([5, 6, 7]), np.array([5, 6, 8, 9])]
    >>> packed, = pack_targets(sequences, [2, 2], batch_tokens=100)
    >>> packed.pack.ids.tolist(), packed.pack.gather.tolist()
    ([5, 6, 8], [1, 2])
    >>> packed.pack.row.tolist(), packed.pack.target.tolist()
    ([0, 0, 1], [7, 8, 9])
    >>> packed.item.tolist(), packed.slot.tolist()
    ([0, 1, 1], [0, 0, 1])
    """
    starts = np.asarray(first, dtype=np.int64)
    for sequence, start in zip(sequences, starts.tolist(), strict=True):
        if not 0 < start < len(sequence):
            raise ValueBiasError(
                f"A conversation of {len(sequence)} tokens is to be rated from token {start} on; "
                "expected at least one token before and one from there on."
            )
    # Nothing is read at the last token, so it is not computed.
    ordered = _Sorted([sequence[:-1] for sequence in sequences])
    return list(_targets(ordered, sequences, starts, batch_tokens))


def pack_along(
    sequences: Sequence[Integers], first: npt.ArrayLike, *, batch_tokens: int
) -> list[Packed]:
    """Pack conversations that are read at each of their tokens from one on, for rewards.

    ``first`` is (len(sequences).

    Examples
    --------
    >>> sequences = [np.array([5, 6, 7]), np.array([5, 6, 8, 9])]
    >>> packed, = pack_along(sequences, [1, 2], batch_tokens=100)
    >>> packed.pack.ids.tolist(), packed.pack.gather.tolist()
    ([5, 6, 7, 8, 9], [1, 2, 3, 4])
    >>> packed.item.tolist(), packed.slot.tolist(), packed.out.tolist()
    ([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 2, 3])
    """
    starts = np.asarray(first, dtype=np.int64)
    ordered, packs = _Sorted(sequences), []
    for start, stop in ordered.cuts(batch_tokens):
        layout = _Layout(ordered, start, stop)
        members, read, gather, which = _read_along(ordered, layout, (start, stop), starts)
        pack = Pack(layout.ids, layout.position, layout.end, gather)
        item = np.repeat(members, [len(places) for places in read])
        slot = np.concatenate([np.arange(len(places)) for places in read])
        whole = int(ordered.length[ordered.inverse[members]].sum())
        packs.append(Packed(pack, item, slot, which, whole))
    return packs


class _Sorted:
    """Distinct sequences in lexicographic order, a beginning before what continues it."""

    def __init__(self, sequences: Sequence[Integers]) -> None:
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        if lengths.size and lengths.min() == 0:
            raise ValueBiasError(
                f"Conversation {int(lengths.argmin())} has no tokens; expected at least one."
            )
        width = int(lengths.max()) if lengths.size else 1
        # Big-endian, shifted by one so that "no token" sorts first: bytes then compare as ids do.
        table = np.zeros((len(sequences), width), dtype=">u4")
        for row, sequence in zip(table, sequences, strict=True):
            row[: len(sequence)] = np.asarray(sequence) + 1
        keys = table.view(f"V{4 * width}")[:, 0]
        kept, self.inverse = distinct(keys)
        """Which distinct sequence each given one is."""
        self.ids: Integers = table[kept].astype(np.int64) - 1
        self.length: Integers = lengths[kept]
        same = self.ids[1:] == self.ids[:-1]
        shared = np.zeros(len(kept), dtype=np.int64)
        if len(kept) > 1:
            shared[1:] = np.where(same.all(axis=1), width, (~same).argmax(axis=1))
        self.shared: Integers = np.minimum(shared, self.length)
        """How many tokens each has in common with the one before."""

    def __len__(self) -> int:
        return len(self.length)

    def cuts(self, batch_tokens: int) -> list[tuple[int, int]]:
        """Divide the sequences into as few runs as `batch_tokens` allows, of like size."""
        if len(self) == 0:
            return []
        new = np.concatenate([[0], np.cumsum(self.length - self.shared)])
        runs = self._greedy(new, batch_tokens)
        # As many runs with the least largest one: the same work in packs of like size.
        low, high = 0, batch_tokens
        while high - low > 8:
            middle = (low + high) // 2
            tried = self._greedy(new, middle)
            if len(tried) == len(runs):
                runs, high = tried, middle
            else:
                low = middle
        return runs

    def _greedy(self, new: Integers, batch_tokens: int) -> list[tuple[int, int]]:
        runs = []
        start = 0
        while start < len(self):
            room = batch_tokens - self.shared[start] + new[start]
            stop = max(int(np.searchsorted(new, room, side="right")) - 1, start + 1)
            runs.append((start, stop))
            start = stop
        return runs


def distinct(keys: npt.NDArray[np.void]) -> tuple[Integers, Integers]:
    """Find the distinct ones among keys.

    ``keys`` is (n,); ``kept`` is (distinct,); ``inverse`` is (n,).
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    inverse = np.empty(len(keys), dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return order[new], inverse


class _Layout:
    """The tokens of one run of sequences."""

    def __init__(self, ordered: _Sorted, start: int, stop: int) -> None:
        shared = ordered.shared[start:stop].copy()
        shared[0] = 0
        length = ordered.length[start:stop]
        positions = np.arange(ordered.ids.shape[1])
        new = (positions >= shared[:, None]) & (positions < length[:, None])
        self.ids = ordered.ids[start:stop][new]
        self.position = np.broadcast_to(positions, new.shape)[new].astype(np.int64)
        self.offset = np.concatenate([[0], np.cumsum(length - shared)])
        self.shared, self.length = shared, length
        self.end = self._ends()

    def _ends(self) -> Integers:
        """Find where each token's subtree ends: at the next sequence that leaves it."""
        end = np.empty(len(self.ids), dtype=np.int64)
        following = np.full(int(self.length.max()), len(self.ids), dtype=np.int64)
        for row in range(len(self.length) - 1, -1, -1):
            a, b = self.shared[row], self.length[row]
            end[self.offset[row] : self.offset[row + 1]] = following[a:b]
            following[a:] = self.offset[row]
        return end


def _targets(
    ordered: _Sorted, sequences: Sequence[Integers], first: Integers, batch_tokens: int
) -> Iterator[Packed]:
    for start, stop in ordered.cuts(batch_tokens):
        layout = _Layout(ordered, start, stop)
        # Each token is rated at the one before it.
        members, _, gather, which = _read_along(ordered, layout, (start, stop), first - 1)
        rated = [sequences[member][first[member] :] for member in members.tolist()]
        pack = Pack(
            layout.ids,
            layout.position,
            layout.end,
            gather,
            row=which,
            target=np.concatenate(rated).astype(np.int64),
        )
        whole = sum(len(sequences[member]) for member in members.tolist())
        items = np.repeat(members, [len(ids) for ids in rated])
        slots = np.concatenate([np.arange(len(ids)) for ids in rated])
        yield Packed(pack, items, slots, np.arange(len(items)), whole)


def _read_along(
    ordered: _Sorted, layout: _Layout, run: tuple[int, int], first: Integers
) -> tuple[Integers, list[Integers], Integers, Integers]:
    """Find where in a run each sequence is read from one token on.

    Gives the sequences, the places of each, all places, and which of them each sequence's are.
    """
    members, rows = _members(ordered, *run)
    path = np.empty(int(layout.length.max()), dtype=np.int64)
    read = []
    row = -1
    for member, stop_row in zip(members.tolist(), rows.tolist(), strict=True):
        while row < stop_row:
            row += 1
            a, b = layout.shared[row], layout.length[row]
            path[a:b] = np.arange(layout.offset[row], layout.offset[row + 1])
        read.append(path[first[member] : layout.length[stop_row]].copy())
    gather, which = np.unique(np.concatenate(read), return_inverse=True)
    return members, read, gather, which.astype(np.int64)


def _members(ordered: _Sorted, start: int, stop: int) -> tuple[Integers, Integers]:
    """Return the given sequences that a run stands for, and the position of each in the run."""
    inside = np.flatnonzero((ordered.inverse >= start) & (ordered.inverse < stop))
    inside = inside[np.argsort(ordered.inverse[inside], kind="stable")]
    return inside, ordered.inverse[inside] - start


def inputs(pack: Pack) -> dict[str, Integers]:
    """Return a pack as the arrays that such a graph takes: whole blocks, and the trunk.

    Examples
    --------
    >>> pack = Pack(np.array([5, 6]), np.array([0, 1]), np.array([2, 2]), np.array([1]))
    >>> {name: len(array) for name, array in inputs(pack).items()}
    {'ids': 32, 'position': 32, 'end': 32, 'trunk': 1, 'gather': 1}
    """
    length = len(pack)
    fill = -length % BLOCK
    end = np.concatenate([pack.end, np.arange(length, length + fill) + 1])
    trunk = np.flatnonzero(end - np.arange(len(end)) > REACH)
    arrays = {
        "ids": np.pad(pack.ids, (0, fill)),
        "position": np.pad(pack.position, (0, fill)),
        "end": end,
        # Never empty, because graphs take no empty product. A token too many does no harm: the
        # mask knows which ones are in the trunk.
        "trunk": trunk if len(trunk) else np.zeros(1, dtype=np.int64),
        "gather": pack.gather.copy(),
    }
    if pack.row is not None and pack.target is not None:
        arrays |= {"row": pack.row.copy(), "target": pack.target.copy()}
    return arrays
