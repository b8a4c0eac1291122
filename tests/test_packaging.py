"""What is installed is what lies in the folders, and every public name is there."""

from __future__ import annotations

import importlib
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import valuebias

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {
    "valuebias": ROOT / "valuebias",
    "valuebias.analysis": ROOT / "analysis",
    "valuebias.backends": ROOT / "backends",
}


def test_every_package_is_listed() -> None:
    found = {
        ".".join((name, *init.parent.relative_to(folder).parts))
        for name, folder in FOLDERS.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == found


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_every_file_is_installed(name: str) -> None:
    installed = Path(str(importlib.import_module(name).__file__)).parent
    for path in FOLDERS[name].rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            assert (installed / path.relative_to(FOLDERS[name])).is_file(), path


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert valuebias.__version__ == SETTINGS["project"]["version"]
    assert valuebias.__version__ == metadata.version("valuebias")
    assert citation.count(f"version: {valuebias.__version__}\n") == 2


@pytest.mark.parametrize("package", ["valuebias", "valuebias.analysis"])
def test_every_public_name_resolves(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="fitt"):
        valuebias.fitt  # noqa: B018


def test_nothing_is_imported_by_its_bare_folder_name() -> None:
    for name in ("analysis", "backends"):
        with pytest.raises(metadata.PackageNotFoundError):
            metadata.version(name)
        assert importlib.import_module(f"valuebias.{name}").__name__ == f"valuebias.{name}"
