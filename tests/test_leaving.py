"""Nothing leaves the machine unasked: no call to others, no path, name or token in what is written.

Each act of the whole way runs once, in a process of its own, on a machine that reaches nobody and
whose every name is marked.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import every_byte
import h5py
import lone_network
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias._core.telemetry import SWITCHES

SUPPORT = Path(__file__).parent / "support"
MARK = "q7canary"
"""Stands in every name of the machine, and nowhere else."""
TOKENS = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "GITHUB_TOKEN"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY", "COMET_API_KEY"),
)
# What would change whom a library calls, or keep it silent for another reason than ours.
DROPPED = re.compile(r"(?i).*_proxy|HF_.*|TRANSFORMERS_OFFLINE|DO_NOT_TRACK|CI|VALUEBIAS_DATA")

QUICK = ("readers", "scoring")
LONG = (
    *("analysis", "torch", "onnx", "optimum", "rewards", "ablations", "tuning"),
    *("laboratory", "commands", "paper"),
)
NEEDS = {
    **dict.fromkeys(("scoring", "torch", "rewards", "laboratory"), ("torch", "transformers")),
    **dict.fromkeys(("ablations", "commands", "tuning"), ("torch", "trl", "peft", "datasets")),
    "rewards": ("torch", "trl", "datasets"),
    "onnx": ("torch", "onnxruntime", "onnxscript"),
    "optimum": ("torch", "optimum.onnxruntime"),
}
# The one command that fetches what it needs, and from where.
ALLOWED = {"paper": ("raw.githubusercontent.com",)}
acts = pytest.mark.parametrize(
    "act", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]
)


@dataclass(frozen=True)
class Run:
    """What an act did: to whom it would have spoken, what it asked of sockets, where it wrote."""

    told: list[str] | None
    asked: list[str]
    home: Path
    out: Path


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    made: dict[str, Run] = {}

    def go(act: str) -> Run:
        for module in NEEDS.get(act, ()):
            pytest.importorskip(module)
        if act not in made:
            made[act] = run(act, tmp_path_factory.mktemp(act))
        return made[act]

    return go


def run(act: str, folder: Path) -> Run:
    home = folder / f"home-{MARK}" / f"user-{MARK}"
    work, out = home / f"models-{MARK}", home / "out"
    (home / "tmp").mkdir(parents=True)
    command = [sys.executable, str(SUPPORT / "whole_way.py"), act, str(work), str(out)]
    done, told = lone_network.recorded(
        command, folder=home, environment=environment(home), host=f"host-{MARK}"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Run(told, json.loads(done.stdout.splitlines()[-1]), home, out)


def environment(home: Path) -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if not DROPPED.fullmatch(key)}
    for switch in SWITCHES:
        kept.pop(switch, None)
    cache = Path(os.environ.get("MPLCONFIGDIR") or Path.home() / ".cache" / "matplotlib")
    return kept | {
        **{name: f"hf_{MARK}{name}" for name in TOKENS},
        **dict.fromkeys(("USER", "LOGNAME", "USERNAME"), f"user-{MARK}"),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "HOSTNAME": f"host-{MARK}",
        # Looking through all fonts again would take half of the time.
        "MPLCONFIGDIR": str(cache),
        "PYTHONPATH": os.pathsep.join(filter(None, [kept.get("PYTHONPATH"), str(SUPPORT)])),
        "OMP_NUM_THREADS": "1",
    }


@acts
def test_nobody_is_called(act: str, went: Callable[[str], Run]) -> None:
    run = went(act)
    allowed = ALLOWED.get(act, ())
    assert [host for host in run.asked if not any(name in host for name in allowed)] == []
    if run.told is None:
        pytest.skip(f"what native code sends cannot be seen: {lone_network.missing()}")
    assert [host for host in run.told if not any(name in host for name in allowed)] == []


@acts
def test_what_is_written_names_neither_machine_nor_user(
    act: str, went: Callable[[str], Run]
) -> None:
    run = went(act)
    assert any(run.out.rglob("*"))
    installed = [str(Path(valuebias.__file__).parent), str(SUPPORT.parent), sys.prefix]
    assert every_byte.found_in(run.out, [MARK, *installed]) == []


@acts
def test_no_number_is_given_to_the_device(act: str, went: Callable[[str], Run]) -> None:
    names = [str(path.relative_to(went(act).home)) for path in went(act).home.rglob("*")]
    assert [name for name in names if re.search(r"(?i)microsoft|device.?id|telemetry", name)] == []


def _zip(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x", text * 9)


def _hdf5(path: Path, text: str) -> None:
    with h5py.File(path, "w") as opened:
        opened.attrs["x"] = np.array(text, dtype=h5py.string_dtype())


KINDS: dict[str, Callable[[Path, str], object]] = {
    "nc": lambda path, text: xr.Dataset({"a": ("x", [text] * 50)}).to_netcdf(
        path, engine="h5netcdf", encoding={"a": {"zlib": True, "complevel": 9}}
    ),
    "h5": _hdf5,
    "zarr": lambda path, text: xr.Dataset({"a": ("x", np.array([text] * 50, object))}).to_zarr(
        path, consolidated=False
    ),
    "parquet": lambda path, text: pd.DataFrame({"a": [text] * 50}).to_parquet(
        path, compression="zstd"
    ),
    "npz": _zip,
    "gz": lambda path, text: path.write_bytes(gzip.compress(text.encode() * 9)),
    "html": lambda path, text: path.write_bytes(
        b'<img src="data:x;base64,' + base64.b64encode(text.encode()) + b'">'
    ),
    "pickle": lambda path, text: path.write_bytes(pickle.dumps({"x": np.array([text])})),
    "txt": lambda path, text: path.write_text(text, encoding="utf-16"),
    f"{MARK}.txt": lambda path, _: path.touch(),
}
"""How each kind of file is written with a text in it, packed as tightly as may be."""


class TestTheTestsThemselves:
    """Both would pass if they saw nothing."""

    CALLS = (
        # Python's own socket, and the C library's, of which Python is not told.
        "import socket; socket.socket().connect_ex(('192.0.2.1', 443))",
        "import ctypes, socket, struct; ours = socket.socket()\n"
        "there = struct.pack('=H', 2) + struct.pack('!H4s8x', 443, bytes([192, 0, 2, 1]))\n"
        "ctypes.CDLL(None).connect(ours.fileno(), there, 16)",
    )

    @pytest.mark.skipif(lone_network.missing() is not None, reason=str(lone_network.missing()))
    @pytest.mark.parametrize("code", CALLS)
    def test_a_call_is_seen(self, code: str, tmp_path: Path) -> None:
        command = [sys.executable, "-c", code]
        _, told = lone_network.recorded(command, folder=tmp_path, environment=dict(os.environ))
        assert told == ["tcp 192.0.2.1:443"]

    @pytest.mark.skipif(lone_network.missing() is not None, reason=str(lone_network.missing()))
    def test_a_name_that_is_looked_up_is_seen(self, tmp_path: Path) -> None:
        code = "import socket; socket.getaddrinfo('nobody.example', 80)"
        command = [sys.executable, "-c", code]
        _, told = lone_network.recorded(command, folder=tmp_path, environment=dict(os.environ))
        if not told:
            pytest.skip("this machine looks names up nowhere")
        assert all("nobody.example" in host for host in told)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_name_is_found_in_every_kind_of_file(self, kind: str, tmp_path: Path) -> None:
        KINDS[kind](tmp_path / f"a.{kind}", f"/home/{MARK}/x")
        assert every_byte.found_in(tmp_path, [MARK])
