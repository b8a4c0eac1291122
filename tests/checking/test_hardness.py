"""A small part of the benchmark of damaged files, kills and full disks; `make slow` has more.

It runs in a process of its own: cases are forked, and this process has threads.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

LACKING = tiny_models.missing()
pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="not Linux"),
]
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "hardness.py"


def hardness(*options: object, seconds: float) -> dict[str, int]:
    """Run it; give how many cases there were of each title, all of which must be good."""
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "What should not be" not in done.stdout
    found = re.findall(r"## (.*?)\n.*?\*\*all of valuebias\*\* \| ([\d,]+)", done.stdout, re.DOTALL)
    return {title: int(count.replace(",", "")) for title, count in found}


def test_what_is_damaged_killed_or_turned_is_never_something_else() -> None:
    # Every kind of file but ONNX exports, which take long to make; of work, what writes scores.
    work = ("fit by", "Fit", "report", "score ", "add", "ablate", "inject", "reproduce")
    rows = f"^(?!model: ONNX|{'|'.join(work)})"
    found = hardness("--parts", "mutations", "flips", "kills", "--only", rows, "--n", 75,
                     "--flips", 2, "--kills", 4, "--seed", 2, seconds=900)  # fmt: skip
    assert found["Damaged files"] >= 75
    assert found["Single bits"] >= 80
    assert found["Killed processes"] >= 30


@pytest.mark.slow
def test_many_damaged_files() -> None:
    found = hardness("--parts", "mutations", "--n", 2500, "--seed", 3, seconds=3000)
    assert found["Damaged files"] >= 2400


@pytest.mark.slow
def test_each_file_lost() -> None:
    found = hardness("--parts", "losses", seconds=3000)
    assert found["Files that are gone, empty or a folder"] >= 4000


@pytest.mark.slow
def test_many_bits() -> None:
    found = hardness("--parts", "flips", "--flips", 150, seconds=3000)
    assert found["Single bits"] >= 2000


@pytest.mark.slow
def test_many_kills() -> None:
    found = hardness("--parts", "kills", "--kills", 30, seconds=3000)
    assert found["Killed processes"] >= 200


@pytest.mark.slow
def test_disks() -> None:
    found = hardness("--parts", "disks", seconds=3000)
    if not found:
        pytest.skip("no file system can be mounted here")
    assert found["Full, nearly full and read-only disks"] >= 50
