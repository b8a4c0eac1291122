"""How reward models are trained: ``valuebias.ablation.TrainingSettings`` and its presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias.errors import ValueBiasError

__all__ = ["TrainingSettings", "as_settings", "checkpoint_steps", "checkpoints"]

_SCHEDULES = ("cosine", "linear", "constant")
_ADAPTER = ("rank", "alpha", "dropout", "target_modules")
_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How reward models are trained by LoRA or in full.

    The defaults are the preset ``"paper"``: the settings of Christian et al. (2026).

    Attributes
    ----------
    rank, alpha : int, default 32, 64
        Of LoRA: the rank of each matrix's change, and its scale times the rank.
    dropout : float, default 0.05
        Of LoRA: the share of a matrix's inputs that its change does not see in a step.
    target_modules : tuple of str, default ("q_proj", "k_proj", "v_proj", "o_proj")
        Of LoRA: the names of the matrices that are changed. The reward head is trained whole.
    learning_rate : float, default 1e-5
        The highest, of AdamW.
    schedule : {"cosine", "linear", "constant"}
        How the rate falls after the warm-up.
    warmup : float, default 0.03
        Share of the steps over which the rate rises.
    weight_decay : float, default 0
        Of AdamW.
    batch_size : int, default 16
        Pairs a step.
    micro_batch : int, optional
        Pairs that are computed at once; gradients are summed up to a step. By default the largest
        number up to 4 that divides `batch_size`. Fewer take less memory.
    epochs : float, default 2
        How often each pair is seen.
    max_steps : int, optional
        Train no longer than this.
    max_length : int, default 1024
        Pairs of which a conversation has more tokens are left out, and counted.
    bf16 : bool, default True
        Multiply in bfloat16 where the device is a card that can. On a CPU training is in float32.
    center_rewards_coefficient : float, default 0
        Pulls the sum of a pair's two rewards to zero; TRL's ``center_rewards_coefficient``.
    linear_checkpoints, log_checkpoints : int, default 10
        At which steps models are scored, see :func:`valuebias.ablation.checkpoint_steps`.

    Raises
    ------
    ValueBiasError
        If a setting is out of its range.

    Examples
    --------
    >>> settings = TrainingSettings(batch_size=6, max_steps=20)
    >>> settings.rank, settings.at_once, settings.n_steps(10_000)
    (32, 3, 20)
    >>> TrainingSettings(rank=0)
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: rank is 0; expected a whole number of at least 1.
    """

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    learning_rate: float = 1e-5
    schedule: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    batch_size: int = 16
    micro_batch: int | None = None
    epochs: float = 2
    max_steps: int | None = None
    max_length: int = 1024
    bf16: bool = True
    center_rewards_coefficient: float = 0.0
    linear_checkpoints: int = 10
    log_checkpoints: int = 10

    def __post_init__(self) -> None:
        """Check every setting."""
        for name in ("rank", "alpha", "batch_size", "max_length"):
            check_whole(getattr(self, name), name, least=1)
        for name in ("micro_batch", "max_steps"):
            if getattr(self, name) is not None:
                check_whole(getattr(self, name), name, least=1)
        for name in ("linear_checkpoints", "log_checkpoints"):
            check_whole(getattr(self, name), name, least=0)
        self._check("dropout", "a share, 0 or more and below 1", 1, below=True)
        self._check("warmup", "a share, 0 to 1", 1)
        self._check("learning_rate", "a number above 0, at most 1", 1, above=True)
        self._check("epochs", "a number above 0", above=True, below=True)
        self._check("weight_decay", "a number, 0 or more", below=True)
        self._check("center_rewards_coefficient", "a number, 0 or more", below=True)
        check_known(self.schedule, _SCHEDULES, f"schedule is {self.schedule!r}.")
        if not isinstance(self.bf16, bool):
            raise ValueBiasError(f"bf16 is {self.bf16!r}; expected True or False.")
        object.__setattr__(self, "target_modules", _names(self.target_modules))
        if self.batch_size % self.at_once:
            raise ValueBiasError(
                f"micro_batch is {self.micro_batch} and batch_size {self.batch_size}; expected a "
                "micro_batch that divides it."
            )

    @property
    def at_once(self) -> int:
        """How many pairs are computed at once."""
        if self.micro_batch is not None:
            return self.micro_batch
        return max(n for n in range(1, _MOST_AT_ONCE + 1) if self.batch_size % n == 0)

    def n_steps(self, n_pairs: int) -> int:
        """Count the steps of a run.

        Parameters
        ----------
        n_pairs : int
            How many pairs it is trained on.

        Returns
        -------
        int
            The last batch of an epoch may be smaller.
        """
        steps = math.ceil(self.epochs * math.ceil(n_pairs / self.batch_size))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def about(self, tuning: str) -> dict[str, Any]:
        """Give what a result depends on.

        Parameters
        ----------
        tuning : {"lora", "full"}
            How models are trained.

        Returns
        -------
        dict
            The settings as JSON can hold them, for ``"full"`` without those of LoRA.
        """
        settings = asdict(self) | {"target_modules": list(self.target_modules)}
        return {k: v for k, v in settings.items() if tuning == "lora" or k not in _ADAPTER}

    def _check(self, name: str, expected: str, most: float = math.inf, **ends: bool) -> None:
        value = getattr(self, name)
        # YAML reads 1e-5 as text; only 1.0e-5 is a number.
        hint = ". Write it as 1.0e-5 in YAML" if isinstance(value, str) else ""
        kinds = int | float
        check_number(value, name, f"{expected}{hint}", least=0, most=most, kinds=kinds, **ends)


_PRESETS: Mapping[str, Callable[[], TrainingSettings]] = {"paper": TrainingSettings}


def as_settings(given: TrainingSettings | str | Mapping[str, Any] | None) -> TrainingSettings:
    """Take settings in any of their forms.

    Examples
    --------
    >>> as_settings("paper") == as_settings(None) == as_settings({"rank": 32})
    True
    """
    if given is None:
        return TrainingSettings()
    if isinstance(given, TrainingSettings):
        return given
    if isinstance(given, str):
        check_known(given, _PRESETS, f"training is {given!r}.")
        return _PRESETS[given]()
    if not isinstance(given, Mapping):
        raise ValueBiasError(
            f"training is {given!r}; expected the name of a preset, such as 'paper', or settings."
        )
    known = [field.name for field in fields(TrainingSettings)]
    for key in given:
        check_known(key, known, f"training has {key!r}.")
    return TrainingSettings(**given)


def _names(given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given or ())
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueBiasError(
            f"target_modules is {given!r}; expected names of matrices, such as ['q_proj']."
        )
    return names


def checkpoints(settings: TrainingSettings, n_steps: int) -> tuple[int, ...]:
    """Choose the steps of a run after which a model is scored, as settings say."""
    linear, log = settings.linear_checkpoints, settings.log_checkpoints
    return checkpoint_steps(n_steps, linear=linear, log=log)


def checkpoint_steps(n_steps: int, *, linear: int = 10, log: int = 10) -> tuple[int, ...]:
    """Choose the steps of a run after which the model is scored.

    Parameters
    ----------
    n_steps : int
        How many steps the run has.
    linear : int, default 10
        How many equal parts to cut the run into; 0 for none.
    log : int, default 10
        How many steps from the first to the last whose ratios are equal; 0 for none.

    Returns
    -------
    tuple of int
        Ascending and different. Step 0, before any training, and the last step are always there.
        Where steps are few, several coincide, and there are fewer than asked for.

    Raises
    ------
    ValueBiasError
        If a number is not whole or is negative, or there is no step.

    Notes
    -----
    Most change comes early in a run, where the second kind is dense; the first kind follows the
    rest. Christian et al. (2026), too, follow the lean over checkpoints.

    Examples
    --------
    >>> checkpoint_steps(100, linear=4, log=5)
    (0, 1, 3, 10, 25, 32, 50, 75, 100)
    >>> checkpoint_steps(2)
    (0, 1, 2)
    """
    check_whole(n_steps, "n_steps", least=1)
    check_whole(linear, "linear", least=0)
    check_whole(log, "log", least=0)
    even = np.linspace(0, n_steps, linear + 1) if linear else np.empty(0)
    ratios = np.geomspace(1, n_steps, log) if log else np.empty(0)
    steps = {0, n_steps, *(round(float(step)) for step in (*even, *ratios))}
    return tuple(sorted(steps))
