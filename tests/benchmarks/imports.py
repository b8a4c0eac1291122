"""How long importing valuebias and asking it for help take, beside an empty interpreter.

Each figure is the fastest of several fresh processes, so that a busy machine disturbs little. The
run fails where a bound is passed: 0.3 s for the import, 0.6 s for ``valuebias --help``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPEATS = 7


@dataclass(frozen=True)
class Case:
    """One process to time, and the bound it must keep."""

    name: str
    arguments: tuple[str, ...]
    bound_s: float | None = None


CASES = (
    Case("python, empty", (sys.executable, "-c", "pass")),
    Case("import valuebias", (sys.executable, "-c", "import valuebias"), 0.3),
    Case("valuebias --help", (str(Path(sys.executable).with_name("valuebias")), "--help"), 0.6),
    Case("import numpy", (sys.executable, "-c", "import numpy")),
    Case("import pandas", (sys.executable, "-c", "import pandas")),
)


def seconds(case: Case, folder: str) -> float:
    """Wall time of the fastest of several runs, after one that fills the caches."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(case.arguments, cwd=folder, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> int:
    """Time every case, print a table, and say which bounds were passed."""
    with tempfile.TemporaryDirectory() as folder:
        measured = {case.name: seconds(case, folder) for case in CASES}
    empty = measured["python, empty"]
    print("| process | seconds | × an empty interpreter | bound |\n|---|---|---|---|")
    for case in CASES:
        taken = measured[case.name]
        bound = f"≤ {case.bound_s} s" if case.bound_s else ""
        print(f"| {case.name} | {taken:.3f} | {taken / empty:.1f} | {bound} |")
    late = [case.name for case in CASES if case.bound_s and measured[case.name] > case.bound_s]
    if late:
        print(f"too slow: {', '.join(late)}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
