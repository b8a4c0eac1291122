"""lme4's standard deviations as the package's variances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from valuebias.analysis.design.components import Components

Array = np.ndarray


def covariances_of(sds: list[dict[str, Any]]) -> dict[str, Array]:
    """lme4's covariances by grouping factor, over as many framings as it keeps apart."""
    frame = pd.DataFrame(sds)
    n = int(frame["var2"].isna().groupby(frame["grp"]).sum().max())
    out = {}
    for group, rows in frame.groupby("grp"):
        sd = rows[rows["var2"].isna()]["sdcor"].to_numpy(dtype=float)
        sd = np.repeat(sd, n) if len(sd) == 1 else sd
        correlation = np.eye(n)
        # Of an effect whose SD is zero lme4 gives no correlation.
        r = rows["sdcor"][rows["var2"].notna()].fillna(0.0)
        if len(r):
            correlation[0, 1] = correlation[1, 0] = r.iloc[0]
        out[str(group)] = sd[:, None] * correlation * sd
    return out


def in_v(components: Components, covariances: dict[str, Array]) -> Array:
    """Put covariances over framings into the vector of variance parameters."""
    v = np.zeros(components.n_variances)
    n = components.n_framings
    for name, covariance in covariances.items():
        index = components[name].index[0]
        v[list(index[:n])] = np.diag(covariance)
        if len(index) > n:
            v[index[n]] = covariance[0, 1]
    return v
