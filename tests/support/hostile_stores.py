"""Stores, fits, studies and records that this package wrote, to be damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models
import tiny_studies
import xarray as xr
from hostile_base import ANEW, EARLIER, EASY, FEW, QUICK, Subject, scores, stamp
from hostile_models import PROMPTS, score
from hostile_work import inject, read_reproduction, released, reproduce
from stores import unseal

import valuebias
from valuebias import Model, ValueBiasError
from valuebias._core.fetch import Source, fetch
from valuebias._core.sums import json_sum
from valuebias.ablation import Head
from valuebias.io.files import unescape_texts
from valuebias.posterior.saved import write_groups

__all__ = ["STORES"]


def _make_store(folder: Path) -> None:
    tiny_models.tiny("llama", "reward", folder / "model")
    score(folder / "model", store=folder / "store.zarr")


def _read_vocabulary(folder: Path) -> str:
    return stamp(valuebias.read_vocabulary(folder / "store.zarr").load())


def _make_vocabulary(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "model")
    model = Model(str(folder / "model"), family="A", base="b", name="m")
    valuebias.score(model, prompts=PROMPTS, lexicon="vocabulary", kind="logprob", progress=False,
                    store=folder / "store.zarr")  # fmt: skip
    shutil.rmtree(folder / "model")


@cache
def _fit(suffix: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            valuebias.fit(scores(), **QUICK).save(folder / f"fit{suffix}")

    return make


def _read_fit(suffix: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        fit = valuebias.load(folder / f"fit{suffix}")
        return stamp(fit.tree, fit.data, dict(fit.settings), fit.prior.to_dict(), fit.summary())

    return read


@cache
def _ablation(suffix: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        from ablations import ablation

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = ablation(1, n_prompts=2, n_words=8, seeds=2)
            valuebias.fit_ablation(ds, outcome="raw", **QUICK).save(folder / f"fit{suffix}")

    return make


def _read_ablation(suffix: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        fit = valuebias.load(folder / f"fit{suffix}")
        return stamp(fit.slope(), fit.gaps(), fit.formula, fit.rope)

    return read


def _make_head(folder: Path) -> None:
    rng = np.random.default_rng(1)
    chosen, rejected = rng.normal(size=(2, 40, 6))
    valuebias.ablation.fit_head(chosen, rejected).save(folder / "head.npz")


def _unsealed_head(folder: Path) -> None:
    _make_head(folder)
    with zipfile.ZipFile(folder / "head.npz", "a") as archive:
        archive.comment = b""


def _read_head(folder: Path) -> str:
    head = Head.load(folder / "head.npz")
    return stamp(head.weights, {k: v for k, v in vars_of(head).items() if k != "weights"})


def vars_of(thing: Any) -> dict[str, Any]:
    """Give the fields of a dataclass, slots or not."""
    return {name: getattr(thing, name) for name in type(thing).__dataclass_fields__}


def _make_record(folder: Path) -> None:
    from valuebias.reproduction.record import Entry, write_record

    entries = {
        name: Entry(name, f"Title of {name}", "made", notes=["n"],
                    files={f"{name}/a.csv": "0" * 64},
                    inputs={"x": "1" * 64}, settings={"draws": 5}, fingerprint="f")
        for name in ("figure-1", "posterior")
    }  # fmt: skip
    write_record(folder, "christian2026", entries)


def _read_record(folder: Path) -> str:
    from valuebias.reproduction.record import read_record

    return stamp(sorted(read_record(folder, "christian2026").items()))


# --- work that is gone on with --------------------------------------------------------------------


def _make_vocabulary_and_model(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "model")
    _go_on_with_vocabulary(folder)


def _go_on_with_vocabulary(folder: Path) -> str:
    model = Model(str(folder / "model"), family="A", base="b", name="m")
    valuebias.score(model, prompts=PROMPTS, lexicon="vocabulary", kind="logprob", progress=False,
                    store=folder / "store.zarr")  # fmt: skip
    return _read_vocabulary(folder)


def _make_heads(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "llama")
    _go_on_with_heads(folder)


def _go_on_with_heads(folder: Path) -> str:
    study = tiny_studies.study(
        folder, tuning="head", training=None, n_pairs=[8, 16],
        sources={"plain": tiny_studies.pairs(40)},
    )  # fmt: skip
    return stamp(study.run(folder / "out", progress=False)["score"].to_numpy())


def _make_trained(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "llama")
    _go_on_with_trained(folder)


def _go_on_with_trained(folder: Path) -> str:
    study = tiny_studies.study(
        folder, training=tiny_studies.BRIEF, n_pairs=[4],
        sources={"plain": tiny_studies.pairs(12)},
    )  # fmt: skip
    return stamp(study.run(folder / "out", progress=False)["score"].to_numpy())


def _make_injected(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "llama", tokens=1000)
    inject(folder)


def _make_reproduced(folder: Path) -> None:
    released(folder)
    reproduce(folder)


def _go_on_with_reproduction(folder: Path) -> str:
    reproduce(folder)
    return read_reproduction(folder)


# --- downloads -----------------------------------------------------------------------------------


def _make_download(folder: Path) -> None:
    content = b"word,category\nlove,communion\npower,agency\n"
    (folder / "words.csv").write_bytes(content)
    (folder / "words.csv.sha256").write_text(hashlib.sha256(content).hexdigest())


def _read_download(folder: Path) -> str:
    """Find a file in the cache whose hash was recorded when it was downloaded."""
    before = {name: os.environ.pop(name, None) for name in ("VALUEBIAS_DATA", "VALUEBIAS_CACHE")}
    os.environ["VALUEBIAS_CACHE"] = str(folder)
    try:
        found = fetch(Source("words.csv", "http://127.0.0.1:9/words.csv", None, None))
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
    return stamp(found.read_bytes())


# --- checksums made anew, or none -----------------------------------------------------------------


def _unsealed_store(folder: Path) -> None:
    _make_store(folder)
    unseal(folder / "store.zarr")


def _reseal(folder: Path) -> None:
    """Make the sums of a store anew, as far as its record can be read."""
    store = folder / "store.zarr"
    record = store / ".zmetadata"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        for mark in store.rglob(".finished.*"):
            content = json.loads(mark.read_bytes())
            owner = {"of": content.pop("of")}
            chunks = {key: _sum(mark.parents[1] / key) for key in content}
            mark.write_text(json.dumps(owner | chunks))
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        whole = json.loads(record.read_bytes())
        for key in whole["metadata"]:
            whole["metadata"][key] = json.loads((store / key).read_bytes())
        ours = whole["valuebias"]
        ours["sums"] = {key: _sum(store / key) for key in ours["sums"]}
        ours.pop("sha256", None)
        ours["sha256"] = json_sum(whole)
        record.write_text(json.dumps(whole))


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _laid_open(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Lay a saved fit's attributes out as plain JSON, to be put together again after the damage."""

    def made(folder: Path) -> None:
        make(folder)
        with xr.open_datatree(folder / "fit.nc", engine="h5netcdf") as tree:
            attrs = {name: _json(str(value)) for name, value in tree.attrs.items()}
        (folder / "attrs.json").write_text(json.dumps(attrs))

    return made


def _put_together(read: Callable[[Path], str]) -> Callable[[Path], str]:
    """Save a fit that says what lies in attrs.json, with the right checksum, and read it."""
    groups: dict[str, xr.Dataset] = {}

    def again(folder: Path) -> str:
        try:
            content = json.loads((folder / "attrs.json").read_bytes())
            attrs = {k: v if isinstance(v, str) else json.dumps(v) for k, v in content.items()}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise ValueBiasError("There is no JSON to put together.") from error
        if not groups:
            # The same for all cases; to read them takes as long as the rest.
            with xr.open_datatree(folder / "fit.nc", engine="h5netcdf") as tree:
                for name, node in tree.load().children.items():
                    groups[str(name)] = unescape_texts(node.to_dataset().drop_encoding())
        (folder / "fit.nc").unlink()
        # HDF5 takes neither.
        if any(re.search("[\0\ud800-\udfff]", text) for text in attrs.values()):
            raise ValueBiasError("Such a file cannot be made.")
        write_groups(groups, attrs, folder / "fit.nc")
        return read(folder)

    return again


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- what `valuebias check` says ------------------------------------------------------------------


def _checked(name: str) -> Callable[[Path], str]:
    """Check; what is damaged, or has no checksums any more, counts as refused."""

    def read(folder: Path) -> str:
        found = valuebias.check(folder / name)
        if found.is_whole and not found.unsummed:
            return "whole"
        raise ValueBiasError(str(found))

    return read


def _make_scores(folder: Path) -> None:
    for suffix in (".zarr", ".nc", ".parquet", ".csv"):
        valuebias.write(scores(), folder / f"scores{suffix}")


STORES: tuple[Subject, ...] = (
    Subject("store of scores, read", _make_store,
            lambda folder: stamp(valuebias.read(folder / "store.zarr")), ("store.zarr/**/*",)),
    Subject("store of scores, gone on with", _make_store,
            lambda folder: score(folder / "model", store=folder / "store.zarr"),
            ("store.zarr/**/*",), bits=FEW),
    Subject("store of vocabularies", _make_vocabulary, _read_vocabulary),
    Subject("fit, netCDF", _fit(".nc"), _read_fit(".nc"), bits=EASY),
    Subject("fit, Zarr", _fit(".zarr"), _read_fit(".zarr"), bits=FEW),
    Subject("fit of an ablation, netCDF", _ablation(".nc"), _read_ablation(".nc"), bits=EASY),
    Subject("fit of an ablation, Zarr", _ablation(".zarr"), _read_ablation(".zarr"), bits=FEW),
    Subject("head, npz", _make_head, _read_head, bits=EASY),
    Subject("head, npz, without checksum", _unsealed_head, _read_head, excuse=EARLIER),
    Subject("record of a reproduction", _make_record, _read_record, may_go=True,
            bits=EASY),
    Subject("store of scores, without checksums, gone on with", _unsealed_store,
            lambda folder: score(folder / "model", store=folder / "store.zarr"),
            ("store.zarr/**/*",), EARLIER),
    Subject("store of scores, checksums made anew, read", _make_store,
            lambda folder: stamp(valuebias.read(folder / "store.zarr")), ("store.zarr/**/*",),
            ANEW, 2, after=_reseal),
    Subject("store of scores, checksums made anew, gone on with", _make_store,
            lambda folder: score(folder / "model", store=folder / "store.zarr"),
            ("store.zarr/**/*",), ANEW, after=_reseal),
    Subject("store of vocabularies, checksums made anew", _make_vocabulary, _read_vocabulary,
            excuse=ANEW, weight=2, after=_reseal),
    Subject("store of vocabularies, gone on with", _make_vocabulary_and_model,
            _go_on_with_vocabulary, ("store.zarr/**/*",), bits=FEW),
    Subject("fit: what it says of itself, checksum made anew", _laid_open(_fit(".nc")),
            _put_together(_read_fit(".nc")), ("attrs.json",), ANEW, 0.5),
    Subject("fit of an ablation: the same", _laid_open(_ablation(".nc")),
            _put_together(_read_ablation(".nc")), ("attrs.json",), ANEW, 0.5),
    Subject("folder of a study, heads, gone on with", _make_heads, _go_on_with_heads,
            ("out/**/*",), bits=FEW),
    Subject("folder of a study, trained, gone on with", _make_trained, _go_on_with_trained,
            ("out/**/*",), weight=0.5, bits=FEW),
    Subject("folder of injected words, gone on with", _make_injected, inject, ("store/**/*",),
            weight=0.5, bits=FEW),
    Subject("adapter of injected words, gone on with", _make_injected, inject,
            ("store/**/adapter/*",), weight=0.5, bits=FEW),
    Subject("folder of a reproduction, gone on with", _make_reproduced, _go_on_with_reproduction,
            ("paper/**/*",), weight=0.5, bits=FEW),
    Subject("download and its recorded hash", _make_download, _read_download, bits=EASY),
    Subject("check: scores in every format", _make_scores, _checked("."), bits=FEW),
    Subject("check: store of scores", _make_store, _checked("store.zarr"), ("store.zarr/**/*",),
            bits=FEW),
    Subject("check: store of vocabularies", _make_vocabulary, _checked("store.zarr"), bits=FEW),
    Subject("check: fit, Zarr", _fit(".zarr"), _checked("fit.zarr"), bits=FEW),
    Subject("check: folder of a study", _make_heads, _checked("out"), ("out/**/*",), bits=FEW),
    Subject("check: folder of injected words", _make_injected, _checked("store"), ("store/**/*",),
            bits=FEW),
)  # fmt: skip
"""What this package wrote."""
