"""A kind of file that is damaged: how a valid one is made and read; what was read, as a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.simulate import simulate

__all__ = [
    "ANEW",
    "EARLIER",
    "EASY",
    "FEW",
    "OWN",
    "QUICK",
    "WEIGHTS",
    "Subject",
    "scores",
    "stamp",
]

OWN = "no checksum: its content is the user's"
WEIGHTS = "no checksum: weights or settings of a valid model"
EARLIER = "no checksum: earlier versions wrote none"
ANEW = "the checksums of the damaged file were made anew"
EASY, FEW = 8.0, 1 / 200
"""Bits to turn round, beside others: where reading takes a millisecond, or a tenth of a second."""
QUICK: dict[str, Any] = {"draws": 20, "tune": 40, "chains": 2, "seed": 1, "progress": False}


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of file: how a valid one is made in a folder, what is damaged, and how it is read.

    `excuse` says why other content may be read for what it is; empty where that is a fault. Where
    the file `may_go`, there is nothing to be read then, and that is right. `after` is done to the
    folder once a file is damaged, as a foe would who makes checksums anew. `bits` says how many are
    turned round, beside those of others.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], str]
    damaged: tuple[str, ...] = ("**/*",)
    excuse: str = ""
    weight: float = 1.0
    may_go: bool = False
    after: Callable[[Path], Any] | None = None
    bits: float = 1.0

    def files(self, folder: Path) -> list[Path]:
        """List what may be damaged."""
        found = {path for pattern in self.damaged for path in folder.glob(pattern)}
        return sorted(path for path in found if path.is_file())


# --- what was read, as a hash ----------------------------------------------------------------


def stamp(*parts: Any) -> str:
    """Hash numbers and names, so that two readings can be compared."""
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()


def _add(digest: Any, part: Any) -> None:
    if isinstance(part, xr.DataTree):
        for node in sorted(part.subtree, key=lambda node: node.path):
            digest.update(node.path.encode(errors="surrogatepass"))
            _add(digest, node.to_dataset(inherit=False))
    elif isinstance(part, xr.Dataset):
        for name in sorted(map(str, part.variables)):
            digest.update(f"{name} {part[name].dims}".encode(errors="surrogatepass"))
            _add(digest, part[name].to_numpy())
    elif isinstance(part, pd.DataFrame):
        for name in part.columns:
            digest.update(str(name).encode(errors="surrogatepass"))
            _add(digest, part[name].to_numpy())
        _add(digest, part.index.to_numpy())
    elif isinstance(part, np.ndarray):
        values = part if part.dtype.kind in "biuf" else np.array([str(v) for v in part.ravel()])
        digest.update(f"{values.shape} {values.dtype.kind}".encode())
        digest.update(values.tobytes())
    else:
        digest.update(repr(part).encode(errors="surrogatepass"))


def scores(seed: int = 1) -> xr.Dataset:
    """Simulate scores of four models."""
    return simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=12, seed=seed)
