"""Effects with heavy tails: each step leaves what it should as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense import GROUPED, make_problem
from scipy import stats

from valuebias.analysis.design.noise import LEAST_NU, NU_RATE, NU_SHAPE, Noise
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.density import Posterior, pack_strata
from valuebias.analysis.sampling.robust import RobustSampler
from valuebias.analysis.sampling.tail_layout import TailDraws
from valuebias.analysis.sampling.tails import Tails

EVERY = ("words", "models", "bases")


def make_sampler(tails: tuple[str, ...], **layout: object) -> tuple[Problem, RobustSampler]:
    problem = replace(make_problem(**layout), noise=Noise(tails=tails))
    return problem, RobustSampler(problem)


def without_scores(sampler: RobustSampler) -> Posterior:
    """Give the density of the prior alone."""
    nothing = [replace(s, df=0, scatter=0 * s.scatter) for s in sampler.strata]
    return replace(sampler.posterior, packed=pack_strata(nothing))


def from_prior(posterior: Posterior, rng: np.random.Generator) -> np.ndarray:
    sd = posterior.scales * np.abs(rng.standard_normal(len(posterior.scales)))
    half = rng.beta(posterior.eta, posterior.eta, posterior.n_correlated)
    spread = posterior.spread_scale * rng.standard_normal(posterior.n_spread)
    return np.concatenate([np.log(sd), np.log(half / (1 - half)), spread])


def effects_of(sampler: RobustSampler, tails: Tails, x: np.ndarray, rng: np.random.Generator):
    """Draw degrees of freedom and effects from their prior; other components have none."""
    sd, correlation, _ = sampler.posterior.constrain(x)
    effects, nus = [np.zeros(())] * len(sampler.parts), []
    for tail in tails.tails:
        nu = 0.0
        while nu < LEAST_NU:
            nu = rng.gamma(NU_SHAPE, 1 / NU_RATE)
        nus.append(nu)
        at = sampler.components.names.index(tail.name)
        covariance = np.diag(sd[at]) @ np.diag(sd[at])
        if tail.correlation >= 0:
            covariance[0, 1] = covariance[1, 0] = correlation[at] * sd[at].prod()
        part = replace(sampler.parts[tail.part], covariance=covariance)
        drawn = tail.by_level(part.draw(sampler.crossing, rng))
        drawn = drawn * np.sqrt(nu / rng.chisquare(nu, len(drawn)))[:, None, None]
        effects[tail.part] = tail.by_column(drawn)
    crossing = sampler.crossing
    shape = (crossing.design.matrix.shape[1], len(crossing.framings), len(crossing.axes))
    effects[-1] = rng.standard_normal(shape)
    return effects, nus


@pytest.mark.once
@pytest.mark.parametrize(
    ("tails", "layout"),
    [
        (("words", "models"), {"families": "AABBB", "words": tuple("xxxxyyyy")}),
        (("bases",), GROUPED["bases of families with spreads"]),
        (("models",), GROUPED["bases and a covariate, one framing"]),
    ],
    ids=["words and models", "bases", "one framing"],
)
def test_parameters_have_their_posterior_given_the_effects(tails, layout) -> None:
    """Drawn from the prior, and drawn again given effects, they are alike (Geweke 2004)."""
    _, sampler = make_sampler(tails, **layout)
    state, rng = sampler.make_state().tails, np.random.default_rng(3)
    target = without_scores(sampler)
    fixed = sorted(state.fixed)
    pairs = []
    for _ in range(400):
        x = from_prior(sampler.posterior, rng)
        effects, nus = effects_of(sampler, state, x, rng)
        before = [*x[fixed], *np.log(np.array(nus) - LEAST_NU)]
        state.empty()
        for one, nu in zip(state._states, nus, strict=True):
            one.log_nu = float(np.log(nu - LEAST_NU))
        x = state.redraw(x, effects, rng)
        x = state.shifted(state.slices(target, state.shifted(x), rng), -1)
        pairs.append([before, [*x[fixed], *(one.log_nu for one in state._states)]])
    before, after = np.array(pairs).transpose(1, 2, 0)
    for one, other in zip(before, after, strict=True):
        assert (one != other).all()
        assert stats.ks_2samp(one, other).pvalue > 1e-3
        error = np.hypot(one.std(), other.std()) / np.sqrt(len(one))
        assert abs(one.mean() - other.mean()) < 4 * error


@pytest.mark.parametrize("layout", [{}, *GROUPED.values()], ids=["plain", *GROUPED])
def test_common_and_own_parts_make_up_the_effects(layout) -> None:
    """On scores, on the axes, and word by word."""
    problem = make_problem(**layout)
    has_bases = bool(problem.components.tailed(("bases",)))
    _, sampler = make_sampler(EVERY if has_bases else EVERY[:2], **layout)
    crossing, rng = sampler.crossing, np.random.default_rng(0)
    state = sampler.make_state().tails
    x = from_prior(sampler.posterior, rng)
    effects, _ = effects_of(sampler, state, x, rng)
    x = state.redraw(x, effects, rng)
    assert any(one.common < 1 for one in state._states)

    # Added to effects of zero, they are all there is.
    own = [np.zeros_like(e) for e in effects]
    cubes = [np.zeros(crossing.shape) for _ in effects]
    state.add_own(state.shifted(x), own, cubes)
    np.testing.assert_allclose(sum(cubes), state.cube)

    numbers = state.numbers()
    assert len(numbers) == state.n_numbers
    names = sampler.components.tailed(sampler.noise.tails)
    draws = TailDraws.read(numbers[None], crossing, sampler.components, names)
    np.testing.assert_allclose(draws.common[0], [one.common for one in state._states])
    by_framing = [crossing.prompts_of(f)[0] for f in range(len(crossing.framings))]
    on_axes = np.asarray(state.cube)[:, by_framing] @ crossing.word_basis
    of_words = np.einsum("mq,qfj->mfj", crossing.design.matrix, draws.word_shift[0])
    np.testing.assert_allclose(of_words + draws.model[0], on_axes, atol=1e-10)
    by_column = state.of_words().reshape(-1, len(by_framing), crossing.shape[2])
    np.testing.assert_allclose(by_column @ crossing.word_basis, draws.word_shift[0], atol=1e-10)


def test_shifting_back_undoes_it_and_leaves_all_else() -> None:
    _, sampler = make_sampler(("models",))
    state, rng = sampler.make_state().tails, np.random.default_rng(0)
    x = from_prior(sampler.posterior, rng)
    np.testing.assert_array_equal(state.shifted(x), x)  # normal at first
    state.redraw(x, effects_of(sampler, state, x, rng)[0], rng)
    shifted = state.shifted(x)
    np.testing.assert_allclose(state.shifted(shifted, -1), x)
    moved = np.flatnonzero(shifted != x)
    assert {*moved.tolist()} == {*state.tails[0].sds.tolist()}


def test_a_word_unlike_all_others_counts_for_little() -> None:
    _, sampler = make_sampler(("words",))
    state, rng = sampler.make_state().tails, np.random.default_rng(0)
    x = from_prior(sampler.posterior, rng)
    effects = effects_of(sampler, state, x, rng)[0]
    wild = [e.copy() for e in effects]
    word = state.tails[0].part
    wild[word][..., 0] *= 100
    weights = []
    for given in (effects, wild):
        state.empty()
        for _ in range(30):
            state.redraw(x, given, rng)
        weights.append(state._states[0].weight / np.median(state._states[0].weight))
    assert weights[1][0] < 0.05
    assert weights[0].min() > 0.05
