"""Work on disks that are full, nearly full or not to be written to."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostile_children import Result, alone
from hostile_jobs import Job

__all__ = ["STATES", "can_mount", "on_disk"]

STATES = {"full": 0, "8 KiB left": 8192, "48 KiB left": 49152, "read-only": None}
"""How many bytes are left."""
_SIZE = "96m"


def can_mount(place: Path) -> bool:
    """Tell whether file systems can be mounted here, which takes rights that few have."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError), _mounted(place / "try"):
        return True
    return False


def on_disk(state: str, job: Job, template: Path, place: Path) -> tuple[Result, str]:
    """Work on such a disk; give what became of it, and what lies there once there is room again.

    The latter is a hash, or what kept it from being read.
    """
    left = STATES[state]
    with _mounted(place) as disk:
        folder = Path(shutil.copytree(template, disk / "x"))
        ballast = disk / "ballast"
        if left is None:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        else:
            _fill(ballast, left)
        made = alone(lambda: str(job.act(folder) and ""))
        if left is None:
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        else:
            ballast.unlink()

        def look() -> str:
            if job.again:
                job.act(folder)
            return job.read(folder)

        found = alone(look)
    return made, found.said if found.what == "done" else f"{found.what}: {found.said}"


@contextmanager
def _mounted(place: Path) -> Iterator[Path]:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(place)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _fill(ballast: Path, leave: int) -> None:
    free = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - leave))
