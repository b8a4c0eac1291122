"""What benchmarks, and the programs that they start, take from the package is where they look."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from earlier_build import unpack
from package_names import has, names_in, programs_in

import valuebias

HERE = Path(__file__).parent
SUPPORT = HERE / "support"
BENCHMARKS = {path.stem: path for path in sorted((HERE / "benchmarks").glob("*.py"))}
EARLIER = {
    name: found[1]
    for name, path in BENCHMARKS.items()
    if (found := re.search(r'^EARLIER = "(\w+)"$', path.read_text(encoding="utf-8"), re.MULTILINE))
}
BUILD = Path(valuebias.__file__).parent

pytestmark = pytest.mark.once


def lacking(programs: Iterable[str], build: Path, *, earlier: bool = False) -> set[str]:
    """Give the names that programs take from the package and a build has not."""
    names = {name for program in programs for name in names_in(program, earlier=earlier)}
    return {name for name in names if not has(build, name)}


def started(path: Path) -> Iterator[str]:
    """Give the programs that a benchmark starts, and the helpers that these begin with."""
    for program in list(programs_in(path.read_text(encoding="utf-8")))[1:]:
        yield program
        for node in ast.parse(program).body:
            helper = SUPPORT / f"{node.module}.py" if isinstance(node, ast.ImportFrom) else path
            if helper != path and helper.is_file():
                yield helper.read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["benchmarks", "support"])
def test_the_build_at_hand_has_every_name(folder: str) -> None:
    for path in sorted((HERE / folder).glob("*.py")):
        assert not lacking(programs_in(path.read_text(encoding="utf-8")), BUILD), path.name


@pytest.mark.parametrize("name", EARLIER)
def test_the_earlier_build_has_every_name_that_is_asked_of_it(name: str, tmp_path: Path) -> None:
    if not unpack(tmp_path, EARLIER[name]):
        pytest.skip(f"this is no repository with the commit {EARLIER[name]}")
    programs = list(started(BENCHMARKS[name]))
    assert programs
    assert not lacking(programs, tmp_path / "earlier" / "valuebias", earlier=True)


@pytest.mark.parametrize(
    "program",
    [
        "from valuebias.io import content_sum",
        "from valuebias.simulate import simulate",
        "import valuebias.fit.Fit",
        "import valuebias as vb\nvb.nothing()",
        "from valuebias import io\nio.content_sum = None",
        "import sys, valuebias.io as io\nif sys.argv:\n    io.content_sum",
        "MODULES = ['torch', 'valuebias.nowhere']",
        "WORKER = '''\nimport sys, valuebias\nvaluebias.nothing()\n'''",
        "try:\n    import valuebias.nowhere\nexcept ModuleNotFoundError:\n    import valuebias.io",
    ],
)
def test_names_that_are_not_there_are_found(program: str) -> None:
    assert len(lacking(programs_in(program), BUILD)) == 1


def test_names_that_are_there_are_found() -> None:
    program = (
        "import valuebias.io as io\nfrom valuebias import datasets, fit\n"
        "io.read, datasets.simulate.simulate, datasets.load, 'valuebias.plots.save'\n"
        "valuebias = 'valuebias.schema'\n"
    )
    assert len(names_in(program)) == 9
    assert not lacking([program], BUILD)


@pytest.mark.slow
def test_the_script_for_a_card_runs_whole_on_a_processor(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    out, script = tmp_path / "gpu.md", str(BENCHMARKS["gpu"])
    asked = ["--device", "cpu", "--size", "small", "--out", str(out)]
    done = subprocess.run([sys.executable, script, *asked], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    table = out.read_text(encoding="utf-8")
    assert "failed" not in table
    for part in ("the contract's tests", "PyTorch, bfloat16", "ONNX Runtime, float32", "LoRA"):
        assert part in table
