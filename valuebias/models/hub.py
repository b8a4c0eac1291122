"""Find a model's files: on this machine, or on the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from valuebias._core.checks import check_installed
from valuebias.backends.gguf.files import first_part, split_names
from valuebias.errors import ValueBiasError
from valuebias.models.spec import path_of
from valuebias.models.weights import INDEX, SINGLE, check_has, listed

__all__ = [
    "Checkpoint",
    "NotHere",
    "asked",
    "fetch_adapter",
    "fetch_weights",
    "is_commit",
    "locate",
    "locate_adapter",
]

T = TypeVar("T")


class NotHere(ValueBiasError):
    """A model's files are on the hub and not here: what they would say is not known."""


_HUB = re.compile(r"([\w.-]+/[\w.-]+|[\w.-]+)(?:/(.+\.(?:gguf|onnx)))?", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# The card, because it says what the model was trained from.
_SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "README.md")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_NOT = ("original/*", "*.bin.index.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model's files lie."""

    folder: Path  # the folder
    # The GGUF or ONNX file inside it that was asked for, or is the only one; of a GGUF file that
    # was split, the first part.
    file: str | None = None
    repository: str | None = None  # the hub id, where it came from the hub
    commit: str | None = None  # and the commit


def is_commit(revision: str | None) -> bool:
    """Say whether a revision is a commit, which cannot change, and not a branch or a tag."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def locate(
    source: str, *, revision: str | None, name: str, download: bool, code: bool = False
) -> Checkpoint:
    """Find a model; of one on the hub, download everything but the weights."""
    path = path_of(source)
    if os.path.isfile(path):
        if path.suffix.lower() not in (".gguf", ".onnx"):
            raise ValueBiasError(
                f"The model {name!r} is the file {source!r}; expected a .gguf or .onnx file, or a "
                "folder."
            )
        return _file_in_folder(path.resolve())
    if os.path.isdir(path):
        folder = path.resolve()
        return Checkpoint(folder, _only_file(folder))
    plain = {"", ".", ".."}.isdisjoint(source.split("/")) and not source.startswith("~")
    match = _HUB.fullmatch(source) if plain else None
    if match is None:
        raise ValueBiasError(
            f"The model {name!r} is not there: {source!r} is no folder, no file and no hub id "
            "(owner/name). Check the path."
        )
    repository, file = match.group(1), match.group(2)
    file = None if file is None else split_names(file)[0]
    if code and not is_commit(revision):
        raise ValueBiasError(
            f"The model {name!r} has trust_remote_code, but revision={revision!r} does not pin the "
            "code. Give the commit that you have read: its 40 hexadecimal digits."
        )
    wanted = [*_SMALL, *(["*.py"] if code else [])]

    def is_complete(folder: Path) -> bool:
        if file is not None and (folder / file).is_file():
            return True
        # An adapter alone: its weights come only when it is known that there is no model beside.
        if all((folder / entry).is_file() for entry in _ADAPTER):
            return True
        needed = [("config.json",), _TOKENIZERS, *([("*.py",)] if code else [])]
        return all(any(any(folder.glob(p)) for p in patterns) for patterns in needed)

    folder = _snapshot(
        repository, revision, name, patterns=wanted, download=download, is_complete=is_complete
    )
    return Checkpoint(folder, file, repository, folder.name if is_commit(folder.name) else None)


def locate_adapter(source: str, *, revision: str | None, name: str, download: bool) -> Checkpoint:
    """Find an adapter that is named beside its base."""
    path = path_of(source)
    config, _ = _ADAPTER
    if os.path.exists(path):
        folder = path.resolve()
        if not os.path.isfile(folder / config):
            raise ValueBiasError(
                f"The adapter {source!r} of the model {name!r} has no {config}; expected a folder "
                "as save_pretrained of peft writes it. Check the path."
            )
        return Checkpoint(folder)
    match = _HUB.fullmatch(source)
    plain = {"", ".", ".."}.isdisjoint(source.split("/")) and not source.startswith("~")
    if match is None or match.group(2) is not None or not plain:
        raise ValueBiasError(
            f"The adapter of the model {name!r} is not there: {source!r} is no folder and no hub "
            "id (owner/name). Check the path."
        )
    folder = _snapshot(
        source, revision, name, patterns=_SMALL, download=download,
        is_complete=lambda folder: (folder / config).is_file(),
    )  # fmt: skip
    if not (folder / config).is_file():
        raise ValueBiasError(
            f"The hub's repository {source!r}, the adapter of the model {name!r}, has no {config}. "
            "Check its name and the revision."
        )
    return Checkpoint(folder, None, source, folder.name if is_commit(folder.name) else None)


def fetch_adapter(checkpoint: Checkpoint, *, name: str, download: bool) -> None:
    """Download the weights of an adapter on the hub."""
    _, file = _ADAPTER
    if checkpoint.repository is not None:
        _snapshot(
            checkpoint.repository, checkpoint.commit, name, patterns=[file], download=download,
            is_complete=lambda folder: (folder / file).is_file(),
        )  # fmt: skip


def fetch_weights(checkpoint: Checkpoint, *, name: str, download: bool) -> Checkpoint:
    """Download the weights of a model on the hub, only those that are needed."""
    if checkpoint.repository is None:
        return checkpoint
    file = checkpoint.file
    wanted = [file, *_companions(file)] if file is not None else listed(checkpoint.folder, name)
    certain = [entry for entry in wanted if "*" not in entry]

    def is_complete(folder: Path) -> bool:
        return all((folder / entry).is_file() for entry in certain)

    if is_complete(checkpoint.folder):
        return checkpoint
    if download and wanted == [SINGLE]:
        from huggingface_hub import list_repo_files

        repository, commit, noun = checkpoint.repository, checkpoint.commit, f"The model {name!r}"
        listing = partial(list_repo_files, repository, revision=commit)
        names = sorted(asked(listing, repository, commit, noun=noun, or_local=True))
        if SINGLE not in names:
            check_has(names, f"hub: {repository}", name)
    _snapshot(
        checkpoint.repository,
        checkpoint.commit,
        name,
        patterns=wanted,
        download=download,
        is_complete=is_complete,
    )
    for entry in certain:
        if not (checkpoint.folder / entry).is_file():
            raise ValueBiasError(
                f"The hub's repository {checkpoint.repository!r} has no file {entry!r}, which the "
                f"model {name!r} needs. Check its name and the revision."
            )
    return checkpoint


def _companions(file: str) -> list[str]:
    """Name the files that hold an ONNX file's weights beside it, or the parts of a GGUF file."""
    if file.lower().endswith(".gguf"):
        return split_names(file)[1:]
    return [f"{file}.data", f"{file}_data*"] if file.lower().endswith(".onnx") else []


def _file_in_folder(path: Path) -> Checkpoint:
    """Find the folder with the configuration: standard ONNX repositories have it one higher."""
    path = first_part(path)
    upper = path.parent.parent
    if not (path.parent / "config.json").is_file() and (upper / "config.json").is_file():
        return Checkpoint(upper, path.relative_to(upper).as_posix())
    return Checkpoint(path.parent, path.name)


def _only_file(folder: Path) -> str | None:
    """Find the one GGUF or ONNX file of a folder that has no safetensors."""
    if (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        return None
    for pattern in ("*.gguf", "*.onnx", "onnx/model.onnx"):
        files = sorted({first_part(path) for path in folder.glob(pattern)})
        if len(files) == 1:
            return files[0].relative_to(folder).as_posix()
    return None


def _snapshot(
    repository: str,
    revision: str | None,
    name: str,
    *,
    patterns: Sequence[str],
    download: bool,
    is_complete: Callable[[Path], bool],
) -> Path:
    """Give the local folder of a repository, in which files of these patterns are."""
    before = f"The model {name!r} is on the hub, and "
    check_installed("huggingface_hub", extra="torch", before=before)
    from huggingface_hub import errors, snapshot_download

    def ask(*, local: bool) -> Path:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(_NOT),
                local_files_only=local,
            )
        )

    # The cache first: what has been downloaded once needs no network and does not change. But
    # what lies there may be the rest of a download that was broken off.
    with suppress(errors.LocalEntryNotFoundError):
        try:
            folder = ask(local=True)
        except errors.HFValidationError as error:
            raise ValueBiasError(f"{repository!r} is no hub id: {error}.") from error
        if is_complete(folder):
            return folder
    if not download:
        raise NotHere(
            f"The model {name!r} ({repository!r}, revision {revision or 'main'!r}) is not complete "
            "in the local cache, and nothing may be downloaded."
        )
    return asked(
        lambda: ask(local=False), repository, revision, noun=f"The model {name!r}", or_local=True
    )


def asked(
    ask: Callable[[], T], repository: str, revision: str | None, *, noun: str, or_local: bool
) -> T:
    """Ask the hub, and say clearly what went wrong."""
    from huggingface_hub import errors

    not_here = " is no folder or file here," if or_local else ""
    try:
        return ask()
    except errors.GatedRepoError as error:
        raise ValueBiasError(
            f"{noun}: the repository {repository!r} is gated. Accept its conditions on its page, "
            "and log in: hf auth login."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ValueBiasError(
            f"{noun}: the repository {repository!r} has no revision {revision!r}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        not_local = f"{not_here} and" if or_local else ":"
        raise ValueBiasError(
            f"{noun} is not there: {repository!r}{not_local} the hub has no such repository, or it "
            "is private. Check its spelling, or log in: hf auth login."
        ) from error
    # What can go wrong on the way depends on the HTTP library, which the hub's has changed before.
    except Exception as error:
        absent = isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled)
        if absent and not isinstance(error.__cause__, errors.HfHubHTTPError):
            raise ValueBiasError(
                f"{noun}: {repository!r}{not_here} is not in the local cache, and the hub cannot "
                f"be reached ({type(error).__name__}). Without a network, give a local folder."
            ) from error
        answered = isinstance(error.__cause__ or error, errors.HfHubHTTPError)
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ValueBiasError(
            f"{noun}: {repository!r} cannot be downloaded ({reason}). What has arrived is kept, so "
            "try again once the cause is gone"
            f"{'.' if answered else ', or, without a network, give a local folder.'}"
        ) from error
