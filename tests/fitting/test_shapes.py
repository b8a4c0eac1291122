"""Every shape of data goes the whole way, from fit to report, or is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.plots import KINDS
from valuebias.schema import build

pytestmark = pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")

BOTH, POSITIVE, NEGATIVE = ("positive", "negative"), ("positive",), ("negative",)


def scores(
    n_models: int,
    n_prompts: int,
    words: np.ndarray | tuple[int, ...],
    *,
    families: int = 1,
    framings: tuple[str, ...] = BOTH,
    bases: bool = False,
) -> xr.Dataset:
    """Draw scores at random; ``words`` are memberships, or how many words each category has."""
    member = np.asarray(words, dtype=bool) if np.ndim(words) == 2 else apart(*words)
    name = [f"f{i % families:02d}" for i in range(n_models)]
    models = {"family": name, "stage": "reward"}
    if bases:
        models["base"] = [f"{family} {i // families // 2}" for i, family in enumerate(name)]
    framing = [framings[i % len(framings)] for i in range(n_prompts)]
    prompts = [f"p{i:03d}" for i in range(n_prompts)]
    rng = np.random.default_rng(n_models + n_prompts + len(member))
    return build(
        rng.standard_normal((n_models, n_prompts, len(member))).astype(np.float32),
        models=pd.DataFrame(models, index=[f"m{i:03d}" for i in range(n_models)]),
        prompts=pd.DataFrame({"text": prompts, "framing": framing}, index=prompts),
        lexicon=pd.DataFrame(
            member,
            index=[f"w{i:03d}" for i in range(len(member))],
            columns=[f"c{j:02d}" for j in range(member.shape[1])],
        ),
        responses=[f"w{i:03d}" for i in range(len(member))],
    )


def apart(*counts: int) -> np.ndarray:
    """Give memberships of words that are in one category each."""
    return np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)


def without(dataset: xr.Dataset, model: object, prompt: object, word: object) -> xr.Dataset:
    """Take some scores away."""
    score = dataset["score"].to_numpy().copy()
    score[model, prompt, word] = np.nan
    return dataset.assign(score=(dataset["score"].dims, score))


def thinned(dataset: xr.Dataset, share: float) -> xr.Dataset:
    """Take a share of the scores away at random."""
    gaps = np.random.default_rng(5).random(dataset["score"].shape) < share
    return dataset.assign(score=dataset["score"].where(~gaps))


ALL = slice(None)
NEITHER = slice(0, None, 2)  # the models of the first of two families
IN_ALL = np.concatenate([apart(3, 3), np.ones((1, 2), dtype=bool)])
NESTED = np.column_stack([np.ones(7, dtype=bool), np.arange(7) < 3])

SMALL: dict[str, Callable[[], xr.Dataset]] = {
    "one model, one prompt, three words": lambda: scores(1, 1, (1, 2)),
    "two models of two families": lambda: scores(2, 2, (3, 3), families=2),
    "three families of one": lambda: scores(3, 2, (3, 3), families=3),
    "positive only": lambda: scores(4, 2, (3, 3), families=2, framings=POSITIVE),
    "negative only": lambda: scores(2, 2, (2, 2), families=2, framings=NEGATIVE),
    "a word in all categories": lambda: scores(4, 2, IN_ALL, families=2),
    "a category of all words": lambda: scores(4, 2, NESTED, families=2),
    "a category of one word": lambda: scores(4, 2, (1, 5), families=2),
    "a family without a score in a category": lambda: without(
        scores(4, 2, (3, 3), families=2), NEITHER, ALL, slice(0, 3)
    ),
    "two scores a row": lambda: without(scores(4, 2, (3, 3), families=2), ALL, ALL, [0, 1, 4, 5]),
    "99 % missing": lambda: thinned(scores(6, 10, (15, 15), families=2), 0.99),
}
LARGE: dict[str, Callable[[], xr.Dataset]] = {
    "one model, two prompts": lambda: scores(1, 2, (3, 3)),
    "six families of one": lambda: scores(6, 4, (4, 4), families=6),
    "twelve families of one": lambda: scores(12, 4, (4, 4), families=12),
    "twelve families of two": lambda: scores(24, 4, (4, 4), families=12),
    "bases": lambda: scores(8, 4, (4, 4), families=2, bases=True),
    "forty categories": lambda: scores(4, 4, (2,) * 40, families=2),
    # With one prompt per framing the figure of influence alone, 500 fits, takes 40 minutes.
    "500 models": lambda: scores(500, 4, (4, 4), families=5),
    "a word that nobody scored": lambda: without(scores(4, 4, (4, 4), families=2), ALL, ALL, 0),
    "a prompt that nobody answered": lambda: without(scores(4, 4, (4, 4), families=2), ALL, 0, ALL),
    "a category that one framing lacks": lambda: without(
        scores(4, 4, (4, 4), families=2), ALL, NEITHER, slice(0, 4)
    ),
    "60 % missing": lambda: thinned(scores(6, 8, (15, 15), families=2), 0.6),
    "99 % missing of many": lambda: thinned(scores(10, 54, (100, 100), families=2), 0.99),
}
REFUSED: dict[str, tuple[Callable[[], xr.Dataset], str]] = {
    "two words": (lambda: scores(2, 2, (1, 1), families=2), "are too few; score more words"),
    "one category": (lambda: scores(2, 2, np.ones((4, 1)), families=2), "has 1 category"),
    "all words in all categories": (
        lambda: scores(2, 2, np.ones((4, 3)), families=2), "cannot be told apart by their words",
    ),
    "one score a row": (
        lambda: without(scores(4, 2, (3, 3), families=2), ALL, ALL, slice(1, None)),
        "no word in 'c01' was scored",
    ),
    "a category without a score": (
        lambda: without(scores(4, 2, (3, 3), families=2), ALL, ALL, slice(0, 3)),
        "no word in 'c00' was scored, so that nothing can be said of it; leave it out",
    ),
    "a framing without a score": (
        lambda: without(scores(4, 2, (3, 3), families=2), ALL, 0, ALL),
        "no score was given after a prompt of positive framing",
    ),
    "scores that do not vary": (
        lambda: (ds := scores(4, 2, (3, 3), families=2)).assign(score=ds["score"] * 0),
        "the same score",
    ),
}  # fmt: skip


QUICK = (
    "one model, one prompt, three words",
    "two models of two families",
    "a word in all categories",
    "99 % missing",
)
"""One of each kind: too few, as many columns as models, overlapping and gaps; the rest is slow."""


@pytest.mark.parametrize("shape", QUICK)
def test_a_shape_goes_the_whole_way(shape: str, tmp_path: Path) -> None:
    # The page draws the same figures; one more shows that what is not to be had is refused.
    go_through(SMALL[shape](), tmp_path, forms=(".html",), kinds=("words",))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*SMALL, *LARGE])
def test_a_shape_goes_the_whole_way_in_every_form(shape: str, tmp_path: Path) -> None:
    made = (SMALL | LARGE)[shape]()
    go_through(made, tmp_path, forms=(".html", ".md", ".tex", ".nc", ".csv"), kinds=KINDS)


def go_through(
    dataset: xr.Dataset, folder: Path, *, forms: tuple[str, ...], kinds: tuple[str, ...]
) -> None:
    """Fit and ask for everything; what cannot be told may be refused, but in words."""
    fit = valuebias.fit(dataset, draws=20, tune=60, chains=2, seed=1, progress=False)
    contrasts = fit.contrasts()
    assert np.isfinite(contrasts[["mean", "sd", "lower", "upper"]].to_numpy()).all()
    assert len(str(fit.headline())) > 50
    assert len(fit.models()) >= dataset.sizes["model"]
    assert np.isfinite(fit.summary()["mean"]).all()
    several = len(np.unique(dataset["family"])) > 1
    if several:
        assert len(fit.words()) == dataset.sizes["response"]
    assert fit.word_draws().sizes["response"] == dataset.sizes["response"]
    assert np.isfinite(fit.ppc(draws=10)["replicated"]).all()
    assert np.isfinite(fit.loo(draws=10, progress=False).elpd)
    for kind in kinds:
        try:
            fit.plot(kind)
        except ValueBiasError as error:
            assert len(str(error)) > 30  # noqa: PT017 - which kinds are refused depends on the shape
    for form in forms:
        path = fit.report(folder / f"report{form}")
        assert path.exists()
    for suffix in (".nc", ".zarr"):
        again = valuebias.load(fit.save(folder / f"fit{suffix}"))
        pd.testing.assert_frame_equal(again.contrasts(), contrasts)


@pytest.mark.parametrize("shape", REFUSED)
def test_what_tells_nothing_is_refused_in_words(shape: str) -> None:
    make, said = REFUSED[shape]
    dataset = make()
    with pytest.raises(ValueBiasError, match=said):
        valuebias.fit(dataset, draws=20, seed=1, progress=False)


def test_the_advice_on_what_was_not_scored_works() -> None:
    dataset = scores(4, 4, (3, 3, 3), families=2)
    lacking = without(dataset, ALL, ALL, slice(0, 3)).drop_sel(category=["c00"])
    assert valuebias.fit(lacking, draws=4, tune=10, seed=1, progress=False).data.sizes == {
        "model": 4, "prompt": 4, "response": 6, "category": 2,
    }  # fmt: skip
    lacking = without(dataset, ALL, NEITHER, ALL)
    lacking = lacking.isel(prompt=lacking["framing"] != "positive")
    fit = valuebias.fit(lacking, draws=4, tune=10, seed=1, progress=False)
    assert fit.data.sizes["prompt"] == 2


def test_a_family_without_a_score_in_a_category_is_named() -> None:
    dataset = without(scores(4, 4, (3, 3), families=2), NEITHER, ALL, slice(0, 3))
    fit = valuebias.fit(dataset, draws=10, tune=20, seed=1, progress=False)
    (note,) = [note for note in fit.notes if note.code == "unscored category"]
    assert (
        "no model of family f00 has scores of words in 'c00' and 'c01' and of others" in note.text
    )
    assert "its lean is the prior's" in str(fit.headline())
    # A model alone is told from its family.
    dataset = without(scores(4, 4, (3, 3), families=2), 0, ALL, slice(0, 3))
    fit = valuebias.fit(dataset, draws=10, tune=20, seed=1, progress=False)
    assert [note.code for note in fit.notes] == ["model without scores"]
    assert "'m000' has no scores to tell some category by" in fit.notes[0].text
