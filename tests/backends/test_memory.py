"""Memory that is freed, and to whom it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Prints how many pages the system gave for a hundred arrays, one after the other.
FAULTS = """
import ctypes, json, resource
import numpy as np
from valuebias.backends import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(2**17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
found = [faults()]
with memory.keep_freed():
    found.append(faults())
found.append(faults())
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is measured")
@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, True),
        # Both were chosen: that is respected.
        ({"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "131072"}, False),
    ],
)
def test_freed_memory_is_used_again(told: dict[str, str], kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", FAULTS],
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=True,
    )
    before, inside, after = json.loads(done.stdout)
    if before < 10_000:
        pytest.skip("this malloc is not told by MALLOC_TRIM_THRESHOLD_")
    assert after > 10_000
    assert (inside < 2_000) is kept
