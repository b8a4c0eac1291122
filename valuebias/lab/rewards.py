"""Train reward models on preference pairs: ``valuebias.lab.train_reward_model``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.atomic import atomic_path
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.lab.models import ABOUT, about, is_made
from valuebias.lab.text import check_seed
from valuebias.lab.training import Integers, check_torch, optimise, padded
from valuebias.models.spec import Model
from valuebias.training.common import Advance, own_randomness

__all__ = ["train_reward_model"]

_VERSION = 1
_MODES = ("full", "head")
_BATCH = 16
_EPOCHS = 2
_RATE = 1e-3
_RIDGE = 0.01


def train_reward_model(
    base: Model | str | PathLike[str],
    pairs: pd.DataFrame,
    *,
    out: str | PathLike[str],
    mode: Literal["full", "head"] = "full",
    source: str = "",
    seed: int = 0,
    progress: bool = True,
) -> Model:
    r"""Train a reward model on preference pairs, from a language model of the laboratory.

    Parameters
    ----------
    base : Model, str or path
        What :func:`valuebias.lab.pretrain` gave, or its folder.
    pairs : pandas.DataFrame
        Columns ``prompt``, ``chosen`` and ``rejected``, such as
        :func:`valuebias.lab.generate_preferences` gives.
    out : str or path
        The folder that is made. A reward model of the same base, pairs and settings that is there
        already is not made again.
    mode : {"full", "head"}
        ``"full"``: all weights are trained. ``"head"``: the base stays as it is, and a logistic
        regression reads its last hidden states.
    source : str, optional
        What to call the pairs; the coord ``source`` of the scores.
    seed : int, default 0
        Of the head's first weights and the order of the pairs.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Model
        Ready for ``valuebias.score(kind="reward")``, with ``family`` and ``base`` of its base,
        ``stage`` "reward", ``source``, ``n_pairs``, ``seed`` and ``step``, the steps taken.

    Raises
    ------
    ValueBiasError
        If PyTorch or transformers is not installed, the base is none of the laboratory's, a column
        is missing, or something else lies in the folder.

    Notes
    -----
    The loss is Bradley and Terry's, :math:`-\log\sigma(r_\text{chosen} - r_\text{rejected})`. Full:
    AdamW, two epochs of batches of 16 at a rate of up to 0.001. Head: to the optimum, with a ridge
    penalty of 0.005 a squared weight, since a base can tell many pairs apart without fault.

    Examples
    --------
    >>> import tempfile
    >>> import valuebias.lab as lab
    >>> folder = tempfile.mkdtemp()
    >>> base = lab.pretrain(f"{folder}/base", lean=1.5, n_texts=64, progress=False)
    >>> pairs = lab.generate_preferences(32, seed=1)
    >>> reward = lab.train_reward_model(base, pairs, out=f"{folder}/rm", progress=False)
    >>> reward.stage, reward.n_pairs, reward.base
    ('reward', 32, 'base')
    """
    if mode not in _MODES:
        raise ValueBiasError(f"mode is {mode!r}. {did_you_mean(mode, _MODES)}")
    check_seed(seed)
    triples = _checked(pairs)
    folder = Path(base.location if isinstance(base, Model) else base).expanduser()
    origin = about(folder)
    target = Path(out).expanduser()
    digest = hashlib.sha256(json.dumps(triples).encode()).hexdigest()
    settings = {
        "version": _VERSION,
        "base": origin["settings"],
        "pairs": digest,
        "mode": mode,
        "seed": int(seed),
    }
    made: dict[str, Any] = {"settings": settings, "truth": origin["truth"]}
    model = Model(
        str(target),
        name=target.name,
        family=base.family if isinstance(base, Model) else None,
        base=base.name if isinstance(base, Model) else folder.name,
        stage="reward",
        source=source or None,
        n_pairs=len(triples),
        seed=int(seed),
        step=_n_steps(len(triples), mode),
        tuning=f"Bradley-Terry, {mode}",
    )
    if is_made(target, made):
        return model
    check_torch()
    with progress_bar(f"Training {target.name}", shown=progress) as advance:
        _make(folder, target, triples, mode, seed, advance, made)
    return model


def _n_steps(n_pairs: int, mode: str) -> int:
    """Give the number of steps of a run; a head is fitted in one."""
    return 1 if mode == "head" else _EPOCHS * -(-n_pairs // _BATCH)


def _checked(pairs: pd.DataFrame) -> list[list[str]]:
    wanted = ["prompt", "chosen", "rejected"]
    missing = [column for column in wanted if column not in pairs.columns]
    if missing or not len(pairs):
        raise ValueBiasError(
            f"The pairs have the columns {list(pairs.columns)} and {len(pairs)} rows; expected "
            f"{wanted} and at least one row."
        )
    rows: list[list[str]] = pairs[wanted].to_numpy().tolist()
    for row in rows:
        if not all(isinstance(text, str) for text in row):
            raise ValueBiasError(f"A pair is {row!r}; expected three texts.")
    return rows


def _make(
    folder: Path,
    target: Path,
    triples: Sequence[Sequence[str]],
    mode: str,
    seed: int,
    advance: Advance | None,
    made: dict[str, Any],
) -> None:
    """Train and write a reward model."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from valuebias.backends.loading import quiet
    from valuebias.models.tokenizer_files import load_tokenizer

    with quiet(), own_randomness(seed):
        tokenizer = load_tokenizer(folder, folder.name, trust=False).tokenizer
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32, local_files_only=True, use_safetensors=True,
            attn_implementation="eager",
        )  # fmt: skip
        chosen, rejected = (_encoded(tokenizer, triples, which) for which in (1, 2))
        with torch.no_grad():
            model.score.weight.zero_()
        if mode == "head":
            losses = _fit_head(model, chosen, rejected)
        else:
            order = np.random.default_rng([seed, 4])
            steps = _losses(model, chosen, rejected, order)
            losses = optimise(list(model.parameters()), steps, learning_rate=_RATE,
                              n_steps=_n_steps(len(chosen), mode), advance=advance)  # fmt: skip
        with atomic_path(target) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            text = json.dumps(record(details={**made, "loss": losses}), sort_keys=True)
            (part / ABOUT).write_text(text, encoding="utf-8")


def _encoded(tokenizer: Any, triples: Sequence[Sequence[str]], which: int) -> list[list[int]]:
    chats = [
        [{"role": "user", "content": t[0]}, {"role": "assistant", "content": t[which]}]
        for t in triples
    ]
    texts = tokenizer.apply_chat_template(chats, tokenize=False)
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return encoded


def _states(model: Any, sequences: Sequence[Sequence[int]]) -> Any:
    """Give the hidden state at the end of each conversation, shape (conversation, hidden)."""
    import torch

    ids: Integers = padded(sequences)
    last = torch.tensor([len(sequence) - 1 for sequence in sequences])
    hidden = model.base_model(torch.from_numpy(ids), use_cache=False).last_hidden_state
    return hidden[torch.arange(len(last)), last]


def _losses(
    model: Any,
    chosen: Sequence[list[int]],
    rejected: Sequence[list[int]],
    order: np.random.Generator,
) -> Iterator[Callable[[], Any]]:
    """Give the loss of each batch, epoch after epoch."""
    from torch.nn.functional import softplus

    for _ in range(_EPOCHS):
        shuffled = order.permutation(len(chosen))
        for start in range(0, len(chosen), _BATCH):
            rows = shuffled[start : start + _BATCH]

            def loss(rows: npt.NDArray[np.int64] = rows) -> Any:
                both = [chosen[i] for i in rows] + [rejected[i] for i in rows]
                better, worse = model.score(_states(model, both))[:, 0].chunk(2)
                return softplus(worse - better).mean()

            yield loss


def _fit_head(
    model: Any, chosen: Sequence[list[int]], rejected: Sequence[list[int]]
) -> list[float]:
    """Put the weights of a ridge logistic regression into the head."""
    import torch
    from scipy.optimize import minimize
    from scipy.special import expit

    with torch.no_grad():
        better, worse = (_states(model, sequences).numpy() for sequences in (chosen, rejected))
    difference = (better - worse).astype(np.float64)

    def value(weight: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        margin = difference @ weight
        loss = np.logaddexp(0, -margin).mean() + _RIDGE / 2 * weight @ weight
        slope = -(expit(-margin) @ difference) / len(margin) + _RIDGE * weight
        return float(loss), slope

    found = minimize(value, np.zeros(difference.shape[1]), jac=True, method="L-BFGS-B")
    with torch.no_grad():
        model.score.weight.copy_(torch.from_numpy(found.x)[None])
    return [float(found.fun)]
