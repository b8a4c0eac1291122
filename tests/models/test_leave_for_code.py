"""Code that comes with a model runs when the person says so, not when a file does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_models
from naive_backend import NaiveBackend
from typer.testing import CliRunner

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.ablation import Study

pytestmark = pytest.mark.skipif(tiny_models.missing() is not None, reason="needs PyTorch")

REFUSED = r"asks that the code which comes with 'm' be run .*trust_remote_code=True.*--trust"
PROMPTS = {"p": {"text": "Which?", "framing": "positive"}}
CODE = """
from pathlib import Path
from transformers import LlamaConfig
Path({ran!r}).touch()
class Mine(LlamaConfig):
    pass
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path: Path, ran: Path) -> Path:
    """A model whose configuration comes with code."""
    made = Path(tiny_models.tiny("llama", "reward", tmp_path / "coded"))
    (made / "mine.py").write_text(CODE.format(ran=str(ran)))
    path = made / "config.json"
    own = {"AutoConfig": "mine.Mine"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": own}))
    return made


@pytest.fixture(params=["mapping.yaml", "list.yaml", "table.csv", "table.tsv"])
def table(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    row = {"name": "m", "location": str(folder), "trust_remote_code": "yes"}
    if path.suffix == ".yaml":
        fields = f"{{location: {folder}, trust_remote_code: true}}"
        path.write_text(f"m: {fields}" if "mapping" in path.name else f"- {{name: m, {fields[1:]}")
    else:
        pd.DataFrame([row]).to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    return path


def score(models: Any, **options: Any) -> Any:
    return valuebias.score(
        models, prompts=PROMPTS, lexicon=["love", "power"], backend=NaiveBackend, progress=False,
        **options,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_file_alone_runs_nothing(table: Path, ran: Path) -> None:
    for given in (table, str(table), [table], [Model("org/other"), str(table)]):
        for ask in (valuebias.read_models, score, valuebias.plan):
            with pytest.raises(ValueBiasError, match=REFUSED):
                ask(given)
    assert not ran.exists()
    sys.modules.pop("transformers_modules", None)
    assert valuebias.read_models(table, trust_remote_code=True)[0].trust_remote_code
    assert score(table, trust_remote_code=True)["model"].item() == "m"
    assert ran.exists()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_is_given_in_python_is_the_person_s(folder: Path, ran: Path) -> None:
    for given in (
        Model(str(folder), trust_remote_code=True),
        {"m": {"location": str(folder), "trust_remote_code": True}},
        pd.DataFrame([{"location": str(folder), "trust_remote_code": True}]),
    ):
        assert valuebias.read_models(given)[0].trust_remote_code
    score(Model(str(folder), trust_remote_code=True))
    assert ran.exists()


def test_no_leave_is_given_to_what_asks_for_none(folder: Path, ran: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"m: {{location: {folder}}}")
    assert not valuebias.read_models(path, trust_remote_code=True)[0].trust_remote_code
    score(path, trust_remote_code=True)
    assert not ran.exists()


@pytest.mark.parametrize("command", ["score", "plan"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_on_the_command_line(command: str, folder: Path, ran: Path, tmp_path: Path) -> None:
    from valuebias.cli.app import app

    path = tmp_path / "models.yaml"
    path.write_text(f"m: {{location: {folder}, trust_remote_code: true}}")
    words = tmp_path / "words.csv"
    words.write_text("word,category\nlove,c\npower,a\n")
    given = [command, str(path), "--lexicon", str(words)]
    given += ["--store", str(tmp_path / "s.zarr")] if command == "score" else []
    refused = CliRunner().invoke(app, given)
    assert refused.exit_code != 0
    assert "--trust-remote-code" in refused.output + str(refused.exception)
    assert not ran.exists()
    done = CliRunner().invoke(app, [*given, "--trust-remote-code"])
    # PyTorch's backend finds no head for the class that the code defines.
    assert (
        "no model with a classification head" in done.output
        if command == "score"
        else "m" in done.output
    )
    assert ran.exists()


@pytest.mark.parametrize("own_word", ["", "trust_remote_code: true\n"])
@pytest.mark.parametrize("inline", [True, False])
def test_a_study_of_somebody_else(inline: bool, own_word: str, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("m: {location: org/m, trust_remote_code: true}")
    bases = "{m: {location: org/m, trust_remote_code: true}}" if inline else "models.yaml"
    path = tmp_path / "study.yaml"
    path.write_text(f"bases: {bases}\nsources: {{a: b.jsonl}}\nn_pairs: [1]\n{own_word}")
    if own_word:
        with pytest.raises(ValueBiasError, match="has a key 'trust_remote_code'"):
            Study.read(path, trust_remote_code=True)
        return
    with pytest.raises(ValueBiasError, match=REFUSED):
        Study.read(path)
    assert Study.read(path, trust_remote_code=True).models()[0].trust_remote_code
    with pytest.raises(ValueBiasError, match=REFUSED):
        Study(str(tmp_path / "models.yaml"), {"a": "b.jsonl"}, [1]).models()
