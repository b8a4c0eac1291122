"""Blocks are dealt to workers that come and go: each is kept once, in order, by few loads."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

import pytest

from valuebias import ValueBiasError
from valuebias.scoring.request import Block, blocks
from valuebias.scoring.scheduling import LOST, Dealer


class Model:
    """Blocks of one model, and what was kept of them."""

    def __init__(
        self, name: str, todo: Sequence[Block], *, group: Hashable = None, in_order: bool = False
    ) -> None:
        self.name, self.weight, self.in_order = name, 1.0, in_order
        self.group = group or name
        self.todo = todo
        self.kept: list[Block] = []
        self.begun, self.ended = 0, 0
        self.refused: set[tuple[int, int]] = set()

    def begin(self) -> Sequence[Block]:
        self.begun += 1
        return self.todo

    def keep(self, block: Block, answer: object) -> bool:
        assert answer == (self.name, block.index)
        if block.index in self.refused:
            self.refused.remove(block.index)
            return False
        self.kept.append(block)
        return True

    def end(self) -> None:
        assert self.begun == 1
        self.ended += 1


class Workers:
    """Workers in this process; some go, others come, answers arrive out of order."""

    def __init__(self, n: int, seed: int = 0, going: float = 0.0, losing: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.going, self.losing = going, losing
        self.present = [f"w{i}" for i in range(n)]
        self.asked: dict[int, tuple[str, Model, Block]] = {}
        self.loads: list[tuple[str, str]] = []
        self.has: dict[str, str] = {}
        self.most: Counter[str] = Counter()
        self.n, self.numbers, self.forgotten = n, 0, 0

    def workers(self) -> list[str]:
        return list(self.present)

    def submit(self, worker: str, job: Model, block: Block, ahead: Block | None) -> int:
        self.numbers += 1
        self.asked[self.numbers] = worker, job, block
        having = sum(other == worker for other, _, _ in self.asked.values())
        self.most[worker] = max(self.most[worker], having)
        if self.has.get(worker) != job.name:
            self.has[worker] = job.name
            self.loads.append((worker, job.name))
        return self.numbers

    def answers(self, seconds: float) -> Iterator[tuple[int, object]]:
        if self.random.random() < self.going:
            # It goes with all that it has, and another comes.
            gone = self.present.pop(self.random.randrange(len(self.present)))
            self.asked = {k: v for k, v in self.asked.items() if v[0] != gone}
            self.n += 1
            self.present.append(f"w{self.n}")
            return
        alive = [k for k, v in self.asked.items() if v[0] in self.present]
        for number in self.random.sample(alive, min(len(alive), self.random.randint(0, 3))):
            _, job, block = self.asked.pop(number)
            lost = self.random.random() < self.losing
            yield number, LOST if lost else (job.name, block.index)

    def forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.forgotten += self.asked.pop(number, None) is not None


def some_blocks(prompts: int, responses: int, shape: tuple[int, int]) -> list[Block]:
    return list(blocks(prompts, responses, shape))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("in_order", [False, True])
def test_each_block_is_kept_once_whoever_is_lost(seed: int, in_order: bool) -> None:
    models = [
        Model(f"m{i}", some_blocks(5 + i, 7, (1, 3)), group=i // 2, in_order=in_order)
        for i in range(5)
    ]
    models[1].todo = []
    models[2].refused = {(0, 0), (3, 1)}
    workers = Workers(3, seed, going=0.2, losing=0.05)
    Dealer(models, workers, beat=0.0, losses=100).run()  # type: ignore[arg-type]
    for model in models:
        assert sorted(b.index for b in model.kept) == [b.index for b in model.todo]
        assert (model.begun, model.ended) == (1, 1)
        if in_order:
            rows = [[b.index[1] for b in model.kept if b.index[0] == i] for i in range(9)]
            assert all(row == sorted(row) for row in rows)
    assert max(workers.most.values()) <= 2
    assert not workers.asked


def test_models_stay_where_they_are() -> None:
    """Four models on four workers: one load each, but for those that help at the end."""
    models = [Model(f"m{i}", some_blocks(40, 1, (1, 1))) for i in range(4)]
    workers = Workers(4, 1)
    Dealer(models, workers, beat=0.0).run()  # type: ignore[arg-type]
    assert workers.loads[:4] == [(f"w{i}", f"m{i}") for i in range(4)]
    assert len(workers.loads) < 10


def test_models_of_one_base_go_to_one_worker() -> None:
    models = [Model(f"m{i}", some_blocks(4, 1, (1, 1)), group=f"base{i % 2}") for i in range(6)]
    workers = Workers(2, 1)
    Dealer(models, workers, beat=0.0).run()  # type: ignore[arg-type]
    first = dict(reversed(workers.loads))
    assert first == {"w0": "m0", "w1": "m1"}
    second = [name for worker, name in workers.loads if worker == "w0"][1]
    assert second == "m2"


def test_one_model_goes_to_all() -> None:
    model = Model("m", some_blocks(10, 1, (1, 1)))
    workers = Workers(5)
    Dealer([model], workers, beat=0.0).run()  # type: ignore[arg-type]
    assert {worker for worker, _ in workers.loads} == {f"w{i}" for i in range(5)}


def test_a_block_that_ends_its_workers_is_given_up() -> None:
    class Killing(Workers):
        def answers(self, seconds: float) -> Iterator[tuple[int, object]]:
            for number, (_, _, block) in list(self.asked.items()):
                if block.index == (2, 0):
                    del self.asked[number]
                    yield number, LOST
                    return
            yield from super().answers(seconds)

    model = Model("org/model", some_blocks(4, 1, (1, 1)))
    workers = Killing(2)
    with pytest.raises(ValueBiasError, match=r"6 workers were lost .*\(2, 0\).*'org/model'"):
        Dealer([model], workers, beat=0.0).run()  # type: ignore[arg-type]
    assert not workers.asked


def test_workers_that_do_not_come_back() -> None:
    class Leaving(Workers):
        def answers(self, seconds: float) -> Iterator[tuple[int, object]]:
            self.present.clear()
            return iter(())

    model = Model("m", some_blocks(4, 1, (1, 1)))
    with pytest.raises(ValueBiasError, match="All workers are gone, and none came back in 0 s"):
        Dealer([model], Leaving(2), beat=0.0, patience=0.05).run()  # type: ignore[arg-type]


def test_what_is_asked_is_dropped_on_an_error() -> None:
    class Stopping(Workers):
        def answers(self, seconds: float) -> Iterator[tuple[int, object]]:
            raise KeyboardInterrupt

    workers = Stopping(2)
    with pytest.raises(KeyboardInterrupt):
        Dealer([Model("m", some_blocks(9, 1, (1, 1)))], workers).run()  # type: ignore[arg-type]
    assert (workers.forgotten, workers.asked) == (4, {})
