"""Results of ``valuebias.inject_words``: pairs of models, what changed, which method finds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError
from valuebias.logprobs.methods import Method
from valuebias.logprobs.vocabularies import check_logprobs
from valuebias.schema import validate

__all__ = ["Pair", "find_again", "injection_report", "interval", "pairs", "recovery"]

Doubles = npt.NDArray[np.float64]

_COORDS = {
    "raised": ("model", "response"),
    "held_out": ("model", "prompt"),
    "tuned_from": ("model",),
    "seed": ("model",),
}
_INTERVAL = 0.9
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A fine-tuned model and the one it was tuned from, after the prompts that were held out."""

    name: str  # the fine-tuned model
    seed: int  # its seed
    prompts: list[str]  # those that were held out
    # p, q: (prompt, word): log-probs of the fine-tuned and of the untouched model, of the words
    # that both have.
    p: Doubles
    q: Doubles
    raised: npt.NDArray[np.bool_]  # (word,): what was raised


def pairs(injected: xr.Dataset) -> Iterator[Pair]:
    """Return each fine-tuned model beside the one it was tuned from."""
    validate(injected)
    check_logprobs(injected, "The dataset")
    for name, dims in _COORDS.items():
        if name not in injected.coords or injected[name].dims != dims:
            raise ValueBiasError(
                f"The coord {name!r} is missing or not along {dims}; expected what "
                "valuebias.inject_words(...) gave."
            )
    names = [str(name) for name in injected["model"].to_numpy()]
    origins = [str(origin) for origin in injected["tuned_from"].to_numpy()]
    if not any(origins):
        raise ValueBiasError(
            "No model in the dataset was fine-tuned: 'tuned_from' is empty throughout. To raise "
            "words by arithmetic instead, drop the coord: ds.drop_vars('raised')."
        )
    for row, origin in enumerate(origins):
        if not origin:
            continue
        if origin not in names:
            raise ValueBiasError(
                f"{names[row]!r} was tuned from {origin!r}, which is not in the dataset. Keep both."
            )
        yield _pair(injected, row, names.index(origin))


def _pair(injected: xr.Dataset, row: int, origin: int) -> Pair:
    score = injected["score"].to_numpy()
    name = str(injected["model"].to_numpy()[row])
    held = injected["held_out"].to_numpy()[row].astype(bool)
    p, q = score[row][held].astype(np.float64), score[origin][held].astype(np.float64)
    both = ~(np.isnan(p) | np.isnan(q)).any(axis=0)
    raised = injected["raised"].to_numpy()[row].astype(bool)[both]
    if not held.any() or not raised.any() or raised.all():
        raise ValueBiasError(
            f"{name!r} has {int(held.sum())} held-out prompts and {int(raised.sum())} raised words "
            f"of {len(raised)}; expected at least one of each, and words that were not raised."
        )
    return Pair(
        name=name,
        seed=int(injected["seed"].to_numpy()[row]),
        prompts=[str(prompt) for prompt in injected["prompt"].to_numpy()[held]],
        p=p[:, both],
        q=q[:, both],
        raised=raised,
    )


def find_again(injected: xr.Dataset, methods: Sequence[Method], k: Sequence[int]) -> pd.DataFrame:
    """Rank the words by each method, after each held-out prompt of each fine-tuned model."""
    rows: list[dict[str, Any]] = []
    for pair in pairs(injected):
        for prompt, p, q in zip(pair.prompts, pair.p, pair.q, strict=True):
            about = {"vocabulary": len(p), "noise": np.nan, "seed": pair.seed, "prompt": prompt}
            rows += [
                {"source": "fine-tuning", "method": method.name}
                | about
                | recovery(method(p, q), pair.raised, k)
                for method in methods
            ]
    return pd.DataFrame(rows)


def injection_report(injected: xr.Dataset) -> pd.DataFrame:
    """Report what fine-tuning has changed after the prompts that were held out.

    Parameters
    ----------
    injected : xarray.Dataset
        What :func:`valuebias.inject_words` gave.

    Returns
    -------
    pandas.DataFrame
        One row a fine-tuned model: ``seed``; ``n_prompts`` held out; ``n_raised``; ``change``, the
        mean change of the raised words' log-probs, and ``rest_change``, that of all other words, in
        nats; ``mass_before`` and ``mass_after``, the probability of the raised words together;
        ``kl``, the Kullback–Leibler divergence of the fine-tuned from the untouched model, in nats,
        and ``rest_kl``, that among the other words only. All are means over prompts.

    Raises
    ------
    ValueBiasError
        If the dataset was not made by :func:`valuebias.inject_words`.

    Examples
    --------
    >>> import valuebias
    >>> injection_report(valuebias.datasets.load("simulated"))
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The dataset holds scores of kind 'reward'; expected...
    """
    rows = []
    for pair in pairs(injected):
        change, rest = (pair.p - pair.q), ~pair.raised
        rows.append(
            {
                "model": pair.name,
                "seed": pair.seed,
                "n_prompts": len(pair.prompts),
                "n_raised": int(pair.raised.sum()),
                "change": float(change[:, pair.raised].mean()),
                "rest_change": float(change[:, rest].mean()),
                "mass_before": float(np.exp(pair.q[:, pair.raised]).sum(axis=1).mean()),
                "mass_after": float(np.exp(pair.p[:, pair.raised]).sum(axis=1).mean()),
                "kl": _divergence(pair.q, pair.p),
                "rest_kl": _divergence(pair.q[:, rest], pair.p[:, rest]),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def _divergence(before: Doubles, after: Doubles) -> float:
    """Return KL(before ‖ after), each normalised first, averaged over prompts."""
    q, p = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (before, after))
    return float((np.exp(q) * (q - p)).sum(axis=1).mean())


def recovery(
    rewards: Doubles, raised: npt.NDArray[np.bool_], k: Sequence[int] = ()
) -> dict[str, float]:
    """Measure how well rewards find raised words.

    ``rewards`` is (word,); ``raised`` is (word,).
    """
    from scipy.stats import mannwhitneyu

    n = int(raised.sum())
    wins = mannwhitneyu(rewards[raised], rewards[~raised], method="asymptotic").statistic
    auc = wins / (n * (len(raised) - n))
    order = np.argsort(-rewards, kind="stable")
    measures = {"auc": float(auc), "recall": float(raised[order[:n]].mean())}
    return measures | {f"recall@{top}": float(raised[order[:top]].sum() / n) for top in k}


def interval(groups: Sequence[Doubles]) -> tuple[float, float, float]:
    """Return the mean of group means, and a 90 % percentile bootstrap interval of it."""
    rng = np.random.default_rng(0)
    means = np.array([group.mean() for group in groups])
    drawn = rng.choice(len(groups), size=(_RESAMPLES, len(groups)))
    resampled = means[drawn]
    for number, group in enumerate(groups):
        if len(group) > 1:
            mask = drawn == number
            resampled[mask] = rng.choice(group, size=(int(mask.sum()), len(group))).mean(axis=1)
    lower, upper = np.quantile(resampled.mean(axis=1), [(1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2])
    return float(means.mean()), float(lower), float(upper)
