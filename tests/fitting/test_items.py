"""Fits whose sampled units are items of a contrast set."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contrast_worlds import World, world

import valuebias
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.posterior.item_settings import ITEM_PRIOR
from valuebias.schema.contrast_categories import score_sd

QUICK: dict[str, Any] = {"draws": 200, "tune": 200, "seed": 1, "progress": False}
BASES = ["x", "x", "y", "z", "u", "u", "v", "w"]
CORRECT = [True, False] * 40
# What only scores of words have; names of coordinates and settings apart.
OF_WORDS = re.compile(
    r"\bwords?\b|\bprompts?\b|\bcategor|\blexicon|\bframing|neutral", re.IGNORECASE
)


@pytest.fixture(scope="module")
def made() -> World:
    return world(1, bases=BASES, gap=0.6, between=0.5, sd={"base": 0.15}, correct=CORRECT)


@pytest.fixture(scope="module")
def fit(made: World) -> valuebias.Fit:
    return valuebias.fit(made.scores, by="correct", **{**QUICK, "draws": 600})


def test_the_estimands_are_means_over_items_of_differences(fit: valuebias.Fit) -> None:
    table = fit.contrasts()
    assert table.loc[0, ["estimand", "name", "category"]].tolist() == [
        "family difference", "F0 − F1", "right − wrong"]  # fmt: skip
    assert "family difference, these items" in set(table["estimand"])
    assert {"base lean", "model lean", "predicted lean"} <= set(table["estimand"])
    assert fit.diagnostics().converged


def test_leans_of_models_are_near_what_their_scores_show(made: World, fit: valuebias.Fit) -> None:
    score = made.scores["score"].to_numpy().astype(float)
    plain = (score[..., 0] - score[..., 1]).mean(axis=1) / score_sd(made.scores)
    models = fit.models().set_index("name").loc[made.scores["model"].to_numpy().astype(str)]
    error = np.abs(models["mean"].to_numpy() - plain)
    assert (error < 2 * models["sd"].to_numpy()).all()
    assert np.corrcoef(models["mean"], plain)[0, 1] > 0.95


def test_every_text_speaks_of_items_and_variants(fit: valuebias.Fit, tmp_path: Path) -> None:
    assert "8 models × 40 items × 2 groups of variants by correct" in repr(fit)
    headline = str(fit.headline())
    assert "right over wrong" in headline
    assert "mean over items" in headline
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    answer = report.partition("## Provenance")[0]
    assert "Items that drive the answer" in answer
    for text in (headline, answer, fit.priors().to_string()):
        found = [
            m.group() for m in OF_WORDS.finditer(re.sub(r"(sd|mean|spread)\\?\[.*?\]", "", text))
        ]
        assert found == [], found
    code = report.partition("```python")[2].partition("```")[0]
    assert "by='correct'" in code


def test_labels_of_figures_speak_of_items(fit: valuebias.Fit) -> None:
    for kind in ("forest", "families"):
        figure = fit.plot(kind)
        labels = " ".join(axes.get_xlabel() for axes in figure.axes)
        assert "mean over items" in labels
        assert OF_WORDS.search(labels) is None


def test_names_of_the_data_stay_as_they_are(tmp_path: Path) -> None:
    made = world(2, n_items=12, variants=("words", "category"), families=(3, 3))
    scores = made.scores.assign_coords(family=("model", ["word"] * 3 + ["prompts"] * 3))
    fit = valuebias.fit(scores, **QUICK)
    text = str(fit.headline())
    assert "words over category" in text
    assert re.search(r"of the (word|prompts) family", text)
    assert re.search(r"those of (word|prompts)\b", text)
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "3 of word, 3 of prompts" in report


def test_a_saved_fit_is_the_same(fit: valuebias.Fit, tmp_path: Path) -> None:
    again = valuebias.load(fit.save(tmp_path / "fit.nc"))
    assert again.contrasts().equals(fit.contrasts())
    assert str(again.headline()) == str(fit.headline())
    assert again.items().equals(fit.items())
    assert repr(again) == repr(fit)


def test_items_differ_as_their_scores_do(made: World, fit: valuebias.Fit) -> None:
    table = fit.items()
    score = made.scores["score"].to_numpy().astype(float)
    scaled = (score[..., 0] - score[..., 1]) / score_sd(made.scores)[:, None]
    plain = scaled[:4].mean(axis=0) - scaled[4:].mean(axis=0)
    by_item = table.set_index("item").loc[made.scores["item"].to_numpy().astype(str)]
    assert np.corrcoef(by_item["mean"], plain)[0, 1] > 0.8
    assert (table["mean"].abs().diff().dropna() <= 1e-12).all()
    # An item's difference is nearer to the mean of all than its own scores are.
    assert by_item["mean"].std() < plain.std()


def test_leaving_out_models_and_bases(fit: valuebias.Fit) -> None:
    assert np.isfinite(fit.loo(by="model", progress=False).elpd)
    table = fit.influence(progress=False)
    assert set(table["unit"]) == {"fit", "model", "base"}


def test_variants_by_themselves_are_the_default(made: World) -> None:
    one = valuebias.fit(made.scores, **QUICK)
    assert one.settings["by"] == "variant"
    assert one.contrasts().loc[0, "category"] == "a − b"


def test_three_variants_and_a_contrast_of_two() -> None:
    made = world(3, variants=("plain", "long", "wrong"), gap=1.0, families=(4, 4))
    fit = valuebias.fit(made.scores, contrast=("plain", "long"), **QUICK)
    row = fit.contrasts().set_index("estimand").loc["overall lean"]
    truth = float(np.mean(made.of_model / score_sd(made.scores)))
    assert row["lower"] < truth < row["upper"]
    other = fit.focused(contrast={"plain": 1, "long": -0.5, "wrong": -0.5})
    assert other.contrasts().loc[0, "category"] == "plain − (0.5 long + 0.5 wrong)"


def test_each_model_may_have_a_scatter_of_its_own() -> None:
    made = world(4, n_items=30, families=(3, 3))
    scores = made.scores.copy(deep=True)
    rng = np.random.default_rng(5)
    scores["score"][0] += (3 * rng.standard_normal((30, 2))).astype("float32")
    with pytest.warns(ValueBiasWarning, match="org/m0.*residual='model'"):
        plain = valuebias.fit(scores, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        own = valuebias.fit(scores, residual="model", **QUICK)
    widths = [
        (fit.models().set_index("name")["sd"])[["org/m0", "org/m1"]].to_numpy()
        for fit in (plain, own)
    ]
    assert own.settings["path"] == "augmented"
    assert widths[1][0] > 1.2 * widths[0][0]
    assert widths[1][1] < 1.1 * widths[0][1]


def test_models_and_bases_may_have_heavy_tails(made: World, fit: valuebias.Fit) -> None:
    few = {**QUICK, "draws": 100, "tune": 100}
    heavy = valuebias.fit(made.scores, by="correct", heavy_tails=["models", "bases"], **few)
    assert heavy.settings["path"] == "augmented"
    one, other = (f.contrasts().set_index("estimand").loc["overall lean"] for f in (fit, heavy))
    assert other["mean"] == pytest.approx(one["mean"], abs=one["sd"])
    assert set(heavy.items()["item"]) == set(fit.items()["item"])


def test_items_that_lack_scores_are_left_out_and_said() -> None:
    scores = world(6).scores
    scores["score"][0, :5, 0] = np.nan
    with pytest.warns(ValueBiasWarning, match="5 of 40 items .*were left out"):
        fit = valuebias.fit(scores, **QUICK)
    assert fit.settings["dropped_items"] == 5
    assert "12% of the items lack scores" in str(fit.headline())


def test_one_model_a_family_is_said_as_ever() -> None:
    with pytest.warns(ValueBiasWarning) as caught:
        fit = valuebias.fit(world(7, families=(1, 1)).scores, **QUICK)
    assert any("as many columns as there are models" in str(one.message) for one in caught)
    assert "cannot carry a claim about a family" in str(fit.headline())
    assert "on single items are between these very models" in fit.notes[-1].text
    with pytest.raises(ValueBiasError, match="Score more models"):
        fit.items()


def test_one_model_alone() -> None:
    with pytest.warns(ValueBiasWarning, match="as many columns"):
        fit = valuebias.fit(world(8, families=(1,), gap=1.0).scores, **QUICK)
    assert fit.contrasts().loc[0, "mean"] > 0.2


def test_few_items_and_unequal_variants_are_noted() -> None:
    made = world(9, n_items=8, variants=("a", "b", "c"))
    scores = made.scores.copy(deep=True)
    rng = np.random.default_rng(10)
    scores["score"][..., 2] += (5 * rng.standard_normal((8, 8))).astype("float32")
    with pytest.warns(ValueBiasWarning) as caught:
        fit = valuebias.fit(scores, **QUICK)
    said = " ".join(str(one.message) for one in caught)
    assert "there are 8 items" in said
    assert "times as variably as a and b" in said
    assert "scores.sel(variant=[...]) with every variant that counts to one of them" in said
    assert "There are 8 items only." in str(fit.headline())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        two = valuebias.fit(scores.sel(variant=["a", "b"]), **QUICK)
    assert not [note for note in two.notes if note.code == "variants of unequal scatter"]


def test_items_that_all_differ_alike_scatter_no_more_in_some_models() -> None:
    made = world(9, n_items=8)
    scores = made.scores.copy(deep=True)
    scores["score"][:] = scores["score"].isel(item=[0]).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        even = valuebias.fit(scores, outcome="raw", **QUICK)
        for model, turned in ((0, 1), (1, -1)):
            scores["score"][model, :, 0] += turned * np.arange(8, dtype="float32")
        one = valuebias.fit(scores, outcome="raw", **QUICK)
    assert not [note for note in even.notes if note.code == "models of unequal scatter"]
    (note,) = [note for note in one.notes if note.code == "models of unequal scatter"]
    assert "scatter over items where those of a typical model are the same" in note.text


def test_the_advice_of_diagnostics_names_items() -> None:
    made = world(3, n_items=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(made.scores, draws=4, tune=50, chains=2, seed=1, progress=False)
    said = " ".join((*fit.diagnostics().messages, *fit.diagnostics().cautions))
    assert "prior={'sd': {'item': 0.5}}" in said
    assert "'word'" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"words": "~ length"}, "Leave words= out"),
        ({"family": "student"}, "residual='model'"),
        ({"heavy_tails": "words"}, "'models' or 'bases'"),
        ({"outcome": "normal"}, "'scaled', 'raw', 'rank'"),
        ({"by": "corect"}, "Did you mean 'correct'"),
        ({"by": 3}, "must name a coordinate"),
        ({"by": "family"}, "by='family' is of models"),
        ({"by": "response"}, "groups by response, such as .*, none is in two items"),
        ({"outcome": "scald"}, "is unknown. Did you mean 'scaled'"),
        ({"contrast": ("a", "x")}, "names the variant 'x', which"),
        ({"contrast": 5}, "must be a pair of variants"),
    ],
)
def test_what_makes_no_sense_of_items_is_refused(
    made: World, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueBiasError, match=said):
        valuebias.fit(made.scores, **{**QUICK, **arguments})


def test_claims_about_items_are_checked(made: World, fit: valuebias.Fit) -> None:
    said = f"{fit.headline()} The 8 models scored 40 items."
    assert valuebias.check_claims(said, fit).all_follow
    wrong = valuebias.check_claims("The 8 models scored 41 items.", fit).table
    assert wrong["verdict"].tolist() == ["follows", "does not follow"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda fit: fit.words(),
        lambda fit: fit.word_draws(),
        lambda fit: fit.placebo(),
        lambda fit: fit.loo(),
        lambda fit: fit.loo(by="word"),
        lambda fit: fit.plot("words"),
        lambda fit: fit.plot("specs"),
        lambda fit: valuebias.card(fit, "org/m0"),
        lambda fit: valuebias.design(like=fit),
    ],
)
def test_questions_about_words_are_refused_with_a_reason(fit: valuebias.Fit, ask: Any) -> None:
    with pytest.raises(ValueBiasError, match="this fit is of items of a contrast set"):
        ask(fit)


def test_what_takes_words_says_what_takes_contrast_sets(made: World) -> None:
    for ask in (valuebias.multiverse, valuebias.audit, valuebias.classical):
        with pytest.raises(ValueBiasError, match="scores of a contrast set"):
            ask(made.scores)
    assert len(valuebias.contrast_statistics(made.scores).to_frame())
    assert valuebias.fit(made.scores, **QUICK).settings["by"] == "variant"


def test_a_registered_outcome_of_words_is_refused(made: World) -> None:
    with pytest.raises(ValueBiasError, match="loses by how much"):
        valuebias.fit(made.scores, prereg={"outcome": "normal"}, **QUICK)
    fit = valuebias.fit(made.scores, prereg={"decision": "p_positive >= 0.975"}, **QUICK)
    assert fit.settings["outcome"] == "scaled"
    assert "registered" in str(fit.headline())


def test_other_programs_are_given_items(fit: valuebias.Fit) -> None:
    groups = fit.idata
    assert groups["observed_data"]["score"].dims == ("model", "item", "variant")
    names = fit.draws()["parameter"].unique()
    assert "sd[item, neutral]" in names
    statistics = fit.ppc(draws=5)["statistic"].to_numpy().tolist()
    assert "item spread" in statistics
    assert not any("word" in name for name in statistics)


def test_scores_of_words_have_no_items() -> None:
    data = valuebias.datasets.load("simulated")
    with pytest.raises(ValueBiasError, match="Leave by= out"):
        valuebias.fit(data, by="correct", **QUICK)
    with pytest.raises(ValueBiasError, match=r"words\(\)"):
        valuebias.fit(data, **QUICK).items()


def test_other_outcomes(made: World) -> None:
    ranks = valuebias.fit(made.scores, outcome="rank", **QUICK)
    score = made.scores["score"].to_numpy()
    share = float((score[..., 0] > score[..., 1]).mean())
    row = ranks.contrasts().set_index("estimand").loc["overall lean"]
    # A difference of ranks of two is twice the share above one half.
    assert row["mean"] == pytest.approx(2 * share - 1, abs=2 * row["sd"])


def test_priors_may_be_given_by_the_names_that_tables_have(made: World) -> None:
    fit = valuebias.fit(made.scores, prior={"sd": {"item": 0.3, "base_category": 0.1}}, **QUICK)
    assert fit.prior.sd["word"] == 0.3
    assert fit.prior.sd["base_category"] == 0.1
    assert fit.prior.sd["model_category"] == ITEM_PRIOR.sd["model_category"]
    assert fit.prior.effect == ITEM_PRIOR.effect
    table = fit.prior_sensitivity(progress=False)
    assert ("item", 2.0) in table.index


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gap": 0.5, "between": 0.4},
        {"n_items": 12, "families": (3, 3)},
        {"families": (4, 4), "bases": BASES, "sd": {"model": 0.15, "base": 0.25, "item base": 0.3}},
    ],
    ids=["nothing", "planted", "few items", "bases"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(settings: dict[str, Any]) -> None:
    n, missed = 200, {"difference": [], "family": [], "model": []}
    for seed in range(n):
        made = world(1000 + seed, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValueBiasWarning)
            table = valuebias.fit(
                made.scores, draws=250, tune=200, seed=seed, progress=False
            ).contrasts()
        sd = score_sd(made.scores)
        family = made.scores["family"].to_numpy()
        # A family's lean is in SDs of its own models.
        truth = {f"F{k}": np.mean(made.of_family[k] / sd[family == f"F{k}"]) for k in (0, 1)}
        models = dict(
            zip(made.scores["model"].to_numpy().tolist(), made.of_model / sd, strict=True)
        )
        for _, row in table[table["variant"] == ""].iterrows():
            if row["form"] == "difference":
                what, true = "difference", truth["F0"] - truth["F1"]
            elif row["form"] == "lean" and row["variable"] in ("family", "model"):
                what = row["variable"]
                true = models[row["first"]] if what == "model" else truth[row["first"]]
            else:
                continue
            missed[what].append((seed, not row["lower"] <= true <= row["upper"]))
    for what, found in missed.items():
        by_study = [np.mean([m for s, m in found if s == seed]) for seed in range(n)]
        error = np.std(by_study, ddof=1) / np.sqrt(n)
        assert np.mean(by_study) <= 0.1 + 2 * max(error, np.sqrt(0.09 / n / 8)), what


def test_copies_of_a_model_are_named_and_can_be_left_out() -> None:
    scores = world(21, families=(4, 4)).scores
    scores["score"][1] = scores["score"][0]
    with pytest.warns(ValueBiasWarning, match=r"'org/m0' and 'org/m1' have the same scores"):
        fit = valuebias.fit(scores, **QUICK)
    assert "The models 'org/m0' and 'org/m1' are copies of one another" in str(fit.headline())
    assert "look like one base" not in str(fit.settings["notes"])
    again = valuebias.fit(scores.drop_sel(model=["org/m1"]), **QUICK)
    assert "copies" not in str(again.headline())


def test_one_item_is_too_few() -> None:
    scores = world(22, n_items=3).scores
    with pytest.raises(ValueBiasError, match=r"1 of 1 items have all scores.*Score more items\.$"):
        valuebias.fit(scores.isel(item=[0]), **QUICK)
