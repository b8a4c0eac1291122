"""How often 90 % intervals of the family difference hold zero, by the scales of the priors.

    python tests/benchmarks/priors.py --out tests/benchmarks/priors.md     # some ten minutes

Where models, bases and families' spreads are few, their priors matter, and the defaults are chosen
from this table. To try many scales on many simulations, it takes the model apart: what the scores
say of the family difference is in the models' leans, whose likelihood given the SDs is a small
Gaussian, and the SDs are integrated out by importance sampling from their priors. What words add
to a lean is taken as known, for hundreds of words tell it well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import numpy as np
from conditions import conditions
from numpy.typing import NDArray

from valuebias._core.atomic import atomic_path

Array = NDArray[np.float64]

# SDs by framing like those of the paper's scores: of leans, and of words.
LEANS = {"model": (0.08, 0.11), "base": (0.12, 0.12)}
WORDS = {"model": (0.23, 0.39), "base": (0.30, 0.44), "family": (0.125, 0.125)}
# Variance of a lean for a variance of 1 of each of 104 + 159 words, and for the prompts' share.
OF_WORDS = 1 / 104 + 1 / 159
OF_PROMPTS = 0.055**2 / 27
DRAWS, RESAMPLED = 3000, 2000


@dataclass(frozen=True)
class Layout:
    """Models on bases in two families, and by how much what is simulated departs from `LEANS`.

    ``shared`` says whether bases have effects at all, in the truth and in the model.
    """

    title: str
    bases: str
    families: str
    shared: bool = True
    times: float = 1.0
    wilder: float = 1.0


LAYOUTS = (
    Layout("independent, 4 v 6", "abcdefghij", "A" * 4 + "B" * 6, shared=False),
    Layout("2 v 8, the 2 three times as variable", "abcdefghij", "AA" + "B" * 8, False, wilder=3.0),
    Layout("five bases, as the paper's", "aaabcccdde", "A" * 4 + "B" * 6),
    Layout("one base a family", "aaaabbbbbb", "A" * 4 + "B" * 6),
    Layout("two bases a family", "aaabbcccdd", "A" * 5 + "B" * 5),
    Layout("four bases a family", "aabbccddeeffgghh", "A" * 8 + "B" * 8),
    Layout("five bases, three times the SDs", "aaabcccdde", "A" * 4 + "B" * 6, times=3.0),
    Layout("five bases, half the SDs", "aaabcccdde", "A" * 4 + "B" * 6, times=0.5),
)
# Of models, of bases, of spreads.
SCALES = ((0.5, 0.5, 0.5), (0.25, 0.15, 0.5), (0.25, 0.15, 0.7), (0.25, 0.1, 0.7), (0.1, 0.1, 0.5))


def main() -> None:
    """Integrate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400, help="simulations a cell")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    lines = [
        "| prior scale: models, bases, spread | " + " | ".join(x.title for x in LAYOUTS) + " |",
        "|---" * (len(LAYOUTS) + 1) + "|",
    ]
    for scales in SCALES:
        cells = [cell(layout, scales, args.n) for layout in LAYOUTS]
        lines.append(f"| {', '.join(f'{x:g}' for x in scales)} | {' | '.join(cells)} |")
    command = f"python tests/benchmarks/priors.py --n {args.n}"
    head = (
        f"{conditions(command, {'numpy': 'NumPy'})}: share of {args.n} simulations without any "
        "effect whose 90 % interval holds zero / for which the headline would say that there is "
        "little doubt."
    )
    text = "\n\n".join([head, "\n".join(lines)]) + "\n"
    sys.stdout.write(text)
    if args.out:
        with atomic_path(args.out) as part:
            part.write_text(text, encoding="utf-8")


def cell(layout: Layout, scales: tuple[float, float, float], n: int) -> str:
    """Simulate leans and judge their intervals under one prior."""
    covered, sure = zip(*judged(layout, scales, n), strict=True)
    return f"{np.mean(covered):.2f} / {100 * np.mean(sure):.0f} %"


def judged(
    layout: Layout, scales: tuple[float, float, float], n: int
) -> Iterator[tuple[bool, bool]]:
    """Say of each simulation whether its interval holds zero, and whether little doubt is left."""
    same_base, same_family = (
        np.equal.outer(np.array(list(x)), np.array(list(x))).astype(float)
        for x in (layout.bases, layout.families)
    )
    first = np.array(list(layout.families)) == "A"
    known, truth = covariances(layout, same_base, same_family, first)
    design = columns(first)
    contrast = np.array([0.0, 0.5, 0.0, -0.5])
    total = known + prior_draws(scales, layout.shared, same_base, first)
    precision = np.linalg.inv(total)
    projected = design.T @ precision
    inverse = np.linalg.inv(projected @ design)
    # The coefficients' likelihood is flat beside the SDs', so that they are integrated out.
    weight = -0.5 * (np.linalg.slogdet(total)[1] - np.linalg.slogdet(inverse)[1])
    spread = np.sqrt(np.einsum("k,skl,l->s", contrast, inverse, contrast))
    root = np.linalg.cholesky(truth + 1e-12 * np.eye(len(truth)))
    rng = np.random.default_rng(3)
    for _ in range(n):
        y = root @ rng.normal(size=len(truth))
        right = projected @ y
        beta = np.einsum("skl,sl->sk", inverse, right)
        misfit = np.einsum("i,sij,j->s", y, precision, y) - np.einsum("sk,sk->s", right, beta)
        log_weight = weight - 0.5 * misfit
        share = np.exp(log_weight - log_weight.max())
        picked = rng.choice(len(share), RESAMPLED, p=share / share.sum())
        draws = beta[picked] @ contrast + spread[picked] * rng.normal(size=RESAMPLED)
        lower, upper = np.quantile(draws, [0.05, 0.95])
        positive = (draws > 0).mean()
        yield lower < 0 < upper, max(positive, 1 - positive) >= 0.975


def columns(first: NDArray[np.bool_]) -> Array:
    """Give the means and family differences of both framings, (model · framing, 4)."""
    by_model = np.column_stack([np.ones(len(first)), np.where(first, 0.5, -0.5)])
    return np.stack([np.kron(by_model, np.eye(2)[:, [f]]) for f in range(2)], axis=1).reshape(
        2 * len(first), 4
    )


def covariances(
    layout: Layout, same_base: Array, same_family: Array, first: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Covariances of the leans (model · framing): of what is taken as known, and of all."""
    wilder = np.where(first, layout.wilder, 1.0)
    factor, own = np.outer(wilder, wilder), np.eye(len(first))
    shared = same_base * layout.shared

    def by_framing(sds: tuple[float, float], models: Array) -> Array:
        return np.kron(models * factor, np.diag(np.square(sds)))

    known = OF_WORDS * (
        by_framing(WORDS["model"], own)
        + by_framing(WORDS["base"], shared)
        + np.kron(same_family, np.diag(np.square(WORDS["family"])))
    )
    known += OF_PROMPTS * np.eye(len(known))
    leans = by_framing(LEANS["model"], own) + by_framing(LEANS["base"], shared)
    return known, known + layout.times**2 * leans


def prior_draws(
    scales: tuple[float, float, float], shared: bool, same_base: Array, first: NDArray[np.bool_]
) -> Array:
    """Covariances of the leans that draws of the prior imply, (draw, model · framing, same)."""
    rng = np.random.default_rng(2)
    of_models, of_bases, of_spread = scales
    # A lean is a difference of two categories.
    model = framings(rng, of_models * np.sqrt(2))
    base = framings(rng, of_bases * np.sqrt(2) * shared)
    shift = rng.normal(0, of_spread / np.sqrt(2), DRAWS)
    factor = np.exp(np.where(first, 1, -1) * shift[:, None])
    factors = factor[:, :, None] * factor[:, None, :]
    n = 2 * len(first)
    parts = (np.eye(len(first)), model), (same_base, base)
    return sum(
        np.einsum("smn,sfg->smfng", factors * models, over).reshape(DRAWS, n, n)
        for models, over in parts
    )


def framings(rng: np.random.Generator, scale: float) -> Array:
    """Draw covariances over the framings: half-normal SDs, an LKJ(2) correlation; (draw, 2, 2)."""
    sd = np.abs(rng.normal(0, 1, (DRAWS, 2))) * scale
    out = sd[:, :, None] * sd[:, None, :]
    correlation = 2 * rng.beta(2, 2, DRAWS) - 1
    out[:, 0, 1] *= correlation
    out[:, 1, 0] *= correlation
    return out


if __name__ == "__main__":
    main()
