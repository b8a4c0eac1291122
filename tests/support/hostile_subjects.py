"""All that is damaged, whether other content is valid, and the same by plain xarray and zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from hostile_base import FEW, OWN, WEIGHTS, Subject, scores, stamp
from hostile_models import MODELS
from hostile_stores import STORES
from hostile_tables import TABLES

__all__ = ["PLAIN_SUBJECTS", "SUBJECTS", "differing"]

SUBJECTS: tuple[Subject, ...] = (*TABLES, *MODELS, *STORES)

# --- the same by plain xarray and zarr -----------------------------------------------------------


def _plain(suffix: str) -> Subject:
    name = f"scores{suffix}"

    def make(folder: Path) -> None:
        if suffix == ".zarr":
            scores().to_zarr(folder / name, zarr_format=2, consolidated=False)
        else:
            scores().to_netcdf(folder / name, engine="h5netcdf")

    def read(folder: Path) -> str:
        options: dict[str, Any] = {"engine": "h5netcdf"}
        if suffix == ".zarr":
            options = {"engine": "zarr", "consolidated": False}
        with xr.open_dataset(folder / name, **options) as ds:
            return stamp(ds.load(), dict(ds.attrs))

    return Subject(f"plain xarray, {suffix}", make, read, bits=FEW if suffix == ".nc" else 1.0)


PLAIN_SUBJECTS = (_plain(".zarr"), _plain(".nc"))
"""What a reader is to compare with."""


# --- whether other content is valid content -------------------------------------------------------


def differing(subject: Subject, before: Path, after: Path) -> str:
    """Say how a damaged file differs that was read as valid; empty where it should not have been.

    Of weights, tensors must have kept their names, shapes and types, as the formats' own libraries
    read them; then only values differ, which nothing but a checksum could tell.
    """
    if not after.exists() and (subject.may_go or subject.excuse == OWN):
        return "gone"
    if not subject.excuse or not after.is_file():
        return ""
    if subject.excuse == WEIGHTS and after.suffix in (".safetensors", ".gguf"):
        layout = _of_safetensors if after.suffix == ".safetensors" else _of_gguf
        return "values" if layout(before) == layout(after) else ""
    return "content"


def _of_safetensors(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {
            key: (file.get_slice(key).get_shape(), file.get_slice(key).get_dtype())
            for key in file.keys()  # noqa: SIM118 - it is no mapping
        }


def _of_gguf(path: Path) -> Any:
    from gguf import GGUFReader

    return {t.name: (t.shape.tolist(), t.tensor_type) for t in GGUFReader(path).tensors}
