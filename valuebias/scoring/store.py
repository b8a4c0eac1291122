"""Stores of scores that are filled block by block: make, check, extend and read them.

A store of a lexicon's scores is what :func:`valuebias.write` makes of a dataset, with NaN for what
is not yet scored. A store of whole vocabularies, which differ from model to model, has one such
group a model. The provenance says what the scores were made with, and so what may be added to them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.atomic import atomic_path
from valuebias.disk import put
from valuebias.errors import ValueBiasError
from valuebias.io import escape_texts, unescape_texts
from valuebias.locks import only_one
from valuebias.opening.zarr_folders import check_zarr
from valuebias.provenance import record
from valuebias.schema.building import assemble
from valuebias.schema.contract import KINDS, SCHEMA, demand_unique
from valuebias.scoring.plan import Plan, block_shape
from valuebias.scoring.shelf import TOKENS, Shelf
from valuebias.text import without_nul

__all__ = [
    "LAZY",
    "Entry",
    "group_of",
    "locked",
    "note_run",
    "open_group",
    "open_store",
    "provenance_of",
]

LAZY = ("score", "token_logprob")
"""Arrays of a store of whole vocabularies that are read in parts."""

_BY = "valuebias.score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a store says of a model.

    Attributes
    ----------
    name : str
        Its label.
    source : str
        Where it came from.
    coords : dict
        Its coords: family, base, stage, n_params and so on.
    settings : dict
        What its scores depend on: revision, hashes, head and so on.
    stated : tuple of str
        Which coords the user gave; the others are what its files say.
    base_said_by : str
        What names its base.
    read_said_by : str
        What decided at which token its rewards are read.
    n_tokens : tuple of int, optional
        How many tokens each word has; None where the responses are tokens.
    """

    name: str
    source: str
    coords: Mapping[str, Any]
    settings: Mapping[str, Any]
    stated: tuple[str, ...] = ()
    base_said_by: str = ""
    read_said_by: str = ""
    n_tokens: tuple[int, ...] | None = None


def open_store(path: Path, plan: Plan, entries: Sequence[Entry]) -> dict[str, Shelf]:
    """Open a store for a plan: make it, or check that it was made alike and add new models.

    Parameters
    ----------
    path : pathlib.Path
        A folder whose name ends in ``.zarr``.
    plan : Plan
        What is to be scored.
    entries : sequence of Entry
        One a model of the plan.

    Returns
    -------
    dict of str to Shelf
        Each model's place; empty for whole vocabularies, see :func:`open_group`.

    Raises
    ------
    ValueBiasError
        If something else lies there, or the store was made with other settings; the message names
        the first difference.
    """
    if plan.words is None:
        for group, names in _groups(entries).items():
            demand_unique(names, f"model whose group is named {group!r},")
    fresh = not path.exists()
    if fresh:
        _make(path, plan, entries)
    found = provenance_of(path)
    _demand_same(path, found["scoring"]["settings"], plan.settings(), "")
    if plan.words is None:
        return {}
    stored = {entry["name"]: entry for entry in found["models"]}
    for entry in entries:
        if entry.name in stored:
            _demand_same(path, stored[entry.name]["settings"], entry.settings, entry.name)
            _describe(stored[entry.name], entry)
    new = [_about(entry) for entry in entries if entry.name not in stored]
    found["models"] += new
    if not fresh:
        _mend(path, _blank(plan, found, plan.words))
    rows = {entry["name"]: row for row, entry in enumerate(found["models"])}
    return {entry.name: Shelf(path, rows[entry.name]) for entry in entries}


def open_group(path: Path, plan: Plan, entry: Entry, vocabulary: pd.DataFrame) -> Shelf:
    """Open one model's group in a store of whole vocabularies; make it if it is not there.

    Parameters
    ----------
    path : pathlib.Path
        A store that :func:`open_store` has opened.
    plan : Plan
        What is to be scored.
    entry : Entry
        The model.
    vocabulary : pandas.DataFrame
        One row a token: ``token_id``, ``token`` (unique) and ``text`` (what it adds to a text).

    Returns
    -------
    Shelf
        The model's place.

    Raises
    ------
    ValueBiasError
        If the group was made with other settings, or tokens have other texts in it.
    """
    folder = path / group_of(entry.name)
    texts = _without_nul(vocabulary["text"])
    details = provenance_of(path) | {"models": [_about(entry)]}
    if folder.exists():
        details = provenance_of(folder)
        stored = details["models"][0]
        _demand_same(path, stored["settings"], entry.settings, entry.name)
        _demand_same_texts(folder, texts, entry.name)
        if not _describe(stored, entry):
            return Shelf(folder, 0)
    tokens = _without_nul(vocabulary["token"])
    ds = _blank(plan, details, tokens).assign_coords(
        token_id=("response", vocabulary["token_id"].to_numpy(dtype=np.int64)),
        decoded=("response", np.array(texts, dtype="U")),
    )
    if folder.exists():
        _mend(folder, ds)
        return Shelf(folder, 0)
    with _told(folder), atomic_path(folder) as part:
        _write(ds, part, block_shape(plan, len(tokens)))
    return Shelf(folder, 0)


def _without_nul(texts: Iterable[str]) -> list[str]:
    return [without_nul(text) if "\0" in text else text for text in texts]


def group_of(name: str) -> str:
    """Name a model's group: a slash would make it a group within a group.

    Parameters
    ----------
    name : str
        A model's label.

    Returns
    -------
    str
        With ``--`` for each slash.

    Examples
    --------
    >>> group_of("google/gemma-2-2b-it")
    'google--gemma-2-2b-it'
    """
    return name.replace("/", "--")


def note_run(path: Path, name: str, run: Mapping[str, Any]) -> None:
    """Write down with what a model's scores are computed, unless the store says so already.

    Parameters
    ----------
    path : pathlib.Path
        A store, or a group in it.
    name : str
        The model.
    run : mapping
        Device, dtype, package versions and the like, as JSON can hold it.

    Raises
    ------
    ValueBiasError
        If earlier scores of the model were computed in another arithmetic.
    """
    found = provenance_of(path)
    entry = next(entry for entry in found["models"] if entry["name"] == name)
    for earlier in entry["runs"]:
        _demand_same(path, {"dtype": earlier["dtype"]}, {"dtype": run["dtype"]}, name)
    if run not in entry["runs"]:
        entry["runs"].append(dict(run))
        attrs = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        attrs["provenance"] = json.dumps(found, sort_keys=True)
        # As Zarr writes it, so that a store is the same whether or not it was interrupted.
        put(path / ".zattrs", json.dumps(attrs, indent=2).encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a store to this process while the block runs; the system ends that if it is killed.

    Parameters
    ----------
    path : pathlib.Path
        A store that exists.

    Raises
    ------
    ValueBiasError
        If another process is writing to it.
    """
    with only_one(path / ".zgroup", what=repr(str(path)), instead="another store"):
        yield


def _make(path: Path, plan: Plan, entries: Sequence[Entry]) -> None:
    about = None if plan.lexicon is None else plan.lexicon.about()
    details: dict[str, Any] = {
        "by": _BY,
        "scoring": {
            "settings": plan.settings(),
            "prompts": {"name": plan.prompts.name, "citation": plan.prompts.citation},
            "lexicon": about,
        },
    }
    with _told(path), atomic_path(path) as part:
        if plan.words is None:
            attrs = {"schema": SCHEMA, "kind": plan.kind, "units": KINDS[plan.kind]}
            attrs["provenance"] = json.dumps(record(details=details), sort_keys=True)
            xr.Dataset(attrs=attrs).to_zarr(part, zarr_format=2, consolidated=False)
        else:
            details["models"] = [_about(entry) for entry in entries]
            ds = _blank(plan, record(details=details), plan.words)
            shape = block_shape(plan, len(plan.words))
            _write(ds, part, shape, tokens=1 if plan.kind == "logprob" else 0)


def _describe(stored: dict[str, Any], entry: Entry) -> bool:
    """Take over what is said of a model now; tell whether that changes what a store says.

    What the user gives goes before what the store says, and that before what files say.
    """
    before = json.dumps(stored, sort_keys=True)
    now = _about(entry)
    given = {name: now["coords"][name] for name in entry.stated}
    coords = now["coords"] | stored["coords"] | given
    if coords.get("base") != stored["coords"].get("base"):
        stored["base_said_by"] = now["base_said_by"]
    stored["coords"] = coords
    stored.setdefault("n_tokens", now["n_tokens"])
    return json.dumps(stored, sort_keys=True) != before


def _mend(path: Path, ds: xr.Dataset) -> None:
    """Bring everything but the scores up to what a dataset without scores says.

    That adds models, and finishes what a run that was killed in the middle of adding them began.
    """
    shelf = Shelf(path, 0)
    with _told(path), tempfile.TemporaryDirectory(prefix="valuebias-") as place:
        fresh = Path(place) / "fresh.zarr"
        _write(ds, fresh, shelf.shape, tokens=_tokens(path))
        # The attributes first: from them the rest can be made again.
        files = sorted(fresh.rglob("*"), key=lambda file: (file != fresh / ".zattrs", file))
        for file in files:
            target = path / file.relative_to(fresh)
            if file.is_file() and not (
                target.exists() and target.read_bytes() == file.read_bytes()
            ):
                put(target, file.read_bytes())


def _blank(plan: Plan, provenance: Mapping[str, Any], responses: Sequence[str]) -> xr.Dataset:
    """Lay a dataset out that has no scores yet."""
    models = provenance["models"]
    shape = (len(models), len(plan.prompts), len(responses))
    table = pd.DataFrame([entry["coords"] for entry in models])
    counts = [entry["n_tokens"] for entry in models if entry.get("n_tokens")]
    words = None
    if counts:
        index = pd.Series(responses, dtype=object)
        words = pd.DataFrame({"n_tokens": np.mean(counts, axis=0)}).set_axis(index, axis=0)
    return assemble(
        np.broadcast_to(np.float32(np.nan), shape),
        models=table.set_axis([entry["name"] for entry in models], axis=0),
        prompts=plan.prompts,
        lexicon=plan.lexicon,
        responses=responses,
        words=words,
        kind=plan.kind,
        provenance=provenance,
    )


def _write(ds: xr.Dataset, path: Path, shape: tuple[int, int], *, tokens: int = 0) -> None:
    """Write a dataset without scores, and with room for that many log-probs of a word's tokens.

    Chunks are not compressed: blocks are written as their bytes.
    """
    encoding: dict[str, Any] = {"score": {"chunks": (1, *shape), "compressors": None}}
    if tokens:
        per_token = np.broadcast_to(np.float32(np.nan), (*ds["score"].shape, tokens))
        ds = ds.assign(token_logprob=(("model", "prompt", "response", "token"), per_token))
        encoding["token_logprob"] = {"chunks": (1, *shape, TOKENS), "compressors": None}
    escape_texts(ds).to_zarr(path, zarr_format=2, consolidated=False, encoding=encoding)


def _tokens(path: Path) -> int:
    header = path / "token_logprob" / ".zarray"
    if not header.exists():
        return 0
    return int(json.loads(header.read_text(encoding="utf-8"))["shape"][3])


def _about(entry: Entry) -> dict[str, Any]:
    # Through JSON and back, so that it compares equal with what is read from a store.
    about = {name: value for name, value in asdict(entry).items() if name != "stated"}
    return dict(json.loads(json.dumps(about | {"runs": []})))


def provenance_of(path: Path) -> dict[str, Any]:
    """Read a store's provenance; raise a ValueBiasError if valuebias.score did not make it."""
    try:
        attrs = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        found = json.loads(attrs["provenance"])
        if found["by"] == _BY:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ValueBiasError(
        f"{str(path)!r} is there already and was not made by valuebias.score; it is left as it "
        "is. Choose another store."
    )


def _demand_same(
    path: Path, found: Mapping[str, Any], expected: Mapping[str, Any], model: str
) -> None:
    for key, value in json.loads(json.dumps(expected)).items():
        if found.get(key) != value:
            whose = f" of the model {model!r}" if model else ""
            raise ValueBiasError(
                f"The store {str(path)!r} was made with another {key}{whose}: found "
                f"{found.get(key)!r}, expected {value!r}. Scores made differently do not belong "
                "in one store: choose another, or score as that one was."
            )


def _demand_same_texts(folder: Path, texts: Sequence[str], model: str) -> None:
    """Refuse a group in which tokens have other texts, such as those of an earlier version."""
    check_zarr(folder, lazily=LAZY)
    with xr.open_dataset(folder, engine="zarr", consolidated=False, decode_times=False) as stored:
        found = unescape_texts(stored[["decoded"]].drop_encoding())["decoded"].to_numpy().tolist()
    if found != list(texts):
        differing = [(a, b) for a, b in zip(found, texts, strict=False) if a != b]
        one, other = differing[0] if differing else (f"{len(found)} texts", f"{len(texts)} texts")
        raise ValueBiasError(
            f"The store {str(folder.parent)!r} was made with other texts of {len(differing):,} "
            f"tokens of the model {model!r}: found {one!r}, expected {other!r}. Earlier versions "
            "left out the space that a SentencePiece token begins with, and texts are what models "
            "are joined on: score it again, in another store."
        )


def _groups(entries: Sequence[Entry]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for entry in entries:
        groups.setdefault(group_of(entry.name), []).append(group_of(entry.name))
    return groups


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueBiasError(
            f"The store {str(path)!r} cannot be written ({error.strerror}). Make room, see to the "
            "permissions, or choose another place."
        ) from error
