#!/usr/bin/env bash
# Where a chain stands still, one draw comes again and again, and with it the largest importance weight. In ArviZ
# 0.23.4, arviz.psislw then gives the weights back with an infinite Pareto k: not to be trusted. In arviz-stats
# 1.3.0, the array function of the same name raises ValueError("All tail values are the same") instead, so that one
# such observation ends a whole loop over observations, prior scales or models that used to end with a warning.
# Seen: 40 log ratios, of which the ten largest are equal: k is inf by the first, an exception by the second.
# Needs Python 3.12 or newer and pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for name in old new; do python3 -m venv "$folder/$name"; done
"$folder/old/bin/pip" install --quiet --disable-pip-version-check 'arviz==0.23.4' 'numpy==2.4.6' 'matplotlib<3.11'
"$folder/new/bin/pip" install --quiet --disable-pip-version-check 'arviz-stats[xarray]==1.3.0' 'numpy==2.4.6'
cat >"$folder/draws.py" <<'PYTHON'
import numpy as np

ratios = np.random.default_rng(0).normal(size=40)
ratios[np.argsort(ratios)[-10:]] = ratios.max()
PYTHON
cd "$folder"
old/bin/python -W ignore - <<'PYTHON'
import sys

sys.path.insert(0, ".")
import arviz
import numpy as np
from draws import ratios

k = float(arviz.psislw(ratios)[1])
print("arviz", arviz.__version__, "k:", k)
assert np.isinf(k)
PYTHON
new/bin/python -W ignore - <<'PYTHON'
import importlib.metadata as metadata
import sys

sys.path.insert(0, ".")
from arviz_stats.base import array_stats
from draws import ratios

print("arviz-stats", metadata.version("arviz-stats"))
try:
    array_stats.psislw(-ratios)
except ValueError as error:
    print("raises ValueError:", error)
    assert "All tail values are the same" in str(error)
else:
    raise AssertionError("it gave an answer")
PYTHON
echo "as described: equal weights in the tail are an infinite k before, an exception now"
