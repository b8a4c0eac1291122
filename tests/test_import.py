"""Importing the package, and asking the command line for help, loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "arviz",
    "formulaic",
    "h5py",
    "jinja2",
    "matplotlib",
    "numba",
    "nutpie",
    "onnxruntime",
    "pandas",
    "pooch",
    "pyarrow",
    "pymc",
    "pytensor",
    "scipy",
    "statsmodels",
    "torch",
    "transformers",
    "xarray",
    "zarr",
}


def loaded_by(code: str, folder: Path) -> set[str]:
    """Names of the top-level modules that a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import valuebias",
        "import valuebias; dir(valuebias); valuebias.__version__",
        "import valuebias.analysis, valuebias.backends, valuebias.errors",
        "import valuebias.cli",
    ],
)
def test_import_is_light(code: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded_by(code, tmp_path)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["--version"], ["data", "-h"]]
)
def test_help_is_light(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from valuebias.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert not HEAVY & loaded_by(code, tmp_path)


@pytest.mark.parametrize("name", ["validate", "prompts", "lexicon", "read"])
def test_data_tools_load_no_sampler(name: str, tmp_path: Path) -> None:
    loaded = loaded_by(f"import valuebias; valuebias.{name}", tmp_path)
    assert "valuebias" in loaded
    assert not {"torch", "onnxruntime", "pymc", "matplotlib"} & loaded
