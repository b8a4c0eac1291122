"""Run a backend in a process that may take little more memory than it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["too_large_a_pack"]

CODE = """
import resource, sys
import numpy as np
from pathlib import Path
from valuebias.backends import OutOfMemory, Pack, Source, get_backend

backend, folder, file = sys.argv[1:]
source = Source(name="t", folder=Path(folder), file=file or None, kind="reward")
loaded = get_backend(backend).load(source)
small = Pack(np.arange(9), np.arange(9), np.full(9, 9), np.array([8]))
before = loaded.forward(small)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
n = 2**19
try:
    loaded.forward(Pack(np.zeros(n, int), np.zeros(n, int), np.arange(n) + 1, np.arange(n)))
except OutOfMemory as error:
    print(error)
assert (loaded.forward(small) == before).all()
"""


def too_large_a_pack(backend: str, folder: Path, file: str = "") -> str:
    """Score a pack of 2¹⁹ tokens, then a small one as before; give what was said in between."""
    command = [sys.executable, "-c", CODE, backend, str(folder), file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
