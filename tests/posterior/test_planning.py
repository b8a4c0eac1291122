"""What a design would find, against fits of the same scores."""

from __future__ import annotations

import numpy as np
import pytest

import valuebias
from valuebias import ValueBiasError, simulate
from valuebias.analysis.replication import expected_sd
from valuebias.posterior.headline import detectable
from valuebias.posterior.planning import _Design, _variances, bases_needed, make_plan

pytestmark = pytest.mark.once
SETTINGS = {"draws": 500, "tune": 300, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


@pytest.fixture(scope="module")
def fit() -> valuebias.Fit:
    ds = simulate(
        n_models={"Alder": [2, 2, 2, 2], "Birch": [2, 2, 2, 2]}, n_prompts=8, n_words=40,
        effects={"Alder": 0.02, "Birch": -0.02}, sd={"base_category": 0.1}, seed=4,
    )  # fmt: skip
    return valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]


def test_a_simulated_posterior_is_that_of_a_fit() -> None:
    """On the same scores: its mean, SD and probability, up to the draws of both."""
    plan = make_plan(_Design(2, 4, 2, 8, 40), None)
    typical, _ = _variances(plan.problem.components, None)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        cube = plan.simulate(typical, 0.2, rng)
        mixture = plan.posterior(cube, rng)
        names = [f"family {i + 1}" for i in range(2)]
        scores = simulate(
            n_models={name: [2] * 4 for name in names}, n_prompts=8,
            n_words={"first": 16, "second": 24}, seed=0,
        )  # fmt: skip
        scores = scores.assign(score=(scores["score"].dims, cube.astype(np.float32)))
        row = valuebias.fit(scores, "~ family", **SETTINGS).contrasts().iloc[0]  # type: ignore[call-overload]
        assert row["name"] == "family 1 − family 2"
        assert mixture.mean == pytest.approx(row["mean"], abs=0.25 * row["sd"])
        assert mixture.sd == pytest.approx(row["sd"], rel=0.2)
        assert 1 - mixture.below(0.0) == pytest.approx(
            row["p_direction"] if row["mean"] > 0 else 1 - row["p_direction"], abs=0.05
        )


def test_more_bases_find_more() -> None:
    table = valuebias.design(
        n_bases=[3, 12], n_prompts=8, n_words=60, effect=[0.0, 0.3], n_simulations=60, seed=1,
        progress=False,
    )  # fmt: skip
    few, many = (table[table["n_bases"] == n].set_index("effect") for n in (3, 12))
    assert many.loc[0.3, "power"] > few.loc[0.3, "power"] + 0.1
    assert many.loc[0.3, "mde"] < few.loc[0.3, "mde"]
    assert (table["width"] > 0).all()
    # One fit in twenty may err where there is nothing: of 60, nine or more are one chance in 300.
    assert (table.loc[table["effect"] == 0, "power"] < 9 / 60).all()
    assert (table["coverage"] > 0.8).all()
    assert np.isnan(table.loc[table["effect"] == 0, "type_m"]).all()


def test_models_count_and_prompts_hardly_do() -> None:
    """As the page on planning a study says: by the posterior's SD, were the variances known."""
    sd = {}
    for n_bases, n_prompts in ((3, 4), (3, 36), (12, 4)):
        plan = make_plan(_Design(2, n_bases, 1, n_prompts, 60), None)
        typical, _ = _variances(plan.problem.components, None)
        sd[n_bases, n_prompts] = float(expected_sd(plan, typical[None])[0])
    assert 0.95 * sd[3, 4] < sd[3, 36] < sd[3, 4]
    assert sd[12, 4] < 0.8 * sd[3, 4]


def test_a_seed_repeats_the_simulations() -> None:
    sizes = {"n_bases": 2, "n_prompts": 4, "n_words": 12, "n_simulations": 4, "progress": False}
    first, second = (valuebias.design(seed=3, **sizes) for _ in range(2))  # type: ignore[arg-type]
    assert first.equals(second)
    assert not first.equals(valuebias.design(seed=4, **sizes))  # type: ignore[arg-type]


def test_the_detectable_effect_of_a_fit_is_that_of_its_design(fit: valuebias.Fit) -> None:
    table = valuebias.design(
        n_bases=4, n_models=2, n_prompts=8, like=fit, n_simulations=100, seed=1, progress=False
    )
    row = table.iloc[0]
    sd = float(fit.contrasts()["sd"].iloc[0])
    assert detectable(sd) == pytest.approx(row["mde"], rel=0.25)
    assert row["n_words"] == 40
    assert row["effect"] == pytest.approx(fit.contrasts()["mean"].iloc[0])
    assert 0 <= row["assurance"] <= 1


def test_a_null_has_its_detectable_effect_and_the_bases_that_it_takes(
    fit: valuebias.Fit, tmp_path
) -> None:
    text = str(fit.headline())
    sd = float(fit.contrasts()["sd"].iloc[0])
    assert f"A difference of about {detectable(sd):.2f} score units would have been found" in text
    effect = 0.3
    needed = bases_needed(fit, effect)
    assert needed is not None
    sizes = {"n_models": 1, "n_prompts": 8, "effect": effect, "like": fit}
    table = valuebias.design(
        n_bases=[max(needed // 2, 1), needed], n_simulations=80, seed=2, progress=False, **sizes
    )
    assert table["power"].iloc[1] == pytest.approx(0.8, abs=0.15)
    assert table["power"].iloc[0] < table["power"].iloc[1]
    assert bases_needed(fit, 1e-4) is None
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "with a probability of 80%" in report


def test_a_fit_of_one_framing_is_followed(tmp_path) -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=6, n_words=20, seed=1)
    positive = ds.isel(prompt=ds["framing"].to_numpy() == "positive")
    with pytest.warns(valuebias.ValueBiasWarning, match="positive framing"):
        fit = valuebias.fit(positive, **SETTINGS | {"draws": 100, "tune": 100})  # type: ignore[call-overload]
    sizes = {"n_prompts": 4, "n_simulations": 4, "effect": 0.2, "seed": 1, "progress": False}
    assert valuebias.design(like=fit, n_bases=3, **sizes).loc[0, "width"] > 0  # type: ignore[arg-type]
    assert bases_needed(fit, 0.5) is not None
    fit.report(tmp_path / "report.md", progress=False)


def test_a_fit_that_does_not_tell_models_apart_plans_nothing(tmp_path) -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=4, n_words=16, seed=1)
    with pytest.warns(valuebias.ValueBiasWarning):
        fit = valuebias.fit(ds, **SETTINGS | {"draws": 100, "tune": 100})  # type: ignore[call-overload]
    with pytest.raises(ValueBiasError, match="as many columns as there are models"):
        valuebias.design(like=fit, progress=False)
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "bases of each of two families" not in report


def test_the_effect_of_a_fit_is_that_of_its_families(fit: valuebias.Fit) -> None:
    """Another question in front does not pass for it, and a fit of one family has none."""
    sizes = {"n_bases": 2, "n_prompts": 2, "n_words": 12, "n_simulations": 2, "progress": False}
    own = float(fit.contrasts()["mean"].iloc[0])
    turned = valuebias.design(like=fit.focused(pair=("Birch", "Alder")), seed=1, **sizes)  # type: ignore[arg-type]
    assert turned["effect"].tolist() == [pytest.approx(-own)]
    quick = SETTINGS | {"draws": 20, "tune": 30}
    staged = fit.data.assign_coords(stage=("model", ["instruct", "reward"] * 8))
    both = valuebias.fit(staged, "~ stage + family", **quick)  # type: ignore[call-overload]
    expected = both.comparisons("family").table().loc[0, "mean"]
    view = both.focused(pair=("instruct", "reward"))
    assert valuebias.design(like=view, seed=1, **sizes)["effect"].tolist() == [  # type: ignore[arg-type]
        pytest.approx(expected)
    ]
    for formula in ("~ 1", "~ log10(n_params)"):
        other = valuebias.fit(staged, formula, **quick)  # type: ignore[call-overload]
        with pytest.raises(ValueBiasError, match=r"compares no two families.*give effect="):
            valuebias.design(like=other, seed=1, **sizes)  # type: ignore[arg-type]
        assert len(valuebias.design(like=other, effect=0.1, seed=1, **sizes)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_bases": 0}, "n_bases must be a whole number of 1 or more"),
        ({"n_words": [20, 1]}, "n_words must be a whole number of 2 or more"),
        ({"n_prompts": "many"}, "n_prompts must be"),
        ({"effect": float("nan")}, "effect must be a number"),
        ({"effect": 1e308}, "effect must be a number below 1,000,000"),
        ({"n_models": 10**9}, "a design of 10,000,000,000 models"),
        ({"n_words": 10**9}, "at most 2,000 models and 100,000,000 scores"),
        ({"effect": "big"}, "effect must be a number"),
        ({"effect": []}, "effect must be a number"),
        ({"effect": [0.1, None]}, "effect must be a number"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"prob": 1}, "between 0 and 1"),
        ({"like": "fit.nc"}, "like must be a fit"),
        ({"n_simulations": 1}, "n_simulations must be"),
    ],
)
def test_bad_designs_are_errors(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.design(progress=False, **wrong)  # type: ignore[arg-type]
