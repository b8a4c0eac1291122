"""Packs hold every conversation, share what is shared and have at most batch_tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias.backends.base import Pack
from valuebias.backends.packing import pack_rewards, pack_targets
from valuebias.errors import ValueBiasError

conversation = st.lists(st.integers(0, 3), min_size=2, max_size=7)
several = st.lists(conversation, min_size=1, max_size=30)
budgets = st.integers(1, 40)


def arrays(conversations: Sequence[Sequence[int]]) -> list[np.ndarray]:
    return [np.array(ids, dtype=np.int64) for ids in conversations]


def seen_from(pack: Pack, token: int) -> list[int]:
    """Give the ids of what a token attends to, by the definition."""
    return [int(pack.ids[k]) for k in range(len(pack)) if k <= token < pack.end[k]]


@given(several, budgets)
def test_each_conversation_is_seen_from_where_it_is_read(
    conversations: list[list[int]], batch_tokens: int
) -> None:
    found = {}
    for packed in pack_rewards(arrays(conversations), batch_tokens=batch_tokens):
        pack = packed.pack
        for item, out in zip(packed.item, packed.out, strict=True):
            token = int(pack.gather[out])
            found[int(item)] = seen_from(pack, token)
            assert pack.position[token] == len(found[int(item)]) - 1
    assert found == dict(enumerate(conversations))


@given(several, budgets, st.randoms(use_true_random=False))
def test_each_target_is_rated_after_what_precedes_it(
    conversations: list[list[int]], batch_tokens: int, random: np.random.Generator
) -> None:
    first = [random.randint(1, len(ids) - 1) for ids in conversations]  # type: ignore[attr-defined]
    found = set()
    for packed in pack_targets(arrays(conversations), first, batch_tokens=batch_tokens):
        pack = packed.pack
        assert pack.row is not None
        assert pack.target is not None
        for item, slot, out in zip(packed.item, packed.slot, packed.out, strict=True):
            ids, place = conversations[item], first[item] + slot
            assert seen_from(pack, int(pack.gather[pack.row[out]])) == ids[:place]
            assert pack.target[out] == ids[place]
            found.add((int(item), int(slot)))
    assert found == {
        (i, s) for i, ids in enumerate(conversations) for s in range(len(ids) - first[i])
    }


@given(several, budgets)
def test_packs_are_ordered_shared_and_within_the_budget(
    conversations: list[list[int]], batch_tokens: int
) -> None:
    for packed in pack_rewards(arrays(conversations), batch_tokens=batch_tokens):
        pack = packed.pack
        assert len(pack) <= batch_tokens or len(packed.pack.gather) == 1
        assert (np.diff(pack.gather) > 0).all()
        # Siblings differ, so nothing is there twice.
        paths = [tuple(seen_from(pack, token)) for token in range(len(pack))]
        assert len(set(paths)) == len(paths)
        assert packed.whole == sum(len(conversations[item]) for item in packed.item)


@given(several, budgets, st.randoms(use_true_random=False))
def test_the_order_of_conversations_does_not_matter(
    conversations: list[list[int]], batch_tokens: int, random: np.random.Generator
) -> None:
    shuffled = list(conversations)
    random.shuffle(shuffled)  # type: ignore[arg-type]
    packs = [
        pack_rewards(arrays(given), batch_tokens=batch_tokens)
        for given in (conversations, shuffled)
    ]
    ours, theirs = ([packed.pack.ids.tolist() for packed in found] for found in packs)
    assert ours == theirs


def test_a_prefix_shared_by_all_is_there_once_a_pack() -> None:
    shared = list(range(100, 140))
    conversations = arrays([[*shared, word, 7, 8] for word in range(1000, 1300)])
    packs = pack_rewards(conversations, batch_tokens=512)
    assert len(packs) == 2
    assert sum(len(packed.pack) for packed in packs) == 2 * 40 + 300 * 3
    # Divided evenly, not one full and one nearly empty.
    sizes = [len(packed.pack) for packed in packs]
    assert max(sizes) - min(sizes) <= 16


def test_rows_are_read_after_the_last_token() -> None:
    (packed,) = pack_rewards(arrays([[1, 2], [1, 3], [1, 2]]), batch_tokens=10)
    assert packed.pack.target is None
    assert packed.pack.gather.tolist() == [1, 2]
    assert dict(zip(packed.item.tolist(), packed.out.tolist(), strict=True)) == {0: 0, 2: 0, 1: 1}


def test_nothing_gives_no_packs() -> None:
    assert pack_rewards([], batch_tokens=10) == []


def test_what_cannot_be_packed_is_said() -> None:
    with pytest.raises(ValueBiasError, match="Conversation 1 has no tokens"):
        pack_rewards(arrays([[1], []]), batch_tokens=10)
    with pytest.raises(ValueBiasError, match="at least one token before"):
        pack_targets(arrays([[1, 2]]), [0], batch_tokens=10)
    with pytest.raises(ValueBiasError, match="at least one token before and one from there"):
        pack_targets(arrays([[1, 2]]), [2], batch_tokens=10)
