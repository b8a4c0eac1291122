"""From scores of options to choices: ``valuebias.choices(scores, task)``."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit

from valuebias._core.checks import check_number, check_whole
from valuebias.errors import ValueBiasError, few
from valuebias.instruments import BanditTask
from valuebias.schema import model_table, validate
from valuebias.schema.choices import CHOICES_SCHEMA, TRIAL_COORDS, validate_choices

__all__ = ["choices"]

_KINDS = ("logprob", "reward")
_TEXTS = ("phase", "context", "first", "second")


def choices(
    scores: xr.Dataset, task: BanditTask, *, temperature: float = 1.0, sample: int | None = None
) -> xr.Dataset:
    """Make choices of scores: a softmax over the two options that each trial offers.

    Parameters
    ----------
    scores : xarray.Dataset
        What ``valuebias.score(models, prompts=task.prompts, lexicon=task.labels, kind="logprob")``
        returned, or of reward models ``kind="reward"``.
    task : BanditTask
        What was asked.
    temperature : float, default 1.0
        The scores are divided by it. Of log-probs, 1 gives the model's own probabilities, renormed
        to the two options.
    sample : int, optional
        Draw one choice per trial with this seed. If not given, choices are *expected*: the
        probabilities themselves.

    Returns
    -------
    xarray.Dataset
        ``chose_first`` over (model, task, trial): the probability of the option that is named
        first, or 0 and 1 where sampled. Of log-probs also ``p_offered``, the probability of both
        options together before they are renormed: where it is small, the model would rather reply
        something else. Coordinates say what each trial was, and whose each model is.

    Raises
    ------
    ValueBiasError
        If the scores are not of these prompts and labels, or not log-probs or rewards; or the
        labels of two options begin with the same token to a model.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=2, seed=1)
    >>> scores = valuebias.score(
    ...     "org/model", prompts=task.prompts, lexicon=task.labels, kind="logprob"
    ... )  # doctest: +SKIP
    >>> made = valuebias.choices(scores, task)  # doctest: +SKIP
    """
    if not isinstance(task, BanditTask):
        raise ValueBiasError(
            f"The task is of type {type(task).__name__}; expected what valuebias.bandit_task(...) "
            "returned."
        )
    check_number(temperature, "temperature", "a number above 0", least=0, above=True, most=1e6)
    if sample is not None:
        check_whole(sample, "sample", least=0)
    validate(scores, min_categories=0)
    _check_asked(scores, task)
    cube = scores["score"].transpose("model", "prompt", "response")
    _check_first_tokens(scores, task)
    table = task.trials
    prompt = scores.get_index("prompt").get_indexer(pd.Index(table["prompt"]))
    own = {side: scores.get_index("response").get_indexer(pd.Index(table[f"{side}_label"]))
           for side in ("first", "second")}  # fmt: skip
    values = cube.to_numpy().astype(np.float64)
    first, second = (values[:, prompt, own[side]] for side in ("first", "second"))
    if not (np.isfinite(first) & np.isfinite(second)).all():
        raise ValueBiasError(
            "Some options have no score. Score all prompts and labels of the task: "
            "valuebias.score(models, prompts=task.prompts, lexicon=task.labels)."
        )
    chance = expit((first - second) / temperature)
    how = "expected"
    if sample is not None:
        how = "sampled"
        chance = (np.random.default_rng(sample).uniform(size=chance.shape) < chance).astype(float)
    made = {"chose_first": chance}
    if scores.attrs["kind"] == "logprob":
        made["p_offered"] = np.minimum(np.exp(first) + np.exp(second), 1)
    return _laid_out(scores, task, made, {"how": how, "temperature": float(temperature)})


def _laid_out(
    scores: xr.Dataset, task: BanditTask, made: dict[str, Any], attrs: dict[str, Any]
) -> xr.Dataset:
    table = task.trials
    tasks = list(dict.fromkeys(table["task"]))
    at = table["task"].map({name: i for i, name in enumerate(tasks)}).to_numpy()
    place = table["trial"].to_numpy() - 1
    shape = (len(tasks), int(place.max()) + 1)
    coords: dict[str, Any] = {
        "model": scores["model"].to_numpy(),
        "task": np.array(tasks, dtype="U"),
        "trial": np.arange(1, shape[1] + 1),
        "style": ("task", np.full(len(tasks), task.style)),
    }
    for name in TRIAL_COORDS:
        values = table[name].to_numpy()
        laid = np.full(
            shape, "" if name in _TEXTS else np.nan, dtype=object if name in _TEXTS else float
        )
        laid[at, place] = values
        coords[name] = (("task", "trial"), laid.astype("U") if name in _TEXTS else laid)
    for known, column in model_table(scores).items():
        coords[str(known)] = ("model", column.to_numpy())
    of_all = {}
    for name, values in made.items():
        laid = np.full((len(scores["model"]), *shape), np.nan)
        laid[:, at, place] = values
        of_all[name] = (("model", "task", "trial"), laid)
    attrs |= {"schema": CHOICES_SCHEMA, "kind": scores.attrs["kind"]}
    return validate_choices(xr.Dataset(of_all, coords=coords, attrs=attrs))


def _check_asked(scores: xr.Dataset, task: BanditTask) -> None:
    """Refuse scores of something else than the task."""
    kind = scores.attrs.get("kind")
    if kind not in _KINDS:
        raise ValueBiasError(
            f"The scores are of kind {kind!r}; expected 'logprob' of language models or 'reward'. "
            "Score the task with one of them."
        )
    for dim, wanted in (("prompt", list(task.prompts.table.index)), ("response", task.labels)):
        found = {str(name) for name in scores[dim].to_numpy()}
        if missing := [name for name in wanted if name not in found]:
            raise ValueBiasError(
                f"The scores lack the {dim}s {few(missing)} of the task. Score it as it is: "
                "valuebias.score(models, prompts=task.prompts, lexicon=task.labels)."
            )
    if "text" in scores.coords:
        asked = dict(zip(scores["prompt"].to_numpy().tolist(), scores["text"].to_numpy().tolist(),
                         strict=True))  # fmt: skip
        texts = task.prompts.table["text"]
        if other := [name for name in texts.index if asked[name] != texts[name]]:
            raise ValueBiasError(
                f"The prompts {few(other)} have another text in the scores than in the task. Give "
                "the task that was scored: the same arguments and seed make it again."
            )


def _check_first_tokens(scores: xr.Dataset, task: BanditTask) -> None:
    """Refuse labels that begin alike: what is chosen would hang on what follows.

    Tokens that all labels begin with, such as a blank, tell none from another and cancel out.
    """
    if "token_logprob" not in scores:
        return
    tokens = scores["token_logprob"].transpose("model", "prompt", "response", "token")
    for m, of_model in enumerate(tokens.sel(response=list(task.labels)).to_numpy()):
        at = 0
        # Log-probs of one token at one place are equal to the last bit.
        while at < of_model.shape[2] and len(task.labels) > 1:
            now = of_model[..., at]
            if not (now == now[:, :1]).all():
                break
            at += 1
        if at == of_model.shape[2]:
            continue
        now = of_model[..., at]
        for i, j in itertools.combinations(range(len(task.labels)), 2):
            if (now[:, i] == now[:, j]).all():
                raise ValueBiasError(
                    f"The options {task.labels[i]!r} and {task.labels[j]!r} begin with the same "
                    f"token to {str(scores['model'].to_numpy()[m])!r}, so that its choice is not "
                    "made there. Give labels that differ from their first letter on: "
                    "valuebias.bandit_task(..., labels=...)."
                )
