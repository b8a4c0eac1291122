"""How reward models are trained: ``valuebias.ablation.TrainingSettings`` and its presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.preference_data.splits import check_whole

__all__ = ["TrainingSettings", "as_settings"]

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
        self._check("dropout", "a share, 0 or more and below 1", 0, 1, below=True)
        self._check("warmup", "a share, 0 to 1", 0, 1)
        self._check("learning_rate", "a number above 0, at most 1", 0, 1, above=True)
        self._check("epochs", "a number above 0", 0, math.inf, above=True, below=True)
        self._check("weight_decay", "a number, 0 or more", 0, math.inf, below=True)
        self._check("center_rewards_coefficient", "a number, 0 or more", 0, math.inf, below=True)
        if self.schedule not in _SCHEDULES:
            raise ValueBiasError(
                f"schedule is {self.schedule!r}. {did_you_mean(str(self.schedule), _SCHEDULES)}"
            )
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

    def _check(
        self,
        name: str,
        expected: str,
        least: float,
        most: float,
        *,
        above: bool = False,
        below: bool = False,
    ) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if (
            not number
            or not least <= value <= most
            or (above and value == least)
            or (below and value == most)
        ):
            # YAML reads 1e-5 as text; only 1.0e-5 is a number.
            hint = " Write it as 1.0e-5 in YAML." if isinstance(value, str) else ""
            raise ValueBiasError(f"{name} is {value!r}; expected {expected}.{hint}")


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
        if given not in _PRESETS:
            raise ValueBiasError(f"training is {given!r}. {did_you_mean(given, _PRESETS)}")
        return _PRESETS[given]()
    if not isinstance(given, Mapping):
        raise ValueBiasError(
            f"training is {given!r}; expected the name of a preset, such as 'paper', or settings."
        )
    known = [field.name for field in fields(TrainingSettings)]
    for key in given:
        if key not in known:
            raise ValueBiasError(f"training has {key!r}. {did_you_mean(str(key), known)}")
    return TrainingSettings(**given)


def _names(given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given or ())
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueBiasError(
            f"target_modules is {given!r}; expected names of matrices, such as ['q_proj']."
        )
    return names
