"""Put the stores of shards together: ``valuebias.merge(stores, out=...)``.

Blocks are copied with their marks, byte by byte, into a layout that is made anew of what the shards
say of all models; so that the result is the store that one process would have filled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from valuebias._core.atomic import atomic_path, probe, restore
from valuebias._core.foreign import check_file, reading
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias._core.summed_zarr import CheckedFolder, commit, open_checked
from valuebias._core.sums import DamagedError
from valuebias._core.zarr_records import MARK, RECORD
from valuebias.errors import ValueBiasError, few, shown
from valuebias.io import read
from valuebias.io.files import unescape_texts
from valuebias.models import bases
from valuebias.schema.contrast_scores import is_marked, marked_as_contrasts
from valuebias.scoring import store
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.sharing import Share
from valuebias.scoring.verdicts import with_verdicts_checked
from valuebias.scoring.vocabulary import read_vocabulary

__all__ = ["merge"]

_MACHINE = ("device", "platform", "python", "packages")
"""What a run's record says of the machine and the programs on it."""


def merge(
    stores: Iterable[str | PathLike[str]], *, out: str | PathLike[str]
) -> xr.Dataset | xr.DataTree:
    """Put the shards of a request together, into the store that one process would have made.

    Values, coordinates and settings are the same to the last bit. The record of provenance says
    besides how many shards there were, and with what each was computed.

    Parameters
    ----------
    stores : iterable of str or path
        The stores of all shards, in any order: what ``valuebias.score(..., shard=(i, n))`` made, or
        what it returned. They are left as they are.
    out : str or path
        A folder that ends in ``.zarr``, which is not there yet. It is written whole or not at all.
        If it is there and these shards were merged into it before, nothing is done.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        The scores, as :func:`valuebias.score` gives them. The store can be gone on with as any
        other: further models can be added to it.

    Raises
    ------
    ValueBiasError
        If a shard is missing, there twice, unfinished or damaged, or not of the same request as the
        others: other models, prompts, words or settings, other weights, another dtype, another
        number of shards. Or if `out` is there already, or cannot be written.

    Warns
    -----
    ValueBiasWarning
        If the base of some of several models is not known, or a judge leaves much of the
        probability for other tokens than its verdicts, as :func:`valuebias.score` does; a shard by
        itself knows of its own part only.

    Examples
    --------
    >>> import valuebias
    >>> shards = [
    ...     valuebias.score("models.yaml", store=f"shards/{i}.zarr", shard=(i, 4))
    ...     for i in (1, 2, 3, 4)
    ... ]  # doctest: +SKIP
    >>> scores = valuebias.merge(shards, out="scores.zarr")  # doctest: +SKIP
    >>> valuebias.merge([], out="scores.zarr")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: No store was given. Give the stores of all shards.
    """
    target = Path(out)
    if target.suffix != ".zarr":
        raise ValueBiasError(f"out is {str(target)!r}; expected a folder that ends in '.zarr'.")
    given = [stores] if isinstance(stores, str | PathLike) else list(stores)
    wrong = next((one for one in given if not isinstance(one, str | PathLike)), None)
    if wrong is not None:
        raise ValueBiasError(
            f"{shown(wrong)} is among the stores; expected paths of stores, or what "
            "valuebias.score(..., shard=...) returned."
        )
    opened = [_opened(Path(fspath(each))) for each in given]
    # Log-probs of references, which lie beside the shards and have done what they are for.
    parts = _of_one_request([part for part in opened if not part.share.references] or opened)
    _check_models(parts)
    _check_finished(parts)
    coords = {name: entry["coords"] for part in parts for name, entry in part.models.items()}
    bases.warn(bases.stated(coords), stacklevel=2)
    provenance = _provenance(parts)
    if not (restore(target) and _is_merged(target, provenance)):
        probe(target, folder=True)
        with atomic_path(target) as new:
            _write(new, parts, provenance)
    if not _has_words(parts[0]):
        return read_vocabulary(target)
    # A shard does not look at them: it has a part of what a judge is asked.
    return with_verdicts_checked(read(target), stacklevel=2)


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard's store."""

    path: Path
    provenance: dict[str, Any]  # of the whole store
    share: Share
    models: dict[str, dict[str, Any]] = field(default_factory=dict)  # what it says of each
    places: dict[str, ModelScores] = field(default_factory=dict)  # where the scores of each are

    def __str__(self) -> str:
        return f"{str(self.path)!r} ({self.share})"


def _has_words(part: _Part) -> bool:
    """Tell whether scores are of words, and not of whole vocabularies."""
    return "groups" not in part.provenance


def _opened(path: Path) -> _Part:
    """Read what a shard's store says of itself."""
    if not restore(path):
        raise ValueBiasError(f"There is no store {str(path)!r}. Check the path.")
    check_file(path)
    if not path.is_dir():
        raise ValueBiasError(
            f"{str(path)!r} is a file; stores of scores are folders. Give the stores of shards "
            "and nothing else."
        )
    advice = "Run the same valuebias.score(...) again, with the same shard: it is made again."
    try:
        check_zarr(path, lazily=store.LAZY)
        provenance = store.provenance_of(path)
    except DamagedError:
        raise
    except ValueBiasError as error:
        raise ValueBiasError(
            f"{str(path)!r} is no store that valuebias.score made ({error}). Give the stores of "
            "shards, and nothing else."
        ) from error
    share = Share.recorded(provenance)
    if share is None:
        raise ValueBiasError(
            f"{str(path)!r} is no shard: its scores were made without shards, or are merged "
            "already. Leave it out."
        )
    part = _Part(path, provenance, share)
    with reading(path, advice=advice):
        if _has_words(part):
            for row, entry in enumerate(provenance["models"]):
                part.models[entry["name"]] = entry
                part.places[entry["name"]] = ModelScores(path, row)
        for group in store.groups_of(path) if not _has_words(part) else ():
            (entry,) = store.provenance_of(path / group)["models"]
            part.models[entry["name"]] = entry
            part.places[entry["name"]] = ModelScores(path / group, 0)
    return part


def _of_one_request(parts: Sequence[_Part]) -> list[_Part]:
    """Check that each shard of one request is there once; give them in order."""
    if not parts:
        raise ValueBiasError("No store was given. Give the stores of all shards.")
    first = parts[0]
    if first.share.references:
        raise ValueBiasError(
            f"{str(first.path)!r} has the log-probs of policies' references, for one shard. Give "
            "the stores of the policies' shards, beside which it lies."
        )
    for part in parts[1:]:
        difference = part.share.difference(first.share)
        if not difference:
            said = (each.provenance["scoring"]["settings"] for each in (part, first))
            other, how = store.differing(*said)
            difference = f"{other} ({how})" if other else ""
        if difference:
            raise ValueBiasError(
                f"{part} is not of the same request as {first}: it is of {difference}. All shards "
                "of a request are made by the same call but for shard= and store=. Give the store "
                "that belongs to the others, or score that shard again as the others were, in "
                "another store."
            )
    there: dict[int, _Part] = {}
    for part in parts:
        other_one = there.setdefault(part.share.index, part)
        if other_one is not part:
            raise ValueBiasError(
                f"{str(other_one.path)!r} and {str(part.path)!r} are both {part.share}. Give one "
                "of the two."
            )
    n = first.share.n
    missing = [str(i) for i in range(1, n + 1) if i not in there] if len(there) < n else []
    if missing:
        which, verb, its = "Shard", "is", "its store"
        if len(missing) > 1:
            which, verb, its = "Shards", "are", "their stores"
        raise ValueBiasError(
            f"{which} {few(missing, quote=False, limit=20)} of {n} {verb} missing. Give {its}, "
            f"too; if there is none, make it by the call that made the others, with "
            f"shard=({missing[0]}, {n}), on any machine.",
            in_shell=f"{which} {few(missing, quote=False, limit=20)} of {n} {verb} missing. Give "
            f"{its}, too; if there is none, make it by the command that made the others, with "
            f"--shard {missing[0]}/{n}, on any machine.",
        )
    return [there[i] for i in range(1, n + 1)]


def _check_models(parts: Sequence[_Part]) -> None:
    """Check that what several shards say of a model is the same."""
    seen: dict[str, _Part] = {}
    for part in parts:
        for name, entry in part.models.items():
            before = seen.setdefault(name, part)
            known = before.models[name]
            other, how = store.differing(entry["settings"], known["settings"])
            dtypes = list(dict.fromkeys(run["dtype"] for e in (known, entry) for run in e["runs"]))
            if not other and len(dtypes) > 1:
                other, how = "another dtype", f"computed in {' and in '.join(dtypes)}"
            if other:
                raise ValueBiasError(
                    f"{part} was made with {other} of the model {shown(name)} than {before}: {how}."
                    " Scores made differently do not belong together: score one of the two shards "
                    "again as the other was, in another store."
                )
            coords = {**known["coords"], **entry["coords"]}
            unlike = [k for k in coords if known["coords"].get(k) != entry["coords"].get(k)]
            if unlike:
                values = [shown(e["coords"].get(unlike[0])) for e in (entry, known)]
                raise ValueBiasError(
                    f"{part} has {unlike[0]} {values[0]} for the model {shown(name)}, and {before} "
                    f"{values[1]}. Say in the models table which is right, and run the same "
                    "valuebias.score(...) of that shard again: nothing is scored again."
                )


def _check_finished(parts: Sequence[_Part]) -> None:
    """Check that every shard has scored all that falls to it."""
    for part in parts:
        lacking, total = 0, 0
        for name in part.share.names():
            if name not in part.places:
                raise _unfinished(part, f"the model {shown(name)} is still to come")
            place = part.places[name]
            own = part.share.of(name, place.blocks)
            total += len(own)
            lacking += len(place.unmarked(own))
        if lacking:
            raise _unfinished(part, f"{lacking} of its {total} blocks are missing")


def _unfinished(part: _Part, what: str) -> ValueBiasError:
    share = part.share
    again = "again to go on, wait for it if it is running, then merge"
    return ValueBiasError(
        f"{part} is unfinished: {what}. Run the same valuebias.score(..., "
        f"shard=({share.index}, {share.n}), store={str(part.path)!r}) {again}.",
        in_shell=f"{part} is unfinished: {what}. Run the same command with "
        f"--shard {share.index}/{share.n} --store {part.path} {again}.",
    )


def _provenance(parts: Sequence[_Part]) -> dict[str, Any]:
    """Say what one process would have said, and of what shards it was made."""
    left_out = ("shard", "models", "groups")
    whole = {k: v for k, v in parts[0].provenance.items() if k not in left_out}
    whole["date"] = min(str(part.provenance["date"]) for part in parts)
    machines: dict[str, list[int]] = {}
    for part in parts:
        runs = [run for entry in part.models.values() for run in entry["runs"]]
        for said in {json.dumps({k: run.get(k) for k in _MACHINE}): None for run in runs}:
            machines.setdefault(said, []).append(part.share.index)
    whole["shards"] = {
        "n": len(parts),
        "dates": [str(part.provenance["date"]) for part in parts],
        "made_with": [{"shards": which, **json.loads(said)} for said, which in machines.items()],
    }
    return whole


def _entries(parts: Sequence[_Part]) -> Iterator[dict[str, Any]]:
    """Say of each model, in the order of the request, what one process would have said."""
    for work in parts[0].share.work:
        said = [part.models[work.name] for part in parts if work.name in part.models]
        runs: list[Any] = []
        for run in (run for entry in said for run in entry["runs"]):
            if run not in runs:
                runs.append(run)
        yield {**said[0], "runs": runs}


def _is_merged(target: Path, provenance: Mapping[str, Any]) -> bool:
    """Tell whether these very shards were merged before; refuse whatever else is there."""
    try:
        there = store.provenance_of(target)
        same = [there.get(k) == provenance[k] for k in ("shards", "scoring")]
    except (ValueBiasError, OSError):
        same = [False]
    if all(same):
        return True
    raise ValueBiasError(
        f"{str(target)!r} is there already, and is not what merging these shards gives. Choose "
        "another path, or remove it first."
    )


def _write(target: Path, parts: Sequence[_Part], provenance: dict[str, Any]) -> None:
    """Lay a store out, and copy all blocks into it."""
    entries = list(_entries(parts))
    if _has_words(parts[0]):
        _lay_out_words(target, parts, {**provenance, "models": entries})
        for row, entry in enumerate(entries):
            _adopt(ModelScores(target, row), parts, entry["name"])
        return
    groups = []
    for entry in entries:
        place = next(p.places[entry["name"]] for p in parts if entry["name"] in p.places)
        folder = target / place.folder.name
        groups.append(folder.name)
        _lay_out_group(folder, place.folder, {**provenance, "models": [entry]})
        _adopt(ModelScores(folder, 0), parts, entry["name"])
    kind = provenance["scoring"]["settings"]["kind"]
    frame = store.Frame(kind, pd.DataFrame(), None)
    store.write_root(target, frame, {**provenance, "groups": groups})


def _adopt(place: ModelScores, parts: Sequence[_Part], name: str) -> None:
    for part in parts:
        if name in part.places:
            there = part.places[name]
            if (there.blocks, there.shape) != (place.blocks, place.shape):
                raise ValueBiasError(
                    f"{part} has other blocks of the model {shown(name)} than the shards before "
                    "it. Score it again as the others were, in another store."
                )
            for block in part.share.of(name, place.blocks):
                place.adopt(block, there)


def _lay_out_words(target: Path, parts: Sequence[_Part], provenance: dict[str, Any]) -> None:
    source = next(part.path for part in parts if part.models)
    with open_checked(source) as opened:
        names = [str(name) for name in opened.variables if name not in store.LAZY]
        ds = unescape_texts(opened[names].load().drop_encoding())
    of_prompts = [str(name) for name, c in ds.coords.items() if c.dims == ("prompt",)]
    prompts = pd.DataFrame(
        {name: ds[name].to_numpy().tolist() for name in of_prompts if name != "prompt"},
        index=ds["prompt"].to_numpy().tolist(),
    )
    words = ds["response"].to_numpy().tolist()
    lexicon = None
    if ds.sizes["category"]:
        categories = ds["category"].to_numpy().tolist()
        lexicon = pd.DataFrame(ds["membership"].to_numpy(), index=words, columns=categories)
    frame = store.Frame(str(ds.attrs["kind"]), prompts, lexicon)
    whole = store.laid_out(frame, provenance, words)
    if is_marked(ds):
        of_contrasts = [name for name in ds.coords if name not in whole.coords]
        whole = marked_as_contrasts(whole.assign_coords({n: ds[n] for n in of_contrasts}))
    tokens = max(store.tokens_of(part.path) for part in parts)
    shape = store.shape_of(source)
    if shape is None:
        raise DamagedError(f"{str(source)!r} is damaged: it does not say how large its blocks are.")
    store.lay_out(target, whole, shape, tokens=tokens)


def _lay_out_group(target: Path, source: Path, provenance: dict[str, Any]) -> None:
    """Copy a group but for its scores, with another record of provenance."""
    folder = CheckedFolder(source)
    if folder.record is None:
        raise DamagedError(f"{str(source / RECORD)!r} is missing. Score the shard again.")
    files = {key: (source / key).read_bytes() for key in folder.record.metadata}
    files |= {key: folder.read(key) or b"" for key in folder.record.sums if key != MARK}
    attrs = store.attrs_of(source) | {"provenance": json.dumps(provenance, sort_keys=True)}
    files[".zattrs"] = json.dumps(attrs, indent=2).encode()
    commit(target, files, seen=False)
