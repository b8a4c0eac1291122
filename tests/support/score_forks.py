"""Score in forked processes, one for each line on standard input; print its id, then its status.

A fork of a process that has everything imported starts to work at once, so that a kill some time
later hits the work and not the imports.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

from valuebias.scoring import request
from valuebias.scoring.run import score

for name in ("torch", "transformers", "xarray", "zarr", "valuebias.backends.torch_backend"):
    importlib.import_module(name)

request._PAIRS = 200  # small blocks, so that there are many


def work(asked: dict[str, object]) -> int:
    """Score; return 0 if that goes well."""
    try:
        score(progress=False, **asked)  # type: ignore[call-overload]
    except BaseException:  # noqa: BLE001 - a child must not go on with the parent's loop
        traceback.print_exc()
        return 1
    return 0


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os._exit(work(json.loads(line)))
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()
    _, status = os.waitpid(pid, 0)
    sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()
