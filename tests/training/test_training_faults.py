"""Training studies that cannot go on, that leave something out, or that are not begun at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from naive_backend import NaiveBackend
from small_disk import fill, small_disk
from tiny_studies import BRIEF, bases, files, pairs, study

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.ablation import TrainingSettings

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("peft", reason="peft is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases(tmp_path_factory.mktemp("bases"))


def test_a_loss_that_is_no_number_fails_its_cell_alone(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    wild = tiny_models.tiny("llama", "logprob", tmp_path / "wild")
    weights = load_file(wild / "model.safetensors")
    # Hidden states so large that the square of a sum of rewards, times 1e9, overflows.
    weights["model.norm.weight"] *= 1e17
    save_file(weights, wild / "model.safetensors", {"format": "pt"})
    bases = [
        Model(str(wild), name="wild", family="W"),
        Model(str(folder / "llama"), name="tame", family="T"),
    ]
    settings = TrainingSettings(center_rewards_coefficient=1e9, max_steps=2, log_checkpoints=0)
    asked = study(folder, bases=bases, n_pairs=[16], training=settings)
    with pytest.warns(
        ValueBiasWarning, match="wild .* failed: The loss of 'wild' is inf in step 1"
    ):
        made = asked.run(tmp_path / "out", progress=False)
    assert set(made["base"].to_numpy()) == {"tame"}
    (failure,) = json.loads(made.attrs["provenance"])["failures"].items()
    assert failure[0] == "wild · plain · 16 · seed 0"
    assert "inf in step 1" in failure[1]
    # What was scored before is kept.
    assert len(list((tmp_path / "out" / "runs").glob("*/step-0000000.npz"))) == 2
    assert len(list((tmp_path / "out" / "runs").glob("*/done.json"))) == 1


@pytest.mark.parametrize("leave", [0, 50_000])
def test_a_full_disk(folder: Path, tmp_path: Path, leave: int) -> None:
    few, more = (study(folder, n_pairs=q, training=BRIEF) for q in ([16], [16, 32]))
    with small_disk(tmp_path / "disk", "8m") as place:
        few.run(place / "out", progress=False)
        before = files(place)
        ballast = fill(place, leave=leave)
        with pytest.raises(ValueBiasError, match=r"no room to write .*MB are free"):
            more.run(place / "out", progress=False)
        ballast.unlink()
        assert files(place) == before
        assert not list(place.rglob("*.part*"))
        made = more.run(place / "out", progress=False)
        assert set(made["n_pairs"].to_numpy()) == {16, 32}
        assert before.items() <= files(place).items()


def test_two_runs_in_one_folder(folder: Path, tmp_path: Path) -> None:
    from valuebias._core.locks import only_one

    (tmp_path / ".lock").touch()
    with (
        only_one(tmp_path / ".lock", noun="it", instead="another"),
        pytest.raises(ValueBiasError, match=r"Another process is writing to .*another folder"),
    ):
        study(folder).run(tmp_path, progress=False)
    assert not list(tmp_path.glob("runs"))


def test_pairs_that_are_too_long_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    source = valuebias.preferences(pairs(60, long=20), progress=False)
    settings = TrainingSettings(max_steps=1, log_checkpoints=0, max_length=60)
    asked = study(folder, sources={"some": source}, n_pairs=[40], training=settings)
    train, held_out = asked.split()["some"]
    drawn = train.subset(40, seed=0)
    long, measured = (sum("and trust" in c for c in p.pairs["chosen"]) for p in (drawn, held_out))
    assert long
    made = asked.run(tmp_path, progress=False)
    (counts,) = json.loads(made.attrs["provenance"])["runs"].values()
    assert counts == {
        "pairs": 40 - long,
        "pairs_too_long": long,
        "held_out_pairs": len(held_out) - measured,
        "held_out_pairs_too_long": measured,
    }
    row = asked.plan().table.xs("some", level="reads").iloc[0]
    share = sum("and trust" in c for c in train.pairs["chosen"]) / len(train)
    assert row["too_long"] == round(40 * share)
    assert row["steps"] == 1


def test_nothing_is_left_to_train_on(folder: Path, tmp_path: Path) -> None:
    asked = study(folder, training={"max_length": 3})
    with pytest.raises(ValueBiasError, match=r"All 24 pairs of 'plain' .* longer than 3 tokens"):
        asked.run(tmp_path, progress=False)


def test_what_is_not_installed_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ValueBiasError, match=r'trl is not installed.*"valuebias\[train\]"'):
        study(folder).run(tmp_path, progress=False)


def test_only_pytorch_trains(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="backend is 'naive', but models are trained with Py"):
        study(folder).run(tmp_path, backend=NaiveBackend(), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"target_modules": ["c_attn"]}}, "no matrix 'c_attn', .* it has .*q_proj"),
        ({"n_pairs": [1000]}, "'plain' has .* pairs to train on .* 1000 are needed"),
    ],
)
def test_what_a_run_refuses(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueBiasError, match=message):
        study(folder, **changes).run(tmp_path, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning": "lora", "penalty": 1.0}, "penalty is given, but the tuning is 'lora'"),
        ({"tuning": "head"}, "training is given, but the tuning is 'head'"),
        ({"training": "papr"}, "Did you mean 'paper'"),
        ({"training": {"rnk": 1}}, "Did you mean 'rank'"),
        ({"training": 3}, "expected the name of a preset"),
        ({"training": {"learning_rate": "1e-5"}}, "learning_rate is '1e-5'.*Write it as 1.0e-5"),
    ],
)
def test_bad_studies(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        study(folder, **changes)
