"""A notebook without ipywidgets shows results and one line of progress, and no warnings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models

pytestmark = pytest.mark.once

SETUP = """
import valuebias
scores = valuebias.datasets.load("simulated")
"""
CELLS = {
    "fit": 'fit = valuebias.fit(scores, "~ family", draws=4000, seed=1); fit',
    "headline": "fit.headline()",
    "influence": "fit.influence()",
    "leave out": 'fit.loo(by="model")',
    "sampled": 'valuebias.fit(scores.isel(response=slice(60, 120)), "~ family", sampler="nutpie",'
    " draws=400, tune=200, chains=2, seed=1)",
    "multiverse": 'valuebias.multiverse(scores, priors={"default": None}, seed=1)',
    "classical": "valuebias.classical(scores, n_permutations=3000)",
    "agreement": 'human = scores["score"].mean(["model", "prompt"]); '
    "valuebias.rank_agreement(scores, human)",
    "claims": 'valuebias.check_claims("The difference is 0.31 SD.", fit)',
    "figure": "fit.plot()",
    "audit": "valuebias.audit(scores)",
}
SCORED = """
from valuebias import Model
models = [Model(folder, name=f"org/{name}", family=name, base=name) for name in ("A", "B")]
valuebias.score(models, prompts=valuebias.prompts())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a function that runs cells in one real kernel and gives the outputs of each."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    import nbformat

    folder = tmp_path_factory.mktemp("kernel")
    spec = folder / "share" / "kernels" / "this"
    spec.mkdir(parents=True)
    # Should another package have brought them, the kernel may not find them either.
    start = (
        "import sys; sys.modules.update(dict.fromkeys(('ipywidgets', 'google.colab')));"
        "from ipykernel.kernelapp import launch_new_instance as start; start()"
    )
    argv = [sys.executable, "-c", start, "-f", "{connection_file}"]
    named = {"argv": argv, "display_name": "this Python", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(named))

    def in_kernel(*sources: str) -> list[list[dict[str, Any]]]:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_PATH", str(folder / "share"))
            patch.setenv("VALUEBIAS_CACHE", str(folder / "cache"))
            nbclient.NotebookClient(
                book, kernel_name="this", timeout=300, resources={"metadata": {"path": str(folder)}}
            ).execute()
        return [cell["outputs"] for cell in book["cells"]]

    return in_kernel


def bars(outputs: list[dict[str, Any]]) -> list[str]:
    shown = [output for output in outputs if output["output_type"] == "display_data"]
    assert all(set(output["data"]) == {"text/plain"} for output in shown)
    return [output["data"]["text/plain"] for output in shown]


@pytest.mark.filterwarnings("default")
def test_results_and_progress_in_a_real_kernel(run: Any) -> None:
    found = dict(zip(["setup", *CELLS], run(SETUP, *CELLS.values()), strict=True))
    streams = [output for outputs in found.values() for output in outputs if "name" in output]
    assert streams == []
    for name, outputs in found.items():
        assert len(bars(outputs)) <= 1, name
        results = [o["data"] for o in outputs if o["output_type"] == "execute_result"]
        assert len(results) == (name != "setup"), name
        for data in results:
            assert ("image/png" if name == "figure" else "text/html") in data, name
    assert any(line.startswith("specifications  [####") for line in bars(found["multiverse"]))
    assert all("100%" in line for outputs in found.values() for line in bars(outputs))
    # The kernel did lack widgets, of which rich and tqdm would have told in warnings.
    (lacking,) = run("import importlib.util as u; print(__import__('sys').modules['ipywidgets'])")
    assert lacking[0]["text"] == "None\n"


@pytest.mark.filterwarnings("default")
def test_scoring_in_a_real_kernel(run: Any, tmp_path: Path) -> None:
    if tiny_models.missing() is not None:
        pytest.skip(str(tiny_models.missing()))
    folder = tiny_models.tiny("llama", "reward", tmp_path / "model")
    _, outputs = run(SETUP, f"folder = {str(folder)!r}" + SCORED)
    assert [output.get("text", "") for output in outputs if "name" in output] == []
    assert len(bars(outputs)) <= 1
    assert "text/html" in outputs[-1]["data"]
