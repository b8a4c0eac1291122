"""At which steps of training a checkpoint is scored."""

from __future__ import annotations

import numpy as np

from valuebias.preference_data.splits import check_whole

__all__ = ["checkpoint_steps"]


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
