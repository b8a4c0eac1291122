#!/usr/bin/env bash
# psislw smooths importance weights (Vehtari et al. 2024). In ArviZ 0.23.4, arviz.psislw takes LOG WEIGHTS. In
# arviz-stats 0.8.0, the array function of the same name takes LOG-LIKELIHOODS: it turns the sign of what it is
# given, so that code ported by name alone gives the largest weight to the draw that should have the least, and
# reports the Pareto k of the other tail. Neither warns.
# Seen: for log ratios x that rise from draw to draw, the last draw has the largest weight by arviz.psislw and the
# smallest by arviz_stats; only arviz_stats given -x agrees (to a hundredth), and Pareto's k is .246, .310 and .246.
# Needs Python 3.11 or newer and pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    'arviz==0.23.4' 'arviz-stats[xarray]==0.8.0' 'numpy==2.4.6' 'matplotlib<3.11'
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import importlib.metadata as metadata

import arviz
import numpy as np
from arviz_stats.base import array_stats

x = np.sort(np.random.default_rng(1).normal(size=2000))


def normalised(log_weights):
    log_weights = np.asarray(log_weights, dtype=float)
    return log_weights - np.logaddexp.reduce(log_weights)


old, old_k = arviz.psislw(x)
same, same_k = array_stats.psislw(x)
turned, turned_k = array_stats.psislw(-x)
old, same, turned = normalised(old), normalised(same), normalised(turned)
versions = {name: metadata.version(name) for name in ("arviz", "arviz-stats")}
print(versions)
print("largest weight at draw:", old.argmax(), same.argmax(), turned.argmax(), "of", len(x))
print("Pareto k:", round(float(old_k), 4), round(float(same_k), 4), round(float(turned_k), 4))
assert old.argmax() == len(x) - 1
assert same.argmax() == 0
print("largest difference of log weights, the sign turned:", np.abs(old - turned).max().round(4))
assert np.abs(old - turned).max() < 0.01
assert abs(float(old_k) - float(turned_k)) < 0.001
assert abs(float(old_k) - float(same_k)) > 0.05
print("as described: the two take log weights of opposite signs")
PYTHON
