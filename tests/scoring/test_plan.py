"""valuebias.plan: what is told beforehand is what then happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from naive_backend import NaiveBackend

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.backends import LoadedModel, Pack, Source, conversations
from valuebias.backends.torch_backend import TorchBackend
from valuebias.scoring import plan as module

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


class Counting(NaiveBackend):
    """Counts what it is given."""

    def __init__(self, *, packed: bool) -> None:
        self.packed = packed  # type: ignore[misc]
        self.packs = self.tokens = 0

    def load(self, source: Source) -> LoadedModel:
        loaded = super().load(source)
        forward = loaded.forward

        def counted(pack: Pack) -> np.ndarray:
            self.packs += 1
            paths = [np.arange(len(pack))] if self.packed else conversations(pack)[0]
            self.tokens += sum(map(len, paths))
            return forward(pack)

        loaded.forward = counted  # type: ignore[method-assign]
        return loaded


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny_models.tiny("llama", kind, root / kind) for kind in ("reward", "logprob")}


@pytest.fixture(scope="module")
def prompts() -> Any:
    return valuebias.prompts(
        {"a": "What is good?", "b": "What is bad?", "c": "Which one?"}, framing="positive"
    )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["reward", "logprob"])
@pytest.mark.parametrize("lexicon", [["love", "power", "trust and care"], "vocabulary"])
def test_counts_are_those_of_the_run(
    folders: dict[str, Path], prompts: Any, kind: Any, lexicon: Any, packed: bool
) -> None:
    engine = Counting(packed=packed)
    told = valuebias.plan(
        str(folders[kind]),
        prompts=prompts,
        lexicon=lexicon,
        kind=kind,
        backend=engine,
        batch_tokens=90,
    ).to_frame()
    assert engine.packs == 0
    valuebias.score(
        str(folders[kind]),
        prompts=prompts,
        lexicon=lexicon,
        kind=kind,
        backend=engine,
        batch_tokens=90,
        progress=False,
    )
    (row,) = told.to_dict("records")
    n_words = 320 if lexicon == "vocabulary" else 3
    assert row["pairs"] == 3 * n_words
    # A vocabulary's counts are estimated from some of its blocks.
    slack = 0.05 if lexicon == "vocabulary" and kind == "reward" else 0
    assert row["packs"] == pytest.approx(engine.packs, rel=slack)
    assert row["tokens"] == pytest.approx(engine.tokens, rel=slack)
    assert row["tokens"] <= row["unpacked"]
    assert row["shared"] == pytest.approx(1 - row["tokens"] / row["unpacked"])
    assert row["flop"] > 0
    assert row["seconds"] > 0


def test_as_text(folders: dict[str, Path], prompts: Any) -> None:
    models = [Model(str(folders["reward"]), name=name) for name in ("a", "<b>")]
    told = valuebias.plan(models, prompts=prompts, lexicon=["x"], backend=NaiveBackend)
    text = str(told)
    assert "2 models × 3 prompts × 1 words" in text
    assert "1024 tokens are assumed" in text
    assert "nothing is shared" in text
    lines = [line for line in text.splitlines() if line.startswith(("a ", "<b> ", "model "))]
    assert len({len(line) for line in lines}) == 1
    assert "&lt;b&gt;" in told._repr_html_()


def test_a_family_that_was_guessed_is_said(folders: dict[str, Path], prompts: Any) -> None:
    guessed = Model(str(folders["reward"]), name="guessed")
    named = Model(str(folders["reward"]), name="named", family="Ours")
    told = valuebias.plan([guessed, named], prompts=prompts, lexicon=["x"], backend=NaiveBackend)
    (note,) = [note for note in told.notes if "family" in note]
    assert note.startswith("'guessed': its family is taken for 'Llama', because its model type is")


def test_options_of_the_backend_are_used(folders: dict[str, Path], prompts: Any) -> None:
    asked: dict[str, Any] = {"prompts": prompts, "lexicon": ["love", "power"]}
    own = valuebias.plan(str(folders["reward"]), backend=TorchBackend(batch_tokens=30), **asked)
    given = valuebias.plan(str(folders["reward"]), backend="torch", batch_tokens=30, **asked)
    assert own.table["packs"].tolist() == given.table["packs"].tolist() == [3]
    assert "packs of up to 30 tokens" in own.headline
    assert not any("is assumed" in note for note in own.notes)
    on_cpu = valuebias.plan(str(folders["reward"]), backend=TorchBackend(device="cpu"), **asked)
    assert "on cpu" in on_cpu.headline


def test_needs_no_weights(folders: dict[str, Path], prompts: Any, tmp_path: Path) -> None:
    folder = tiny_models.tiny("llama", "reward", tmp_path / "bare")
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    told = valuebias.plan(str(folder), prompts=prompts, lexicon=["x"], backend=NaiveBackend)
    assert len(told.table) == 1


def test_bad_input(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueBiasError, match="batch_tokens is 0"):
        valuebias.plan(str(folders["reward"]), batch_tokens=0)


def test_the_speed_of_this_machine() -> None:
    # Between a slow core and a large card.
    assert 1e8 < module.matmul_speed("cpu", "float32") < 1e14


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (100, "100.0 s"), (150, "2.5 min"), (1e5, "27.8 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert module._seconds(seconds) == text
