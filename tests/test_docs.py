"""The examples in the docstrings run, and whatever users reach is documented in full."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import xarray as xr
from numpydoc.validate import validate

import valuebias
from valuebias.analysis.design.grammar import FUNCTIONS
from valuebias.backends import base

ROOT = Path(__file__).parents[1]
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


def pages() -> dict[str, str]:
    """What users read, by path: pages as they are, of notebooks text and code."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[str(path.relative_to(ROOT))] = "\n".join("".join(c["source"]) for c in cells)
    return {name: text for name, text in found.items() if "_build" not in name}


def has(value: object, dotted: str) -> bool:
    """Whether a name leads somewhere; a field of a dataclass is none of its class."""
    for name in dotted.split("."):
        fields = getattr(value, "__dataclass_fields__", {})
        if name in fields:
            return True
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


@pytest.fixture(scope="module")
def a_fit(simulated: xr.Dataset) -> valuebias.Fit:
    fit = valuebias.fit(simulated, draws=50, tune=50, chains=1, seed=1, progress=False)
    assert isinstance(fit, valuebias.Fit)
    return fit


@pytest.mark.parametrize("page", pages())
def test_what_a_page_calls_exists(page: str, a_fit: valuebias.Fit) -> None:
    text = pages()[page]
    results = (a_fit, valuebias.AblationFit)
    public = [getattr(valuebias, name) for name in valuebias.__all__]
    holders = [
        valuebias,
        base.Backend,
        base.LoadedModel,
        *(v for v in public if inspect.isclass(v) or isinstance(v, ModuleType)),
    ]
    wrong = {
        f"fit.{name}"
        for name in re.findall(r"(?<![\w.])fit\.([a-z]\w*)", text)
        # Files of this name, and code of R's.
        if name not in ("nc", "zarr", "md", "yaml", "html")
        and not any(has(r, name) for r in results)
    }
    wrong |= {
        f"valuebias.{name}"
        for name in re.findall(r"(?<![\w./-])valuebias\.([A-Za-z][\w.]*\w)", text)
        if not has(valuebias, name) and not importlib.util.find_spec(f"valuebias.{name}")
    }
    for call in re.findall(r"`([A-Za-z]\w*)\([^`\n]*\)`", text):
        known = any(has(holder, call) for holder in holders) or call in FUNCTIONS
        wrong |= set() if known else {f"{call}()"}
    assert not wrong, f"{page} names what is not there: {sorted(wrong)}"
