"""A backend of another package: built, installed by pip, found, used, and put to the suite.

The package is the one that docs/howto/write-a-backend.md shows, file by file.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

SUPPORT = Path(__file__).parents[1] / "support"
GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "write-a-backend.md"

# Looking pip up with find_spec would turn off setuptools' distutils, which PyTensor compiles with.
pytestmark = pytest.mark.skipif(
    not {"pip", "setuptools"} <= {found.name for found in importlib.metadata.distributions()},
    reason="building a package needs setuptools and pip",
)
needs_torch = pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package of the guide into a folder of its own."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(SUPPORT / "naive_backend.py", project)
    shutil.copy(SUPPORT / "naive_plugin.toml", project / "pyproject.toml")
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, project], check=True)
    return target


def python(installed: Path, *arguments: object, folder: Path) -> str:
    """Run Python where the package is installed, with warnings as errors."""
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_it_is_listed(installed: Path, tmp_path: Path) -> None:
    code = "import valuebias; print(valuebias.backends.list_backends().to_json(orient='records'))"
    rows = {row["name"]: row for row in json.loads(python(installed, "-c", code, folder=tmp_path))}
    assert list(rows) == ["torch", "onnx", "optimum", "vllm", "naive"]
    assert rows["naive"]["package"] == "valuebias-naive"
    assert rows["naive"]["kinds"] == "reward, logprob"
    assert rows["naive"]["packed"] is False
    assert rows["naive"]["available"] is (tiny_models.missing() is None)


def test_it_is_not_there_without_the_package(tmp_path: Path) -> None:
    code = "import valuebias; print(*valuebias.backends.backend_names())"
    assert python(tmp_path, "-c", code, folder=tmp_path).split() == [
        "torch",
        "onnx",
        "optimum",
        "vllm",
    ]


@needs_torch
def test_it_scores(installed: Path, tmp_path: Path) -> None:
    tiny_models.tiny("llama", "reward", tmp_path / "model")
    code = (
        "import json, valuebias\n"
        "scores = valuebias.score('model', prompts='superlatives', lexicon=['love', 'power'], "
        "backend='naive', progress=False)\n"
        "made = json.loads(scores.attrs['provenance'])['models'][0]['settings']\n"
        "print(made['backend'], *scores['score'].values.ravel())\n"
    )
    backend, *scores = python(installed, "-c", code, folder=tmp_path).split()
    assert backend == "naive"
    assert len(scores) == len(set(scores)) == 54 * 2


@needs_torch
@pytest.mark.slow
def test_it_passes_the_suite(installed: Path, tmp_path: Path) -> None:
    shutil.copy(SUPPORT / "naive_plugin_tests.py", tmp_path / "test_naive.py")
    out = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".", folder=tmp_path)
    assert "passed" in out
    assert "skipped" not in out


def test_the_guide_shows_these_files() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for name in ("naive_backend.py", "naive_plugin.toml", "naive_plugin_tests.py"):
        assert f"{{literalinclude}} ../../tests/support/{name}\n" in text
    lines = (SUPPORT / "naive_backend.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 50
