"""Read pairs of language models as implicit reward models."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known
from valuebias._core.provenance import record
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.logprobs.methods import Formula, Method, get_method
from valuebias.logprobs.vocabularies import check_logprobs
from valuebias.schema import build, member_table, model_table, prompt_table, validate
from valuebias.schema.contract import coord_table

__all__ = ["implicit"]

_Names = str | Sequence[str]


def implicit(
    logprobs: xr.Dataset,
    *,
    numerator: _Names,
    denominator: _Names,
    method: str | Formula | Method = "mwlr",
    missing: str = "raise",
) -> xr.Dataset:
    """Read pairs of language models as implicit reward models.

    The implicit reward of a word says how much more the numerator values it than the denominator.

    Parameters
    ----------
    logprobs : xarray.Dataset
        Log-probs of several models on the same words, as :func:`valuebias.align` gives.
    numerator, denominator : str or sequence of str
        Models, or families that stand for all of theirs. Every model of the one is paired with
        every model of the other.
    method : str or callable, default "mwlr"
        One that :func:`valuebias.implicit_methods` lists; or a function from two arrays of
        log-probs, in nats, to an array of the same shape. With the mixture-weighted log-ratio
        ("mwlr"), ½ (p + q) (log p − log q), a word counts as much as it is likely.
    missing : {"raise", "nan"}
        What to do with words that one side lacks: refuse them, or give NaN.

    Returns
    -------
    xarray.Dataset
        In the "valuebias/1" contract, kind ``implicit``. A "model" is a pair, named "a − b"; its
        ``family`` is named "A over B" after theirs, and so is its ``base``, where both are known.
        The coords ``numerator`` and ``denominator`` name its two models.

    Raises
    ------
    ValueBiasError
        If scores are not log-probs; a name is neither a model nor a family; the same model is on
        both sides; a word is absent from one side; or the method gives something else than numbers
        of the same shape.

    Notes
    -----
    Two pairs that share a model are not independent observations; :func:`valuebias.fit` gives each
    model effects of its own where every numerator is paired with every denominator.

    The log-ratio of a language model to the one it was trained from is its implicit reward
    (Rafailov et al., 2023, Eq. 5).

    Examples
    --------
    >>> prompts = pd.DataFrame({"text": ["Best?"], "framing": ["positive"]}, index=["best"])
    >>> models = pd.DataFrame({"family": ["G", "L"], "base": ["G", "L"], "stage": "pretrained"},
    ...                       index=["g", "l"])
    >>> logprobs = build(np.log([[[0.5, 0.2]], [[0.25, 0.4]]]), models=models, prompts=prompts,
    ...                  responses=["love", "win"], kind="logprob")
    >>> rewards = implicit(logprobs, numerator="G", denominator="L")
    >>> rewards["model"].values.tolist(), rewards["score"].values.round(3).tolist()
    (['g − l'], [[[0.25999999046325684, -0.20800000429153442]]])
    """
    validate(logprobs)
    check_logprobs(logprobs, "The dataset")
    check_known(missing, ("raise", "nan"), f"missing is {missing!r}.")
    chosen = get_method(method)
    models = model_table(logprobs)
    pairs = _pairs(models, numerator, denominator)
    if missing == "raise":
        _check_complete(logprobs, sorted({name for pair in pairs for name in pair}))
    score = np.empty((len(pairs), logprobs.sizes["prompt"], logprobs.sizes["response"]), "float32")
    model_index = logprobs.indexes["model"]
    values = logprobs["score"].to_numpy()
    for row, (a, b) in enumerate(pairs):
        p, q = values[model_index.get_loc(a)], values[model_index.get_loc(b)]
        score[row] = _checked(chosen(p, q), p, q, chosen)
    member = member_table(logprobs)
    details = {
        "implicit": {
            "method": chosen.name,
            "formula": chosen.formula,
            "source": chosen.source,
            "pairs": [list(pair) for pair in pairs],
        },
        "logprobs": json.loads(logprobs.attrs["provenance"]),
    }
    return build(
        score,
        models=_table(models, pairs),
        prompts=prompt_table(logprobs),
        lexicon=member if member.shape[1] else None,
        responses=[str(word) for word in logprobs["response"].to_numpy()],
        words=coord_table(logprobs, "response"),
        kind="implicit",
        units=chosen.units,
        provenance=record(details=details),
    )


def _pairs(models: pd.DataFrame, numerator: _Names, denominator: _Names) -> list[tuple[str, str]]:
    above = _named(models, numerator, "numerator")
    below = _named(models, denominator, "denominator")
    both = [name for name in above if name in below]
    if both:
        raise ValueBiasError(
            f"The model {both[0]!r} is on both sides; a model cannot be compared with itself. "
            "Leave it out of numerator= or denominator=."
        )
    return [(a, b) for a in above for b in below]


def _named(models: pd.DataFrame, names: _Names, which: str) -> list[str]:
    chosen: list[str] = []
    for name in (names,) if isinstance(names, str) else names:
        if name in models.index:
            chosen.append(name)
            continue
        family = models.index[(models["family"] == name).to_numpy()]
        if not len(family):
            known = [*models["family"].unique().tolist(), *models.index.tolist()]
            raise ValueBiasError(
                f"{which}={name!r} is neither a model nor a family. {did_you_mean(name, known)}"
            )
        chosen += family.tolist()
    if not chosen:
        raise ValueBiasError(f"{which} names no model; give at least one, or a family.")
    return list(dict.fromkeys(chosen))


def _check_complete(ds: xr.Dataset, names: list[str]) -> None:
    absent = np.isnan(ds["score"].sel(model=names).to_numpy())
    if absent.any():
        model, prompt, word = (int(index) for index in np.argwhere(absent)[0])
        raise ValueBiasError(
            f"The word {str(ds['response'].to_numpy()[word])!r} has no log-prob for the model "
            f"{names[model]!r} after the prompt {str(ds['prompt'].to_numpy()[prompt])!r}; "
            f"{int(absent.any(axis=(0, 1)).sum())} words lack some. Align with "
            'join="inner", or give missing="nan".'
        )


def _checked(out: np.ndarray, p: np.ndarray, q: np.ndarray, method: Method) -> np.ndarray:
    out = np.asarray(out)
    expected = ~(np.isnan(p) | np.isnan(q))
    if out.shape != p.shape or out.dtype.kind != "f" or not np.isfinite(out[expected]).all():
        raise ValueBiasError(
            f"The method {method.name!r} gave an array of shape {out.shape} and dtype "
            f"{out.dtype}, or numbers that are not finite; expected finite float64 of shape "
            f"{p.shape}."
        )
    return np.where(expected, out, np.nan)


def _table(models: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for a, b in pairs:
        one, other = models.loc[a], models.loc[b]
        rows.append(
            {
                "model": f"{a} − {b}",
                "family": f"{one['family']} over {other['family']}",
                "base": (
                    f"{one['base']} over {other['base']}" if one["base"] and other["base"] else ""
                ),
                # A pair of stages has no name; the numerator's is the nearest.
                "stage": one["stage"],
                "numerator": a,
                "denominator": b,
                "numerator_family": one["family"],
                "denominator_family": other["family"],
            }
        )
    return pd.DataFrame(rows).set_index("model")
