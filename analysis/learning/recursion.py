"""The recursion of Q-learning with complete feedback: one compiled log-likelihood and gradient.

All rules are one: two learning rates, of which a rule uses either or a mixture, and outcomes
between an absolute and a relative value. What a rule lacks is held fixed.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["N_PARAMETERS", "SPLITS", "recursion"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

N_PARAMETERS = 4  # first and second learning rate, inverse temperature, weight of relative values
SPLITS = ("none", "confirmation", "sign")
"""When the first of two rates holds: always, where the choice is confirmed, or for good news."""


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def recursion(  # type: ignore[no-untyped-def]
    theta, split, initial, owner, start, option, told, outcome, chose, value, gradient, chance
):  # fmt: skip
    """Fill in each sequence's log-likelihood, its gradient, and each trial's probability.

    ``theta`` (model, 4); ``owner`` (sequence,), whose each is; ``start`` (sequence + 1,), where its
    trials begin; ``option`` (trial, 2), numbers within the sequence; ``told`` (trial,), whether
    outcomes follow; ``outcome`` (trial, 2, 2), of each option the absolute and the relative value;
    ``chose`` (trial,), the probability of the first option, NaN where nothing was chosen.
    ``gradient`` is (sequence, 4).
    """
    n_options = option.max() + 1
    for s in range(len(owner)):
        rate_1, rate_2, steep, weight = theta[owner[s]]
        q = np.full(n_options, initial)
        dq = np.zeros((n_options, 3))
        value[s] = 0.0
        gradient[s] = 0.0
        for t in range(start[s], start[s + 1]):
            a, b = option[t]
            gap = q[a] - q[b]
            z = steep * gap
            # log p of the first and of the second option, without overflow.
            if z >= 0:
                small = math.exp(-z)
                first = -math.log1p(small)
                second = first - z
                p = 1.0 / (1.0 + small)
            else:
                small = math.exp(z)
                second = -math.log1p(small)
                first = second + z
                p = small / (1.0 + small)
            chance[t] = p
            y = chose[t]
            known = y == y
            if known:
                value[s] += y * first + (1.0 - y) * second
                slope = y - p
                gradient[s, 2] += slope * gap
                for k in range(3):
                    at = k if k < 2 else 3
                    gradient[s, at] += slope * steep * (dq[a, k] - dq[b, k])
            if not told[t]:
                continue
            for i in range(2):
                o = option[t, i]
                absolute, relative = outcome[t, i]
                error = (1.0 - weight) * absolute + weight * relative - q[o]
                share = 1.0
                if split == 1:
                    # Expected choices update by the expectation of the rate.
                    chosen = 0.5
                    if known:
                        chosen = y if i == 0 else 1.0 - y
                    share = chosen if error > 0 else 1.0 - chosen
                elif split == 2:
                    share = 1.0 if error > 0 else 0.0
                rate = share * rate_1 + (1.0 - share) * rate_2
                dq[o, 0] = dq[o, 0] * (1.0 - rate) + share * error
                dq[o, 1] = dq[o, 1] * (1.0 - rate) + (1.0 - share) * error
                dq[o, 2] = dq[o, 2] * (1.0 - rate) + rate * (relative - absolute)
                q[o] += rate * error
