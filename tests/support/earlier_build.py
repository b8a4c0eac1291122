"""An earlier commit of the package, to measure the present one beside it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

__all__ = ["environment_of", "run_worker", "unpack"]

ROOT = Path(__file__).parents[2]


def unpack(folder: Path, commit: str) -> bool:
    """Make a commit an importable package in the folder "earlier"; False where there is none."""
    command = ["git", "-C", str(ROOT), "archive", commit, "valuebias", "analysis", "backends"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder / "earlier", filter="data")
    for part in ("analysis", "backends"):
        (folder / "earlier" / part).rename(folder / "earlier" / "valuebias" / part)
    return True


def environment_of(build: Path | None) -> dict[str, str]:
    """Give the variables under which Python finds a build (None: that at hand) and this folder."""
    path = [str(build or ""), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def run_worker(code: str, asked: object, build: Path | None) -> Any:
    """Run code under a build in a process of its own; give what its last line says as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of(build),
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
