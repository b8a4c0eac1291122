#!/usr/bin/env bash
# Workers of a Dask cluster in processes of their own are started with MALLOC_TRIM_THRESHOLD_=65536, which
# distributed 2026.8.0 sets so that they look small. To glibc that says a second thing: once the variable is set, it
# no longer learns how large the blocks are that a program takes and frees, so that every array of more than 128 KB
# comes from the system and goes back to it. Work that takes and frees such arrays again and again, as each layer of
# a neural network does, then meets every page anew, and half of its time may go there. glibc's mallopt can put that
# off for a part of the work; the variable itself is read only when a process starts.
# Seen: 2,000 times an array of 1 MB that is filled and freed: half a million page faults in a worker's process, a
# few thousand at most in a worker that is a thread of this process. Linux with glibc. Needs Python 3.11 or newer and
# pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'dask==2026.8.0' 'distributed==2026.8.0' 'numpy==2.4.6'
cat >"$folder/faults.py" <<'PYTHON'
import os
import resource

import distributed
import numpy as np


def faults() -> int:
    """Fill and free an array again and again; count the pages met for the first time."""
    for _ in range(100):  # what a process meets once in any case
        np.ones(131_072)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2_000):
        np.ones(131_072)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def variable() -> str | None:
    """Say what the process was started with."""
    return os.environ.get("MALLOC_TRIM_THRESHOLD_")


if __name__ == "__main__":
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    found = {}
    for processes in (False, True):
        with distributed.LocalCluster(processes=processes, **options) as cluster:
            with distributed.Client(cluster) as client:
                found[processes] = client.submit(faults, pure=False).result(timeout=120)
                started = client.submit(variable, pure=False).result(timeout=120)
    print("distributed", distributed.__version__, "MALLOC_TRIM_THRESHOLD_ of the worker:", started)
    print("page faults as a thread:", found[False], "as a process:", found[True])
    assert started == "65536"
    assert found[True] > 400_000 > 20 * found[False]
PYTHON
cd "$folder"
env -u MALLOC_TRIM_THRESHOLD_ venv/bin/python faults.py
echo "as described: a worker's process gives freed memory back at once, and meets its pages anew"
