"""A place on disk for one process: held, let go, and where the disk knows no locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from valuebias import ValueBiasError, ValueBiasWarning
from valuebias._core.locks import only_one

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import sys
from pathlib import Path
from valuebias._core.locks import only_one
with only_one(Path(sys.argv[1]), noun="the place", instead="another"):
    print("held", flush=True)
    sys.stdin.read()
"""


def held(file: Path) -> None:
    with only_one(file, noun="'place'", instead="another one"):
        pass


def test_it_is_refused_while_another_process_has_it_and_free_when_that_is_killed(
    tmp_path: Path,
) -> None:
    file = tmp_path / "place" / ".zgroup"
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueBiasError, match="Another process is writing to 'place'"):
            held(file)
        process.kill()
    held(file)


def test_who_can_wait_gets_it_once_it_is_free(tmp_path: Path) -> None:
    file, other = tmp_path / ".lock", threading.Event()

    def hold() -> None:
        with only_one(file, noun="'place'", instead="another one"):
            other.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert other.wait(10)
    with pytest.raises(ValueBiasError, match="Another process is writing to 'place'"):
        held(file)
    with only_one(file, noun="'place'", instead="another one", wait=10.0):
        pass
    thread.join()


def test_what_is_in_the_file_is_left(tmp_path: Path) -> None:
    file = tmp_path / ".zgroup"
    file.write_text("{}")
    held(file)
    assert file.read_text() == "{}"


@pytest.mark.parametrize(
    "number",
    [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.EIO,
     errno.ESTALE],
)  # fmt: skip
def test_where_nothing_can_be_locked_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # As network file systems answer, of which none is at hand.
    def flock(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(ValueBiasWarning, match=r"'place' cannot be locked \(.*local disk"):
        held(tmp_path / "x")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK])
def test_whatever_says_that_it_is_held_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueBiasError, match="Another process is writing"):
        held(tmp_path / "x")


def test_the_descriptor_may_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # NFS makes a lock of this kind one on bytes, which it gives to writers only.
    modes: list[int] = []

    def flock(handle: int, operation: int) -> None:
        modes.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(fcntl, "flock", flock)
    held(tmp_path / "x")
    assert modes == [os.O_RDWR]


def test_a_place_that_is_replaced_meanwhile_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x"
    file.touch()
    real: Any = fcntl.flock
    seen: list[int] = []

    def flock(handle: int, operation: int) -> None:
        seen.append(handle)
        if len(seen) == 1:
            file.unlink()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    held(file)
    assert len(seen) == 2
    assert file.exists()
