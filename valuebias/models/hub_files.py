"""Where files lie, on this machine or on the hub, and which model each file of log-probs is of."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_installed, check_known
from valuebias._core.fetch import cache_folder
from valuebias._core.foreign import read_json
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.models.hub import asked, is_commit
from valuebias.schema.contract import check_unique

__all__ = ["FileRef", "HubFile", "fetched", "file_refs", "hub_files", "is_reference"]

_Path = str | os.PathLike[str]

# A pathlib.Path has lost one of the slashes.
_PREFIX = re.compile(r"hf:/+")
_REFERENCE = re.compile(r"hf:/+datasets/([\w.-]+/[\w.-]+?)(?:@([^/@]*))?(?:/(.*))?")
_FORM = "hf://datasets/<owner>/<name>@<revision>"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a dataset on the hub, in a state that cannot change."""

    repository: str  # owner and name of the dataset
    commit: str  # 40 hexadecimal digits
    name: str  # the file's path in it

    def __str__(self) -> str:
        """Give the reference that stands for the file."""
        return f"hf://datasets/{self.repository}@{self.commit}/{self.name}"


FileRef = Path | HubFile


def is_reference(path: _Path) -> bool:
    """Tell whether a path names something on the hub.

    Examples
    --------
    >>> is_reference("hf://datasets/owner/name"), is_reference("folder/")
    (True, False)
    """
    return _PREFIX.match(os.fspath(path)) is not None


def file_refs(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path],
    known: Collection[str],
    *,
    download: bool,
) -> dict[str, FileRef]:
    """Find the file of each model."""
    if isinstance(paths, Mapping):
        for name in paths:
            check_known(name, known, f"The model {name!r} is not described. Add it to models=.")
        return {name: _single(path) for name, path in paths.items()}
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    listed = _listed(given[0], download=download) if len(given) == 1 else map(_single, given)
    files = list(listed)
    names = [_model_of(Path(file.name), known) for file in files]
    check_unique(names, "model")
    return dict(zip(names, files, strict=True))


def hub_files(path: _Path, *, suffixes: tuple[str, ...], download: bool) -> list[HubFile]:
    """List the files of a dataset on the hub, or of a folder in it; a file stands for itself."""
    repository, commit, name = _parsed(path)
    if name.lower().endswith(suffixes):
        return [HubFile(repository, commit, name)]
    inside = f"{name.rstrip('/')}/" if name else ""
    names = [
        entry
        for entry in _names_there(repository, commit, download=download)
        if entry.lower().endswith(suffixes) and entry.startswith(inside)
    ]
    if not names:
        raise ValueBiasError(
            f"The dataset {repository!r} has no {' or '.join(suffixes)} file"
            f"{f' in {name!r}' if name else ''} at {commit}. Check the name and the revision."
        )
    return [HubFile(repository, commit, entry) for entry in sorted(names)]


def fetched(file: FileRef, *, download: bool) -> Path:
    """Give the path of a file on this machine."""
    if not isinstance(file, HubFile):
        return file
    check_installed("huggingface_hub", extra="hub", before=f"{str(file)!r} is on the hub, and ")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def ask(*, local: bool) -> Path:
        return Path(
            hf_hub_download(
                file.repository,
                file.name,
                repo_type="dataset",
                revision=file.commit,
                local_files_only=local,
            )
        )

    def ask_hub() -> Path | None:
        try:
            return ask(local=False)
        except LocalEntryNotFoundError:  # which is one of the next kind, and means no network
            raise
        except EntryNotFoundError:
            return None

    try:
        return ask(local=True)
    except LocalEntryNotFoundError as error:
        if not download:
            raise ValueBiasError(
                f"{str(file)!r} is not in the hub's local cache, and nothing may be downloaded. "
                "Give download=True, or a local folder."
            ) from error
    noun = f"The file {file.name!r} of the dataset {file.repository!r}"
    path = asked(ask_hub, file.repository, file.commit, noun=noun, or_local=False)
    if path is None:
        raise ValueBiasError(
            f"The dataset {file.repository!r} has no file {file.name!r} at {file.commit}. "
            "Check its name and the revision."
        )
    return path


def _single(path: _Path) -> FileRef:
    """Take a path for that of one file."""
    if not is_reference(path):
        return Path(path)
    repository, commit, name = _parsed(path)
    if not name.lower().endswith(".csv"):
        raise ValueBiasError(
            f"{os.fspath(path)!r} names a whole dataset; expected one of its files, "
            f"{_FORM}/<file>.csv, in a mapping or where there are several paths."
        )
    return HubFile(repository, commit, name)


def _listed(path: _Path, *, download: bool) -> list[FileRef]:
    """List the CSV files of a folder or a dataset; a file stands for itself."""
    if is_reference(path):
        return [*hub_files(path, suffixes=(".csv",), download=download)]
    if not os.path.isdir(path):
        return [Path(path)]
    files: list[FileRef] = [*sorted(Path(path).glob("*.csv"))]
    if not files:
        raise ValueBiasError(f"The folder {os.fspath(path)!r} has no .csv file.")
    return files


def _parsed(path: _Path) -> tuple[str, str, str]:
    text = os.fspath(path)
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValueBiasError(
            f"{text!r} names no dataset on the hub; expected {_FORM}, and after it perhaps "
            "/<file> or /<folder>."
        )
    repository, revision, name = match[1], match[2], match[3] or ""
    if not {"", ".", ".."}.isdisjoint(f"{repository}/{name or '_'}".rstrip("/").split("/")):
        raise ValueBiasError(
            f"{text!r} names a file by '.', '..' or nothing between two slashes; expected its path "
            "in the dataset."
        )
    if not is_commit(revision):
        description = (
            "no revision" if not revision else f"the revision {revision!r}, which can change"
        )
        raise ValueBiasError(
            f"{text!r} has {description}. Give the commit, {_FORM} with 40 hexadecimal digits; it "
            f"stands beside each entry of https://huggingface.co/datasets/{repository}/commits/main."
        )
    return repository, revision, name


def _names_there(repository: str, commit: str, *, download: bool) -> list[str]:
    """Name the files of a dataset. What a commit has cannot change, so the answer is kept."""
    kept = cache_folder() / "hub" / f"{repository.replace('/', '--')}@{commit}.json"
    if kept.is_file():
        try:
            names = read_json(kept, advice="")
        except ValueBiasError:
            names = None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
        kept.unlink()
    if not download:
        raise ValueBiasError(
            f"What files the dataset {repository!r} has is not known here, and nothing may be "
            "downloaded. Give download=True, the files one by one, or a local folder."
        )
    before = f"'hf://datasets/{repository}' is on the hub, and "
    check_installed("huggingface_hub", extra="hub", before=before)
    from huggingface_hub import list_repo_files

    noun = f"The dataset {repository!r}"
    names = asked(
        lambda: list_repo_files(repository, revision=commit, repo_type="dataset"),
        repository,
        commit,
        noun=noun,
        or_local=False,
    )
    with atomic_path(kept) as part:
        part.write_text(json.dumps(sorted(names)), encoding="utf-8")
    return list(names)


def _model_of(path: Path, known: Collection[str]) -> str:
    def plain(text: str) -> str:
        return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")

    stem = f"-{plain(path.stem)}-"
    # The longest, because an instruct model's name often begins with its base model's.
    matching = sorted((name for name in known if f"-{plain(name)}-" in stem), key=len)
    if not matching:
        matching = sorted(
            (name for name in known if f"-{plain(name.rpartition('/')[2])}-" in stem), key=len
        )
    if not matching:
        raise ValueBiasError(
            f"The name of {path.name!r} names no model that models= describes. Give a mapping of "
            f"model to file. {did_you_mean(path.stem, known)}"
        )
    return matching[-1]
