"""Stores of scores that are filled block by block: make, check, extend and read them.

A store of a lexicon's scores is what :func:`valuebias.write` makes of a dataset, with NaN for what
is not yet scored. A store of whole vocabularies, which differ from model to model, has one such
group a model. The provenance says what the scores were made with, and so what may be added to them.

Nothing is written before the store is locked (:func:`locked`). What it is, its record says, which
is replaced in one step; files that differ from it, as after a kill, are brought up to it.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.atomic import clear_leftovers, restore
from valuebias._core.disk import explain_os_errors, write_bytes
from valuebias._core.folder_names import check_apart, folder_of
from valuebias._core.locks import only_one
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias._core.provenance import record
from valuebias._core.summed_zarr import commit, damage, files_of, note, open_checked
from valuebias._core.sums import SUM, DamagedError, json_sum, sealed
from valuebias._core.text import without_nul
from valuebias._core.zarr_records import RECORD, metadata_of
from valuebias.errors import ValueBiasError, ValueBiasWarning, few, shown
from valuebias.io.files import escape_texts, unescape_texts
from valuebias.schema.building import assemble
from valuebias.schema.contract import KINDS, SCHEMA
from valuebias.schema.contrast_scores import contrast_coords, marked_as_contrasts
from valuebias.schema.verdicts import verdict_coords
from valuebias.scoring.model_scores import TOKENS, ModelScores
from valuebias.scoring.request import ScoringRequest, block_shape
from valuebias.scoring.sharing import Share, check_same_shard

__all__ = [
    "LAZY",
    "Entry",
    "Frame",
    "about",
    "attrs_of",
    "begun",
    "differing",
    "groups_of",
    "laid_out",
    "laid_out_group",
    "lay_out",
    "locked",
    "note_run",
    "open_group",
    "open_store",
    "provenance_of",
    "root_attrs",
    "shape_of",
    "tokens_of",
    "write_root",
]

LAZY = ("score", "token_logprob")
"""Arrays of a store of whole vocabularies that are read in parts."""

_BY = "valuebias.score"
_PLURALS = ("prompts", "weights", "weights of the reference")
_SHA256 = re.compile("[0-9a-f]{64}")
_LOCK = ".zgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a store says of a model."""

    name: str  # its label
    source: str  # where it came from
    coords: Mapping[str, Any]  # its coords: family, base, stage, n_params and so on
    settings: Mapping[str, Any]  # what its scores depend on: revision, hashes, head and so on
    stated: tuple[str, ...] = ()  # which coords the user gave; the others are what its files say
    base_said_by: str = ""  # what names its base
    read_said_by: str = ""  # what decided at which token its rewards are read
    # How many tokens each word has; None where the responses are tokens.
    n_tokens: tuple[int, ...] | None = None


def open_store(
    path: Path, request: ScoringRequest, entries: Sequence[Entry]
) -> dict[str, ModelScores]:
    """Open a store for a request: make it, or check that it was made alike and add new models."""
    clear_leftovers(path)
    recorded = _recorded(path, request)
    if recorded is None:
        recorded = begun(request)
    _check_same(path, recorded["scoring"]["settings"], request.settings(), "")
    check_same_shard(path, Share.recorded(recorded), request.share)
    if request.words is not None and not entries:
        # Nothing falls to this shard.
        write_root(path, request, {**recorded, "models": []})
        return {}
    if request.words is None:
        recorded["groups"] = _present_groups(path, recorded)
        write_root(path, request, recorded)
        return {}
    models = recorded.setdefault("models", [])
    stored = {entry["name"]: entry for entry in models}
    for entry in entries:
        if entry.name in stored:
            _check_same(path, stored[entry.name]["settings"], entry.settings, entry.name)
            _describe(stored[entry.name], entry)
    models += [about(entry) for entry in entries if entry.name not in stored]
    shape = shape_of(path) or block_shape(request, len(request.words))
    tokens = tokens_of(path) or request.n_token_scores
    lay_out(path, laid_out(request, recorded, request.words), shape, tokens=tokens)
    rows = {entry["name"]: row for row, entry in enumerate(models)}
    return {entry.name: ModelScores(path, rows[entry.name]) for entry in entries}


def begun(request: ScoringRequest) -> dict[str, Any]:
    """Say of the scores of a request, before there are any, what they are made with."""
    about = None if request.lexicon is None else request.lexicon.about()
    scoring = {
        "settings": request.settings(),
        "prompts": {"name": request.prompts.name, "citation": request.prompts.citation},
        "lexicon": about,
    }
    details: dict[str, Any] = {"by": _BY, "scoring": scoring}
    if request.judge is not None:
        scoring["judge"] = request.judge.about()
    if request.contrasts is not None:
        contrasts = request.contrasts
        scoring["contrast set"] = {
            "name": contrasts.name,
            "citation": contrasts.citation,
            "about": dict(contrasts.about),
        }
    if request.share is not None:
        details["shard"] = request.share.record()
    # Through JSON and back, so that it compares equal with what is read from a store.
    return dict(json.loads(json.dumps(record(details=details))))


def open_group(
    path: Path, request: ScoringRequest, entry: Entry, vocabulary: pd.DataFrame
) -> ModelScores:
    """Open one model's group in a store of whole vocabularies; make it if it is not there."""
    texts = _without_nul(vocabulary["text"])
    root = provenance_of(path)
    groups = root.get("groups", [])
    folder = path / _group(entry.name, groups)
    details = {name: root[name] for name in root if name != "groups"}
    details |= {"models": [about(entry)]}
    listed = folder.name in groups
    if listed:
        clear_leftovers(folder)
        details = provenance_of(folder)
        stored = details["models"][0]
        if stored["name"] != entry.name:
            raise ValueBiasError(
                f"The store {str(path)!r} keeps the model {shown(stored['name'])} in the folder "
                f"{folder.name!r}, where {shown(entry.name)} would be. Rename one, or choose "
                "another store."
            )
        _check_same(path, stored["settings"], entry.settings, entry.name)
        try:
            damaged = damage(folder)
        except DamagedError as error:
            damaged = [str(error)]
        if not damaged:
            _check_same_texts(folder, texts, entry.name)
        described = _describe(stored, entry)
        if not described and not damaged and (folder / RECORD).exists():
            return ModelScores(folder, 0)
    else:
        check_apart([entry.name], "model", beside=groups)
    if not listed and folder.exists():
        # A kill left it, before it was listed and so before anything in it was scored.
        with explain_os_errors(folder):
            shutil.rmtree(folder)
    ds = laid_out_group(request, details, vocabulary)
    shape = (shape_of(folder) if listed else None) or block_shape(request, len(vocabulary))
    lay_out(folder, ds, shape, seen=listed)
    if not listed:
        write_root(path, request, {**root, "groups": [*groups, folder.name]})
    return ModelScores(folder, 0)


def _without_nul(texts: pd.Series[Any]) -> list[str]:
    listed: list[str] = texts.tolist()
    # All are looked through at once, because hardly ever is there any.
    if "\0" not in "".join(listed):
        return listed
    return [without_nul(text) if "\0" in text else text for text in listed]


def _group(name: str, listed: Sequence[str]) -> str:
    """Name a model's group: as it is in the store, or of earlier versions was, else safely."""
    earlier = name.replace("/", "--")
    return earlier if earlier in listed else folder_of(name)


def note_run(path: Path, name: str, run: Mapping[str, Any]) -> None:
    """Write down with what a model's scores are computed, unless the store says so already."""
    recorded = provenance_of(path)
    entry = next(entry for entry in recorded["models"] if entry["name"] == name)
    for earlier in entry["runs"]:
        _check_same(path, {"dtype": earlier["dtype"]}, {"dtype": run["dtype"]}, name)
    if run not in entry["runs"]:
        entry["runs"].append(dict(run))
        provenance = json.dumps(recorded, sort_keys=True)
        note(path, ".zattrs", attrs_of(path) | {"provenance": provenance})


@contextmanager
def locked(path: Path, request: ScoringRequest, entries: Sequence[Entry]) -> Iterator[None]:
    """Keep a store to this process while the block runs; the system ends that if it is killed."""
    if request.words is None:
        check_apart([entry.name for entry in entries], "model")
    if restore(path) and not (path.is_dir() and _is_begun(path)):
        # Raises, unless it is ours.
        _recorded(path, request)
    with only_one(path / _LOCK, noun=repr(str(path)), instead="another store"):
        yield


def _is_begun(path: Path) -> bool:
    """Tell whether a folder has nothing in it but what a kill leaves of a store's first moment."""
    return all(entry.name == _LOCK or entry.name.endswith(".part") for entry in path.iterdir())


def _recorded(path: Path, request: ScoringRequest) -> dict[str, Any] | None:
    """Find out what a store was made with; None where there is none yet."""
    if not path.exists() or (path.is_dir() and _is_begun(path)):
        return None
    try:
        return provenance_of(path)
    except ValueBiasError:
        # Of whole vocabularies: each group says it again.
        for folder in sorted(path.iterdir()) if path.is_dir() else ():
            if request.words is None and (folder / "score").is_dir():
                recorded = provenance_of(folder)
                del recorded["models"]
                _warn_damaged(path, [".zattrs"])
                return recorded
        raise


def _present_groups(path: Path, recorded: Mapping[str, Any]) -> list[str]:
    """List the groups of a store; those of a store that is just begun are none."""
    if not path.exists() or _is_begun(path):
        return []
    names = groups_of(path) if recorded.get("groups") is None else _listed(path, recorded)
    _warn_damaged(path, [name for name in names if not (path / name).is_dir()])
    return [name for name in names if (path / name).is_dir()]


def root_attrs(request: ScoringRequest | Frame, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Give what scores of whole vocabularies say of themselves, beside those of each model."""
    attrs = {"schema": SCHEMA, "kind": request.kind, "units": KINDS[request.kind]}
    return attrs | {"provenance": json.dumps(recorded, sort_keys=True)}


def write_root(path: Path, request: ScoringRequest | Frame, recorded: Mapping[str, Any]) -> None:
    """Write what a store of whole vocabularies says of itself, unless it says so already."""
    attrs = root_attrs(request, recorded)
    for name, content in ((".zgroup", {"zarr_format": 2}), (".zattrs", sealed(attrs))):
        wanted = json.dumps(content, indent=2).encode()
        file = path / name
        if file.exists() and file.read_bytes() == wanted:
            continue
        if name == _LOCK:
            with explain_os_errors(file):
                file.write_bytes(wanted)
        else:
            write_bytes(file, wanted)


def groups_of(path: Path) -> list[str]:
    """List the folders of a store's models, by its record or, of earlier versions, as they lie."""
    recorded = provenance_of(path)
    if recorded.get("groups") is not None:
        return _listed(path, recorded)
    return sorted(
        entry.name
        for entry in path.iterdir()
        if (entry / "score").is_dir() and not entry.name.startswith(".")
    )


def _listed(path: Path, recorded: Mapping[str, Any]) -> list[str]:
    """Give the folders that a record names, none of which may lie elsewhere."""
    names = recorded["groups"]
    plain = isinstance(names, list) and all(
        isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
        for name in names
    )
    if not plain:
        raise DamagedError(
            f"{str(path / '.zattrs')!r} is damaged: it names groups that are no folders of the "
            f"store ({shown(names)}). Copy the store again from where it was made."
        )
    return list(names)


def _describe(stored: dict[str, Any], entry: Entry) -> bool:
    """Take over what is said of a model now; tell whether that changes what a store says.

    What the user gives goes before what the store says, and that before what files say.
    """
    before = json.dumps(stored, sort_keys=True)
    now = about(entry)
    given = {name: now["coords"][name] for name in entry.stated}
    coords = now["coords"] | stored["coords"] | given
    if coords.get("base") != stored["coords"].get("base"):
        stored["base_said_by"] = now["base_said_by"]
    stored["coords"] = coords
    stored.setdefault("n_tokens", now["n_tokens"])
    return json.dumps(stored, sort_keys=True) != before


def lay_out(
    path: Path, ds: xr.Dataset, shape: tuple[int, int], *, tokens: int = 0, seen: bool = True
) -> None:
    """Bring everything but the scores up to what a dataset without scores says.

    That makes a store, adds models, mends what is damaged, and finishes what a run that was killed
    in the middle of it began.
    """
    files = files_of(lambda store: _write(ds, store, shape, tokens=tokens))
    _warn_damaged(path, commit(path, files, seen=seen))


def _warn_damaged(path: Path, pieces: Sequence[str]) -> None:
    if pieces:
        warnings.warn(
            f"{str(path)!r} is damaged: {few(pieces)} did not hold what was written. Made again.",
            ValueBiasWarning,
            stacklevel=5,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What a store's layout needs of a request, as a store that is there has it."""

    kind: str
    prompts: pd.DataFrame  # one row per prompt
    lexicon: pd.DataFrame | None  # one row per word; None where words have no categories


def laid_out(
    request: ScoringRequest | Frame,
    provenance: Mapping[str, Any],
    responses: Sequence[str],
    scores: npt.NDArray[np.float32] | None = None,
) -> xr.Dataset:
    """Lay a dataset out, with scores of shape (model, prompt, response) or yet without any."""
    models = provenance["models"]
    if scores is None:
        shape = (len(models), len(request.prompts), len(responses))
        scores = np.broadcast_to(np.float32(np.nan), shape)
    table = pd.DataFrame([entry["coords"] for entry in models])
    counts = [entry["n_tokens"] for entry in models if entry.get("n_tokens")]
    words = None
    if counts:
        index = pd.Series(responses, dtype=object)
        words = pd.DataFrame({"n_tokens": np.mean(counts, axis=0)}).set_axis(index, axis=0)
    ds = assemble(
        scores,
        models=table.set_axis([entry["name"] for entry in models], axis=0),
        prompts=request.prompts,
        lexicon=request.lexicon,
        responses=responses,
        words=words,
        kind=request.kind,
        provenance=provenance,
    )
    if isinstance(request, ScoringRequest) and request.contrasts is not None:
        ds = marked_as_contrasts(ds.assign_coords(contrast_coords(request.contrasts)))
    said = provenance["scoring"].get("judge")
    return ds if said is None else ds.assign_coords(verdict_coords(said))


def laid_out_group(
    request: ScoringRequest,
    provenance: Mapping[str, Any],
    vocabulary: pd.DataFrame,
    scores: npt.NDArray[np.float32] | None = None,
) -> xr.Dataset:
    """Lay the dataset of a model's whole vocabulary out."""
    ds = laid_out(request, provenance, _without_nul(vocabulary["token"]), scores)
    return ds.assign_coords(
        token_id=("response", vocabulary["token_id"].to_numpy(dtype=np.int64)),
        decoded=("response", np.array(_without_nul(vocabulary["text"]), dtype="U")),
    )


def _write(ds: xr.Dataset, store: Any, shape: tuple[int, int], *, tokens: int = 0) -> None:
    """Write a dataset without scores, and with room for that many log-probs of a word's tokens.

    Chunks are not compressed: blocks are written as their bytes.
    """
    encoding: dict[str, Any] = {"score": {"chunks": (1, *shape), "compressors": None}}
    tokens = ds.sizes.get("token", tokens)  # of a judge's verdicts their names say it
    if tokens:
        per_token = np.broadcast_to(np.float32(np.nan), (*ds["score"].shape, tokens))
        ds = ds.assign(token_logprob=(("model", "prompt", "response", "token"), per_token))
        encoding["token_logprob"] = {"chunks": (1, *shape, TOKENS), "compressors": None}
    # Of a whole vocabulary Zarr would make dozens of chunks, and a file of each.
    encoding |= {str(name): {"chunks": c.shape} for name, c in ds.coords.items() if c.size}
    escape_texts(ds).to_zarr(store, zarr_format=2, consolidated=False, encoding=encoding)


def shape_of(path: Path) -> tuple[int, int] | None:
    """Give a block's prompts and responses in a store that is there."""
    try:
        _, prompts, responses = metadata_of(path, "score/.zarray")["chunks"]
        return int(prompts), int(responses)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tokens_of(path: Path) -> int:
    """Give how many tokens of a word a store has room for; 0 where it has none of them."""
    try:
        return int(metadata_of(path, "token_logprob/.zarray")["shape"][3])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def about(entry: Entry) -> dict[str, Any]:
    """Say what a store says of a model."""
    # Through JSON and back, so that it compares equal with what is read from a store.
    known = {name: value for name, value in asdict(entry).items() if name != "stated"}
    return dict(json.loads(json.dumps(known | {"runs": []})))


def provenance_of(path: Path) -> dict[str, Any]:
    """Read a store's provenance."""
    try:
        provenance = json.loads(attrs_of(path)["provenance"])
        if provenance["by"] == _BY:
            return dict(provenance)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DamagedError):
            raise
    raise ValueBiasError(
        f"{str(path)!r} is there already and was not made by valuebias.score; it is left as it "
        "is. Choose another store."
    )


def attrs_of(path: Path) -> dict[str, Any]:
    """Read the attributes of a store or of a group in it, and compare them with their sum."""
    try:
        attrs = metadata_of(path, ".zattrs")
        known = attrs.pop(SUM, None)
        right = known in (None, json_sum(attrs))
    except (ValueError, TypeError, RecursionError):
        right = False
    if not right:
        raise DamagedError(
            f"{str(path / '.zattrs')!r} is damaged: it does not say what was written. Run the same "
            "valuebias.score(...) again: it is made again, and nothing else."
        )
    return attrs


def _check_same(
    path: Path, recorded: Mapping[str, Any], expected: Mapping[str, Any], model: str
) -> None:
    other, difference = differing(recorded, expected)
    if other:
        whose = f" of the model {model!r}" if model else ""
        raise ValueBiasError(
            f"The store {str(path)!r} was made with {other}{whose}: {difference}. Scores made "
            "differently do not belong in one store: choose another, or score as that one was."
        )


def differing(recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[str, str]:
    """Name the first setting that is not as expected, and say how; empty where all are."""
    for key, value in json.loads(json.dumps(expected)).items():
        if recorded.get(key) != value:
            other = f"other {key}" if key in _PLURALS else f"another {key}"
            return other, _difference(recorded.get(key), value)
    return "", ""


def _difference(recorded: Any, expected: Any) -> str:
    """Say how settings differ; of files, which."""
    sums = [str(value) for value in (recorded, expected)]
    if all(_SHA256.fullmatch(value) for value in sums):
        return f"by checksum {sums[0][:8]}… there and {sums[1][:8]}… now"
    if not isinstance(expected, dict):
        return f"found {recorded!r}, expected {expected!r}"
    if not isinstance(recorded, dict):
        return "which files its code could read was not noted then"
    kinds = {
        "changed": [
            name for name in expected if name in recorded and recorded[name] != expected[name]
        ],
        "new": [name for name in expected if name not in recorded],
        "gone": [name for name in recorded if name not in expected],
    }
    said = "; ".join(f"{kind}: {few(names)}" for kind, names in kinds.items() if names)
    return f"of the files that its code is or may read, {said}"


def _check_same_texts(folder: Path, texts: Sequence[str], model: str) -> None:
    """Refuse a group in which tokens have other texts, such as those of an earlier version."""
    check_zarr(folder, lazily=LAZY)
    with open_checked(folder) as stored:
        stored_texts = (
            unescape_texts(stored[["decoded"]].drop_encoding())["decoded"].to_numpy().tolist()
        )
    if stored_texts != list(texts):
        differing = [(a, b) for a, b in zip(stored_texts, texts, strict=False) if a != b]
        one, other = (
            differing[0] if differing else (f"{len(stored_texts)} texts", f"{len(texts)} texts")
        )
        raise ValueBiasError(
            f"The store {str(folder.parent)!r} was made with other texts of {len(differing):,} "
            f"tokens of the model {model!r}: found {one!r}, expected {other!r}. Earlier versions "
            "left out the space that a SentencePiece token begins with, and texts are what models "
            "are joined on: score it again, in another store."
        )
