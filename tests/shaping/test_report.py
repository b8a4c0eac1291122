"""Reports say what they rest on, and refuse what they cannot say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import tiny_models
from shaped import two_layers

import valuebias
from valuebias import ContrastSet, Model, ShapingReport, ValueBiasError, plots
from valuebias.backends.base import LoadedModel, Source
from valuebias.backends.torch_backend import TorchBackend

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


@pytest.fixture(scope="module")
def shaped(tiny: Model, long: ContrastSet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    some = long.select(items=long.items[:7])
    found = valuebias.direction(tiny, some, penalty="auto", progress=False)
    return valuebias.shape(tiny, found, out=tmp_path_factory.mktemp("out") / "shaped")


def report(before: Any, after: Any, axes: Any = None, **options: Any) -> ShapingReport:
    options = {"lexicons": {}, "progress": False} | options
    return valuebias.shaping_report(before, after, axes, **options)


def right(n: int = 9) -> ContrastSet:
    rows = [
        {"prompt": f"What is {i} + 1?", "correct": [True, False, False],
         "answers": {"right": f"{i + 1}", "wrong": f"{i + 2}", "odd": f"love {i}"}}
        for i in range(n)
    ]  # fmt: skip
    return valuebias.contrast_set(rows, name="sums")


def test_numbers_are_of_items_that_were_not_used(
    tiny: Model, shaped: Model, long: ContrastSet
) -> None:
    found = report(tiny, shaped, {"length": long}, accuracy=right())
    row = found.table.iloc[0]
    assert (row["n"], row["unit"], row["first"], row["target"]) == (5, "items", "long", True)
    held_out = long.select(items=long.items[7:])
    scores = valuebias.score_contrasts([tiny, shaped], held_out, progress=False)["score"]
    gaps = (scores.sel(variant="long") - scores.sel(variant="short")).to_numpy().astype(float)
    assert row[["before", "after"]].tolist() == pytest.approx(gaps.mean(1).tolist(), abs=1e-5)
    half = 2.1318 * (gaps[1] - gaps[0]).std(ddof=1) / 5**0.5
    assert row["change_upper"] - row["change"] == pytest.approx(half, rel=1e-3)
    values = valuebias.score_contrasts([tiny, shaped], right(), progress=False)["score"]
    others = values.sel(variant=["wrong", "odd"])
    share = (values.sel(variant="right") > others).mean(("variant", "item")).to_numpy()
    assert found.accuracy[["before", "after"]].iloc[0].tolist() == pytest.approx(share.tolist())
    assert found.accuracy["n"].item() == 9
    assert found.removed == {"length": 1.0}
    assert found.to_frame().equals(found.table)
    assert found.headline() == str(found)
    assert found.headline() in repr(found)
    assert "length" in found._repr_html_()


class Counting(TorchBackend):
    """Counts the models that it loads."""

    loads: ClassVar[list[str]] = []

    def load(self, source: Source) -> LoadedModel:
        self.loads.append(source.name)
        return super().load(source)


def test_each_model_is_loaded_once_for_all_sets_and_scores_are_kept(
    tiny: Model, shaped: Model, long: ContrastSet, tmp_path: Path
) -> None:
    engine, store = Counting(), tmp_path / "scores"
    asked = {"axes": {"length": long, "again": (long, ("short", "long"))}, "accuracy": right()}
    found = report(tiny, shaped, **asked, backend=engine, store=store)
    assert len(engine.loads) == 2
    words = {"lexicons": {"x": {"a": ["love", "trust"], "b": ["power", "win"]}}}
    more = report(tiny, shaped, **asked, **words, backend=engine, store=store)
    assert len(engine.loads) == 4  # for the words only
    assert sorted(path.name for path in store.iterdir()) == ["contrasts.zarr", "words-1.zarr"]
    pd.testing.assert_frame_equal(more.accuracy, found.accuracy)
    again = report(tiny, shaped, **asked, **words, backend=engine, store=store)
    assert len(engine.loads) == 4
    pd.testing.assert_frame_equal(again.table, more.table)


def test_a_store_may_hold_further_models_in_any_order(
    tiny: Model, shaped: Model, long: ContrastSet, tmp_path: Path
) -> None:
    other = Model(str(tiny_models.tiny("llama", "reward", tmp_path / "other", seed=5)))
    plain = report(tiny, other, long)
    store = tmp_path / "scores"
    report(other, tiny, long, store=store)
    again = report(tiny, other, long, store=store)
    pd.testing.assert_frame_equal(again.table, plain.table)
    third = Model(str(tiny_models.tiny("llama", "reward", tmp_path / "third", seed=6)))
    pd.testing.assert_frame_equal(
        report(tiny, third, long, store=store).table, report(tiny, third, long).table
    )


def test_numbers_that_differ_late_are_levels_of_their_own(
    tiny: Model, shaped: Model, long: ContrastSet
) -> None:
    lines = [
        {"prompt": f"What is {i}?", "size": [1_000_000, 1_000_001],
         "answers": {"one": f"love {i}", "two": f"power {i}"}}
        for i in range(4)
    ]  # fmt: skip
    made = valuebias.contrast_set(lines, name="size")
    both = Model(tiny.location, name="both")
    found = report(tiny, both, {"size": (made, (1_000_001, 1_000_000), "size")})
    assert found.table[["first", "second"]].iloc[0].tolist() == ["1000001", "1000000"]


def test_preferences_count_by_prompt(tiny: Model, shaped: Model, long: ContrastSet) -> None:
    pairs = pd.DataFrame(
        {"prompt": ["Best?", "Best?", "Worst?"], "chosen": ["love", "trust", "power"],
         "rejected": ["power", "control", "care"]}
    )  # fmt: skip
    found = report(tiny, shaped, long, accuracy=pairs)
    assert found.accuracy["n"].item() == 2
    scores = [
        valuebias.score_contrasts(
            m, [{"prompt": p, "answers": [c, r]} for p, c, r in pairs.values], progress=False
        )["score"].to_numpy()[0]
        for m in (tiny, replace(shaped, base="x"))
    ]
    wins = [(s[:, 0] > s[:, 1]).astype(float) for s in scores]
    expected = [((w[0] + w[1]) / 2 + w[2]) / 2 for w in wins]
    assert found.accuracy[["before", "after"]].iloc[0].tolist() == pytest.approx(expected)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
             {"role": "user", "content": "c"}]  # fmt: skip
    longer = pd.DataFrame({
        "chosen": [[*turns, {"role": "assistant", "content": "yes"}]],
        "rejected": [[*turns, {"role": "assistant", "content": "no"}]],
    })  # fmt: skip
    with pytest.raises(ValueBiasError, match="has 3 messages before the answers"):
        report(tiny, shaped, long, accuracy=longer)


def test_a_model_that_others_changed_can_be_compared(tiny: Model, tmp_path: Path) -> None:
    other = tiny_models.tiny("llama", "reward", tmp_path / "other", seed=1)
    words = {"a": ["power", "control", "ambition"], "c": ["love", "care", "trust"]}
    found = report(tiny, str(other), lexicons={"words": words}, targets=["words"])
    assert found.table["target"].tolist() == [True]
    scores = valuebias.score(
        [tiny, Model(str(other), base="x")], lexicon=words, progress=False
    )  # fmt: skip
    member = scores["membership"].to_numpy()
    gap = scores["score"].to_numpy()[:, :, member[:, 0]].mean(2)
    gap = gap - scores["score"].to_numpy()[:, :, member[:, 1]].mean(2)
    positive = scores["framing"].to_numpy() == "positive"
    signed = (gap[:, positive].mean(1) - gap[:, ~positive].mean(1)) / 2
    assert found.table[["before", "after"]].iloc[0].tolist() == pytest.approx(
        signed.tolist(), abs=1e-4
    )
    assert "None of the axes is that of a direction" in str(
        report(tiny, str(other), lexicons={"words": words})
    )


def test_heads_of_two_layers_are_shaped_and_scored(long: ContrastSet, tmp_path: Path) -> None:
    model = Model(str(two_layers(tmp_path / "rm")), base="x")
    some = long.select(items=long.items[:7])
    found = valuebias.direction(model, some, penalty="auto", progress=False)
    after = valuebias.shape(model, found, out=tmp_path / "shaped", keep_mean=True)
    made = report(model, after, long)
    assert abs(made.table["after"].item()) < abs(made.table["before"].item())


def refused(message: str, *args: Any, **options: Any) -> None:
    with pytest.raises(ValueBiasError, match=message):
        report(*args, **options)


def test_what_cannot_be_compared_is_refused(
    tiny: Model, shaped: Model, long: ContrastSet, tmp_path: Path
) -> None:
    other = tiny_models.tiny("llama", "reward", tmp_path / "other", seed=1)
    refused("Give the model that it was shaped from", str(other), shaped, long)
    refused("There is no axis to compare", tiny, shaped)
    refused("Two axes are called 'length'", tiny, shaped, long, lexicons={"length": None})
    refused("Two axes are called 'length'", tiny, shaped, [long, long])
    refused("store is 3; expected the path", tiny, shaped, long, store=3)
    refused("store is ''; expected the path", tiny, shaped, long, store="")
    all_right = {"q": {"prompt": "Say it.", "answers": {"a": "x", "b": "y"}, "correct": True}}
    refused("All answers .* are right", tiny, shaped, long,
            accuracy=valuebias.contrast_set(all_right))  # fmt: skip
    refused("There is no axis 'x' that could be a target", tiny, shaped, long, targets=["x"])
    refused("expected contrast sets by their names", tiny, shaped, "long")
    refused("expected lexicons by the names", tiny, shaped, long, lexicons="agency-communion")
    refused("has 4 parts", tiny, shaped, {"length": (long, None, None, None)})
    refused("has no column 'correct'", tiny, shaped, long, accuracy=long)
    refused("prob is 1", tiny, shaped, long, prob=1)
    refused("tolerated is 5", tiny, shaped, long, tolerated=5)
    used = long.select(items=long.items[:8])
    refused(r"Estimate it from a part: valuebias.direction\(..., held_out=0.5\)", tiny, shaped,
            used)  # fmt: skip
    two = tiny_models.tiny("llama", "reward", tmp_path / "two", labels=2)
    both = Model(str(two), label="all")
    refused("have 4 labels together, and one of each is compared", both, both, long)


def test_items_are_held_out_by_their_names(tiny: Model, long: ContrastSet) -> None:
    half = valuebias.direction(tiny, long, held_out=0.5, penalty=1, progress=False)
    assert half.n_items == 6
    again = valuebias.direction(
        tiny, long.select(items=long.items[::-1]), held_out=0.5, penalty=1, progress=False
    )
    assert set(again.used) == set(half.used)
    for share in (1, -0.1, "half"):
        with pytest.raises(ValueBiasError, match="expected a share of the items"):
            valuebias.direction(tiny, long, held_out=share, penalty=1)
    with pytest.raises(ValueBiasError, match="leaves too little"):
        valuebias.direction(tiny, long, held_out=0.95, penalty=1)


@pytest.mark.parametrize(
    ("verdict", "after", "fall", "said", "removable"),
    [
        ("removed", (0.1, -0.1, 0.3), 0.01, "removed, as far as these items tell; up to 15%", True),
        ("still there", (0.4, 0.2, 0.6), 0.01, "20% of it is left: it is not removable", False),
        ("still there", (0.4, 0.2, 0.6), 0.2, "is left, and accuracy falls: it is not", False),
        ("entangled", (0.1, -0.1, 0.3), 0.2, "falls by 20.0 points, more than 5, so", False),
        ("entangled", (0.1, -0.1, 0.3), 0.08, "so few items that this may be chance", None),
    ],
)
def test_what_became_of_a_lean_is_said(
    verdict: str, after: tuple[float, float, float], fall: float, said: str, removable: object
) -> None:
    row = {"axis": "length", "first": "long", "second": "short", "unit": "items", "n": 40,
           "target": True, "verdict": verdict, "before": 2.0, "before_lower": 1.0,
           "before_upper": 3.0}  # fmt: skip
    row |= dict(zip(("after", "after_lower", "after_upper"), after, strict=True))
    measured = {"n": 90, "before": 0.9, "after": 0.9 - fall, "change": -fall,
                "change_lower": -fall - 0.1, "change_upper": 0.1 - fall}  # fmt: skip
    made = ShapingReport(
        pd.DataFrame([row]), pd.DataFrame([measured]), ("m", "n"), {"length": 1.0}, 0.9, 0.05
    )
    assert said in made.headline()
    assert made.removable is removable
    doubt = {
        0.01: "more than 5 points is not ruled out",
        0.08: "It seems to fall by more than 5 points, which is not settled",
    }.get(fall, "It falls by more than 5 points")
    assert doubt in made.headline()
    # Without a lean before there is nothing to be removed.
    none = replace(made, table=made.table.assign(before_lower=-1.0, verdict="removed"))
    assert "There was no clear lean before" in none.headline()


def test_the_figure_has_all_axes_in_order() -> None:
    ends = {"before": 2.0, "before_lower": 1.0, "before_upper": 3.0, "after": 0.5,
            "after_lower": -0.5, "after_upper": 1.5}  # fmt: skip
    rows = [
        {"axis": name, "first": "a", "second": "$b$", "target": name == "y", **ends}
        for name in ("x", "y", "<z>")
    ]
    accuracy = pd.DataFrame([{name: value / 4 for name, value in ends.items()}])
    made = ShapingReport(pd.DataFrame(rows), accuracy, ("m", "n"), {"y": 1.0}, 0.9, 0.05)
    figure = plots.plot_shaping(made, figsize=(5, 4))
    labels = [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()]
    assert labels == ["y", "x", "<z>"]
    assert figure.get_size_inches().tolist() == [5, 4]
    lines = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [1.0, 3.0] in [np.asarray(line).tolist() for line in lines]
    assert "90% intervals" in figure.axes[0].get_xlabel()
    assert len(figure.axes) == 2
