"""The examples in the docstrings run, and whatever users reach is documented in full."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest
from numpydoc.validate import validate

import valuebias

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# Optional in numpydoc: an extended summary, See Also, the form of a summary, and a capital where a
# description starts with a type ("bool, shape (word, category)").
OPTIONAL = {"ES01", "SA01", "SA04", "SS05", "SS06", "PR08", "RT04"}
# What the modules of the inference backends may import at their top.
EXTRAS = {"distributed", "torch", "transformers", "onnx", "onnxruntime"}
# The modules whose examples train a model.
TRAINING = {"valuebias.lab.models"}


def module_names() -> list[str]:
    """Every module; analysis and backends are not found on the path of valuebias itself."""
    names = {"valuebias"}
    for root in ("valuebias", "valuebias.analysis", "valuebias.backends"):
        names.add(root)
        path = importlib.import_module(root).__path__
        names |= {found.name for found in pkgutil.walk_packages(path, f"{root}.")}
    return sorted(names)


def public_objects() -> dict[str, set[str]]:
    """What users reach from the top, by name, with what numpydoc need not find there."""
    found: dict[str, set[str]] = {}
    for name in valuebias.__all__:
        value = getattr(valuebias, name)
        if isinstance(value, ModuleType):
            for entry in exported(value):
                found |= with_methods(f"{value.__name__}.{entry}", getattr(value, entry))
        elif callable(value):
            found |= with_methods(f"valuebias.{name}", value)
    return found


def with_methods(name: str, value: object) -> dict[str, set[str]]:
    if not inspect.isclass(value):
        return {name: OPTIONAL}
    # A dataclass lists its fields as attributes; a method is shown at work in its class's example.
    found = {name: OPTIONAL | {"PR01"} if dataclasses.is_dataclass(value) else OPTIONAL}
    for key, method in inspect.getmembers(value, inspect.isfunction):
        if is_own(key, method):
            found[f"{name}.{key}"] = OPTIONAL | {"EX01"}
    return found


def exported(module: ModuleType) -> list[str]:
    return [
        name
        for name in getattr(module, "__all__", [])
        if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
    ]


def is_own(name: str, method: object) -> bool:
    module = getattr(method, "__module__", "")
    # What a posterior stands on: its methods serve the package, and the site leaves them out.
    if str(method.__qualname__).startswith("Draws."):  # type: ignore[attr-defined]
        return False
    return not name.startswith("_") and str(module).startswith("valuebias")


@pytest.mark.parametrize("name", module_names())
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    if name in TRAINING and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


def test_public_names_are_documented_in_full() -> None:
    faults = [
        f"{name}: {code} {text}"
        for name, optional in public_objects().items()
        for code, text in validate(name)["errors"]
        if code not in optional
    ]
    assert not faults, "\n".join(faults)
