"""Save a fit and read it back: one netCDF file or Zarr folder."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xarray as xr

from valuebias._core.atomic import atomic_path, restore
from valuebias._core.clusters import by_ourselves
from valuebias._core.folder_names import check_plain
from valuebias._core.foreign import reading
from valuebias._core.opening.formats import check_format
from valuebias._core.opening.hdf5_bytes import check_bytes
from valuebias._core.opening.hdf5_files import check_hdf5
from valuebias._core.opening.replaced import read_steadily
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias._core.sums import file_bytes
from valuebias.analysis.design.priors import as_prior
from valuebias.analysis.notes import as_notes
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.io.files import check_replaceable, escape_texts, unescape_texts
from valuebias.posterior.saved_estimands import ESTIMANDS
from valuebias.posterior.saved_settings import SETTINGS_OF_FITS, parse_settings
from valuebias.schema import validate

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = ["ABLATION", "FORMAT", "fit_groups", "load_saved", "make_posterior", "write_groups"]

FORMAT = "valuebias-fit/1"
ABLATION = "valuebias-ablation/1"
_SUFFIXES = (".nc", ".zarr")
_HASHED = ("format", "spec", "prior", "provenance")


def write_groups(
    groups: Mapping[str, xr.Dataset], attrs: Mapping[str, str], path: str | PathLike[str]
) -> Path:
    """Write groups and attributes to ``path`` (``.nc`` or ``.zarr``), whole or not at all."""
    target = _checked(path)
    check_replaceable(target)
    for name, group in groups.items():
        check_plain([*group.variables, *group.dims], f"The group {name!r}")
    tree = xr.DataTree.from_dict({name: escape_texts(group) for name, group in groups.items()})
    tree.attrs = dict(attrs)
    tree.attrs["sha256"] = _digest(tree)
    if target.suffix == ".nc":
        # Into memory first: if the disk is full, the HDF5 library ends the whole process.
        content = io.BytesIO()
        with by_ourselves():
            tree.to_netcdf(content, engine="h5netcdf", encoding=_compression(tree))
        with atomic_path(target) as part, part.open("wb") as file:
            file.writelines(file_bytes(content.getbuffer()))
        return target
    from valuebias._core.summed_zarr import SummedFolder

    with atomic_path(target) as part:
        store = SummedFolder(part)
        tree.to_zarr(store, zarr_format=2, consolidated=True)
        store.seal()
    return target


def fit_groups(fit: Posterior) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """Split a fit into groups and attributes, which :func:`make_posterior` joins."""
    groups = {str(name): node.to_dataset() for name, node in fit.tree.children.items()}
    groups["data"] = fit.data
    attrs = {
        "format": FORMAT,
        "spec": json.dumps(dict(fit.settings)),
        "prior": json.dumps(fit.prior.to_dict()),
        "provenance": json.dumps(fit.provenance),
    }
    return groups, attrs


def make_posterior(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, str]) -> Posterior:
    """Make a fit from the parts that :func:`fit_groups` returns."""
    from valuebias.posterior.posterior import Posterior

    # What follows from the draws is worked out from them again.
    draws = {name: group for name, group in groups.items() if name not in ("data", ESTIMANDS)}
    prior, provenance = (dict(json.loads(attrs[k])) for k in ("prior", "provenance"))
    spec = parse_settings(attrs["spec"], SETTINGS_OF_FITS)
    as_notes(spec["notes"])  # raises now, not where they are used
    data = validate(groups["data"])
    return Posterior(data, spec, as_prior(prior), xr.DataTree.from_dict(draws), provenance)


def load_saved(path: str | PathLike[str]) -> Posterior | AblationPosterior:
    """Read a saved fit, of scores or of an ablation."""
    from valuebias.posterior.ablation.saved import make_ablation

    source = _checked(path, loading=True)
    if not restore(source):
        raise ValueBiasError(f"{str(source)!r} does not exist; check the path.")
    check_format(source)
    tree = read_steadily(lambda: _read(source), [source, source / ".zmetadata"])
    kind = tree.attrs.get("format")
    if kind not in (FORMAT, ABLATION):
        raise ValueBiasError(
            f"{str(source)!r} is not a saved fit (format {kind!r:.80}, expected {FORMAT!r} or "
            f"{ABLATION!r}). {_fit_first(source)}"
        )
    with _explain_damage(source):
        whole = tree.attrs.get("sha256") == _digest(tree)
    if not whole:
        raise ValueBiasError(
            f"{str(source)!r} does not hold what was saved: contents differ from their SHA-256, "
            "so it is damaged or was copied in part. Copy it again or fit again."
        )
    groups = {
        str(name): unescape_texts(node.to_dataset().drop_encoding())
        for name, node in tree.children.items()
    }
    attrs = {str(name): str(value) for name, value in tree.attrs.items()}
    with _explain_damage(source):
        return (make_posterior if kind == FORMAT else make_ablation)(groups, attrs)


def _read(source: Path) -> xr.DataTree:
    with _explain_damage(source):
        if source.suffix == ".nc":
            check_bytes(source)
            # By handle: for a path that an earlier failure left open, HDF5 returns the old file.
            with source.open("rb") as handle:
                # Where this fails, h5netcdf would fail too, and again in its __del__.
                with h5py.File(handle) as file:
                    check_hdf5(file, source)
                    file.visititems(_touch)
                with xr.open_datatree(handle, engine="h5netcdf") as tree:
                    return tree.load()
        from valuebias._core.summed_zarr import CheckedFolder

        check_zarr(source)
        store: Any = CheckedFolder(source)
        with xr.open_datatree(store, engine="zarr", consolidated=store.consolidated) as tree:
            return tree.load()


def _explain_damage(source: Path) -> AbstractContextManager[None]:
    because = "it is damaged, truncated or not a saved fit"
    return reading(source, because=because, advice="Copy it again, or fit again.")


def _touch(name: str, item: h5py.Group | h5py.Dataset) -> None:
    dict(item.attrs)


def _digest(tree: xr.DataTree) -> str:
    """SHA-256 of the contents of a tree, the same before writing and after reading."""
    digest = hashlib.sha256()
    # An ablation has one more attribute, which the digest of a fit omits.
    for name in (*_HASHED, *(["ablation"] if "ablation" in tree.attrs else [])):
        digest.update(str(tree.attrs.get(name)).encode(errors="surrogatepass"))
    for node in sorted(tree.subtree, key=lambda node: node.path):
        variables = node.to_dataset(inherit=False).variables
        for name in sorted(map(str, variables)):
            values = variables[name].to_numpy()
            digest.update(f"{node.path}/{name} {variables[name].dims} {values.shape}".encode())
            if values.dtype.kind in "biuf":
                # Formats keep the numbers but not always their type.
                digest.update(np.ascontiguousarray(values, dtype=np.float64).data)
            else:
                digest.update(json.dumps(values.astype(str).tolist()).encode())
    return digest.hexdigest()


def _checked(path: str | PathLike[str], *, loading: bool = False) -> Path:
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ValueBiasError(
            f"{str(target)!r} has the suffix {target.suffix!r}; a fit is saved as .nc or .zarr. "
            f"{did_you_mean(target.suffix, _SUFFIXES)}"
            f"{f' {_fit_first(target)}' if loading else ''}"
        )
    return target


def _fit_first(path: Path) -> str:
    scores = path.suffix.lower() in ("", ".nc", ".zarr", ".parquet", ".csv")
    typed = shlex.quote(str(path)) if scores else "SCORES"
    return (
        "Scores are fitted first: valuebias.fit(valuebias.read(path)); in a shell, valuebias fit "
        f"{typed} --out fit.nc."
    )


def _compression(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    how: dict[str, Any] = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    encodings: dict[str, dict[str, Any]] = {
        node.path: {
            str(name): how
            for name, variable in node.data_vars.items()
            if variable.dtype.kind == "f" and variable.ndim
        }
        for node in tree.subtree
    }
    if ESTIMANDS in tree.children:
        # As characters, which are compressed; of texts that vary in length only the places are.
        encodings[f"/{ESTIMANDS}"] |= {
            str(name): {**how, "dtype": "S1"}
            for name, variable in tree[ESTIMANDS].coords.items()
            if variable.dtype.kind in "OU"
        }
    return encodings
