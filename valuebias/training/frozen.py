"""Reward models of a frozen base: a head fitted to its hidden states, in one folder with it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_installed
from valuebias._core.disk import explain_os_errors
from valuebias._core.foreign import read_json, reading
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError
from valuebias.models.spec import Model, read_models
from valuebias.preference_data.preferences import Preferences, preferences
from valuebias.training.bradley_terry import fit_head
from valuebias.training.common import own_randomness
from valuebias.training.features import Base, Conversation, features, find_base
from valuebias.training.head import Head
from valuebias.training.reward import load_base, save_plain

__all__ = ["reward_model"]

_RECORD = "head.json"
"""The file beside a model's weights that says how its head was fitted."""


def reward_model(
    base: Any,
    pairs: Any,
    *,
    out: str | PathLike[str],
    penalty: float | None = None,
    name: str | None = None,
    backend: str | type[Backend] | Backend = "torch",
    store: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Model:
    """Make a reward model of a base and preferences: the base frozen, with a linear head.

    The head is fitted exactly, as in a :class:`Study` with the tuning "head"; here the model itself
    is written, which can be scored with anything, shaped, or given to others.

    Parameters
    ----------
    base : Model, str, path, mapping or DataFrame
        One model, as :func:`valuebias.read_models` takes it: a folder or a hub id with weights as
        safetensors. A template given with it is the reward model's as well.
    pairs : Preferences, str, path or DataFrame
        What to fit the head to, as :func:`valuebias.preferences` takes it.
    out : str or path
        The folder that the model is written to, whole or not at all: weights, tokenizer, and
        ``head.json`` with the pairs' hash, loss and accuracy. A model of the same base, pairs and
        penalty that is there already is not made again.
    penalty : float, optional
        As in :func:`fit_head`.
    name : str, optional
        The model's label; by default the name of the folder.
    backend : str, type of Backend or Backend
        What computes the hidden states.
    store : str or path, optional
        A folder that keeps the hidden states, for other heads on the same answers.
    trust_remote_code : bool, default False
        As in :func:`valuebias.score`.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Model
        The reward model, of the base's family, with the base as its ``base``. Its reward is read at
        the last token, where the head was fitted.

    Raises
    ------
    ValueBiasError
        If the base is no decoder in a folder with safetensors; the pairs cannot be read or fitted,
        see :func:`fit_head`; or something else lies at `out`.

    Examples
    --------
    >>> import valuebias
    >>> pairs = valuebias.ablation.synthetic_preferences("correct", 200)
    >>> made = valuebias.ablation.reward_model("org/base", pairs, out="rm")  # doctest: +SKIP
    """
    models = read_models(base, trust_remote_code=trust_remote_code)
    if len(models) != 1:
        raise ValueBiasError(f"There are {len(models)} bases; expected one. Give them one by one.")
    check_installed("torch", "transformers", extra="torch", after=", and reward models need it")
    asked = pairs if isinstance(pairs, Preferences) else preferences(pairs, progress=progress)
    engine = get_backend(backend)
    found = find_base(models[0])
    target = Path(out).expanduser()
    wanted = {"base": found.sha256, "pairs": asked.sha256, "penalty": penalty,
              "backend": engine.name}  # fmt: skip
    if not _is_there(target, wanted):
        # Refused before the hidden states, which take the time.
        with own_randomness(0):
            plain = load_base(found)
        head = _fitted(found, asked, penalty, engine, store, progress=progress)
        _write(plain, found, head, target, wanted)
    model = found.resolved.model
    return replace(
        models[0], location=str(target), name=name or target.name, revision=None, stage="reward",
        family=model.family, base=model.base, n_params=None, head="logits", label=None,
        reward_at="last", dtype="float32", tokenizer=None,
    )  # fmt: skip


def _fitted(
    base: Base, pairs: Preferences, penalty: float | None, engine: Backend, store: Any, *,
    progress: bool,
) -> Head:  # fmt: skip
    kept = tempfile.TemporaryDirectory(prefix="valuebias-") if store is None else nullcontext(store)
    with kept as folder, progress_bar(f"Reading {base.name}", shown=progress) as advance:
        asked = Conversation.of_pairs(pairs.pairs)
        where = Path(folder).expanduser()
        with explain_os_errors(where):
            values = features(base, asked, folder=where, backend=engine, advance=advance)
    return fit_head(values[:, 0], values[:, 1], penalty=penalty)


def _write(plain: Any, base: Base, head: Head, target: Path, wanted: Mapping[str, Any]) -> None:
    import torch

    from valuebias.backends.loading import quiet

    tokenizer = base.tokenizer.hf_tokenizer()
    with torch.no_grad():
        plain.score.weight.copy_(torch.from_numpy(head.weights.astype(np.float32))[None])
        if getattr(plain.score, "bias", None) is not None:
            plain.score.bias.zero_()
    # What pads is what no conversation ends in; transformers reads rewards before it.
    plain.config.pad_token_id = tokenizer.pad_token_id
    about = {"n_pairs": head.n_pairs, "loss": head.loss, "accuracy": head.accuracy}
    with quiet(), explain_os_errors(target), atomic_path(target) as part:
        part.mkdir(exist_ok=True)
        save_plain(plain, part)
        tokenizer.save_pretrained(part)
        content = {"wanted": wanted, **record(details=about | {"base": base.name})}
        (part / _RECORD).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _is_there(target: Path, wanted: Mapping[str, Any]) -> bool:
    """Tell whether the same model lies there; refuse a folder with anything else."""
    if not os.path.lexists(target):
        return False
    path, advice = target / _RECORD, "Remove the folder, or give another out=."
    if not path.is_file():
        raise ValueBiasError(f"{str(target)!r} is there already and holds no such model. {advice}")
    content = read_json(path, advice=advice)
    with reading(path, advice=advice):
        found = dict(content["wanted"])
    if found != dict(wanted):
        differs = [key for key, value in wanted.items() if found.get(key) != value]
        raise ValueBiasError(
            f"{str(target)!r} holds a reward model of another {' and '.join(differs)}. {advice}"
        )
    return True
