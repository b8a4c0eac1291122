"""Reproducing the paper: what is made, what is said to be missing, and what is not made twice."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_server
import numpy as np
import pandas as pd
import pytest
import tiny_models
from typer.testing import CliRunner, Result

import valuebias
from valuebias import ValueBiasError
from valuebias._core.provenance import sha256
from valuebias.cli.app import app
from valuebias.reproduction import items, run
from valuebias.reproduction.sources import Missing, Settings, Sources

PROMPTS = list(valuebias.prompts().table.index)
PAIR = ("google/gemma-2-2b-it", "meta-llama/Llama-3.2-3B-Instruct")
PRETRAINED = ("google/gemma-2-2b", "meta-llama/Llama-3.2-3B")
HOSTILE = ["<script>alert(1)</script>", "</code><img src=x onerror=alert(2)>", "\u202eevil", "a|b",
           "=cmd()", "`x`", r"\input{x}", "NaN", "[l](javascript:alert(3))"]  # fmt: skip
SPELT = {"Love": 0, " love": 1, "Freedom": 2, "freedom": 3}
SMALL = {"draws": 60, "chains": 2, "n_permutations": 19, "progress": False}

Reproduce = Callable[..., Any]


def words(extra: int = 40) -> list[str]:
    return [*SPELT, *HOSTILE, *(f"w{i}" for i in range(extra))]


def write_logprobs(
    folder: Path, models: tuple[str, ...], texts: list[str] | None = None, before: str = ""
) -> dict[str, pd.DataFrame]:
    """Write a file per model as the authors do; give what is in them."""
    folder.mkdir(exist_ok=True)
    texts = words() if texts is None else texts
    made = {}
    for seed, model in enumerate(models):
        own = [*texts, f"only {model}"]
        mass = np.random.default_rng(seed).dirichlet(np.ones(len(own)), size=len(PROMPTS))
        frame = pd.DataFrame(np.log(mass).T, columns=PROMPTS)
        for place, column in enumerate(("token_id", "token_name", "token_decoded")):
            frame.insert(place, column, range(len(own)) if not place else own)
        frame.to_csv(folder / f"{before}{model.replace('/', '--')}.csv", index=False)
        made[model] = frame.set_index("token_decoded")
    return made


@pytest.fixture
def offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Leave no data and no network."""
    caplog.set_level("WARNING", logger="pooch")  # which says what it is about to download
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["reproduce", *map(str, arguments)], prog_name="valuebias")

    return call


def states(made: valuebias.Reproduction) -> dict[str, str]:
    return dict(zip(made.table["item"], made.table["state"], strict=True))


def times(folder: Path) -> dict[str, int]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


ABSENT = {"figure-5", "figure-a3", "reward-model-tokens"}
FROM_LOGPROBS = {"figure-2a", "figure-2b", "figure-3", "table-1"}
RELEASED = {"figure-1", "figure-1-statistics", "posterior", "figure-a1", "figure-4"}


@pytest.mark.usefixtures("offline")
class TestWithoutReleasedData:
    def test_all_is_missing_and_said_to_be(
        self, cli: Callable[..., Result], tmp_path: Path
    ) -> None:
        result = cli("christian2026", "--out", "paper", "--json")
        assert result.exit_code == 1
        told = json.loads(result.stdout)
        assert not told["complete"]
        by_item = {entry["item"]: entry for entry in told["items"]}
        assert set(by_item) == ABSENT | FROM_LOGPROBS | RELEASED
        assert {entry["state"] for entry in told["items"]} == {"missing"}
        assert "--logprobs" in by_item["table-1"]["reason"]
        assert "valuebias score christian2026-lms --kind logprob" in by_item["table-1"]["reason"]
        assert "VALUEBIAS_DATA" in by_item["figure-1"]["reason"]
        assert "christian2026-rms" in by_item["reward-model-tokens"]["reason"]
        page = (tmp_path / "paper" / "index.html").read_text(encoding="utf-8")
        for entry in told["items"]:
            assert html.escape(entry["title"], quote=False) in page
        assert [path for path in (tmp_path / "paper").iterdir() if path.is_dir()] == []

    def test_the_command_lists_it_in_words(self, cli: Callable[..., Result]) -> None:
        result = cli("christian2026", "--out", "paper")
        assert result.exit_code == 1
        assert "figure-2a, figure-2b, figure-3, table-1: It needs log-probs" in result.stdout
        assert result.stdout.endswith("paper/index.html\n")

    def test_figure_3_and_table_1_are_the_authors_numbers(self, tmp_path: Path) -> None:
        models = (*PAIR, "google/gemma-2-9b-it")
        frames = write_logprobs(tmp_path / "lp", models)
        made = valuebias.reproduce(out=tmp_path / "paper", logprobs=tmp_path / "lp", **SMALL)
        assert made.complete
        assert {k for k, v in states(made).items() if v == "made"} == {"figure-3", "table-1"}

        def rewards(gemma: str, texts: list[str]) -> np.ndarray:
            llama = frames[PAIR[1]].loc[texts, "greatest_ever_one"].to_numpy()
            other = frames[gemma].loc[texts, "greatest_ever_one"].to_numpy()
            return np.asarray((np.exp(llama) + np.exp(other)) / 2 * (llama - other))

        table = pd.read_csv(tmp_path / "paper/figure-3/figure-3.csv").set_index("denominator")
        assert sorted(table.index) == ["google/gemma-2-2b-it", "google/gemma-2-9b-it"]
        for gemma in table.index:
            for word, spelt in {
                "Love": ["Love", " love"],
                "Freedom": ["Freedom", "freedom"],
            }.items():
                expected = rewards(str(gemma), spelt).mean()
                assert table.loc[gemma, word] == pytest.approx(expected, rel=1e-4)
        shown = pd.read_csv(tmp_path / "paper/table-1/table-1.csv", keep_default_na=False)
        expected = pd.Series(rewards(PAIR[0], words()), index=words()).sort_values()
        top = shown[shown["end"] == "top"]
        assert len(top) == 15
        np.testing.assert_allclose(top["score"], expected.iloc[::-1][:15], rtol=1e-4)
        plain = [text.removeprefix("'") for text in top["word"]]
        assert plain == expected.index[::-1][:15].tolist()
        record = json.loads((tmp_path / "paper/reproduction.json").read_text())
        entry = next(item for item in record["items"] if item["name"] == "table-1")
        assert entry["inputs"] == {
            f"{name.replace('/', '--')}.csv": sha256(tmp_path / f"lp/{name.replace('/', '--')}.csv")
            for name in PAIR
        }
        reasons = made.table.set_index("item")["reason"]
        assert "'google/gemma-2-2b'" in reasons["figure-2b"]
        notes = next(item for item in record["items"] if item["name"] == "figure-3")["notes"]
        assert "3 of the paper's 10" in notes[1]

    def test_a_second_run_makes_nothing(self, tmp_path: Path) -> None:
        write_logprobs(tmp_path / "lp", PAIR)
        arguments = {"out": tmp_path / "paper", "logprobs": tmp_path / "lp", **SMALL}
        valuebias.reproduce(**arguments)
        before = times(tmp_path / "paper")
        again = valuebias.reproduce(**arguments)
        assert times(tmp_path / "paper") == before
        assert states(again)["figure-3"] == states(again)["table-1"] == "kept"
        assert again.complete
        # What was made from data that are gone stays, and so does its record.
        shutil.rmtree(tmp_path / "lp")
        gone = valuebias.reproduce(out=tmp_path / "paper", **SMALL)
        assert states(gone)["table-1"] == "kept"
        assert times(tmp_path / "paper").keys() == before.keys()

    def test_changed_input_and_spoilt_output_are_made_again(self, tmp_path: Path) -> None:
        write_logprobs(tmp_path / "lp", (*PAIR, "google/gemma-2-9b-it"))
        arguments = {"out": tmp_path / "paper", "logprobs": tmp_path / "lp", **SMALL}
        valuebias.reproduce(**arguments)
        kept = times(tmp_path / "paper")["table-1/table-1.csv"]
        path = tmp_path / "lp" / "google--gemma-2-9b-it.csv"
        path.write_text(path.read_text(encoding="utf-8").replace("only ", "nur "), encoding="utf-8")
        made = states(valuebias.reproduce(**arguments))
        assert (made["figure-3"], made["table-1"]) == ("made", "kept")
        assert times(tmp_path / "paper")["table-1/table-1.csv"] == kept
        (tmp_path / "paper/table-1/table-1.tex").write_text("spoilt")
        (tmp_path / "paper/figure-3/figure-3.pdf").unlink()
        made = states(valuebias.reproduce(**arguments))
        assert (made["figure-3"], made["table-1"]) == ("made", "made")
        assert "tabular" in (tmp_path / "paper/table-1/table-1.tex").read_text()
        assert (tmp_path / "paper/figure-3/figure-3.pdf").read_bytes()[:5] == b"%PDF-"

    def test_one_failure_does_not_stop_the_others(
        self, cli: Callable[..., Result], tmp_path: Path
    ) -> None:
        # Without the words of Figure 3, which thus fails.
        write_logprobs(tmp_path / "lp", PAIR, [f"w{i}" for i in range(9)])
        result = cli("christian2026", "--out", "paper", "--logprobs", "lp", "--json")
        assert result.exit_code == 1
        by_item = {entry["item"]: entry for entry in json.loads(result.stdout)["items"]}
        assert by_item["figure-3"]["state"] == "failed"
        assert "no token in common that reads 'Freedom'" in by_item["figure-3"]["reason"]
        assert by_item["table-1"]["state"] == "made"
        assert not (tmp_path / "paper/figure-3").exists()
        assert len(by_item["table-1"]["files"]) == 3
        assert "failed" in (tmp_path / "paper/reproduction.md").read_text(encoding="utf-8")

    def test_an_error_of_another_kind_is_listed_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(sources: Sources, settings: Settings, folder: Path) -> list[str]:
            (folder / "half.txt").write_text("half")
            raise ZeroDivisionError("nothing to divide by")

        def whole(sources: Sources, settings: Settings, folder: Path) -> list[str]:
            (folder / "whole.txt").write_text("a\nb")
            return []

        made = tuple(
            items.Item(make.__name__, make.__name__, lambda sources: {}, make)
            for make in (broken, whole)
        )
        monkeypatch.setattr(run, "ITEMS", made)
        found = valuebias.reproduce(out=tmp_path / "paper", **SMALL)
        assert states(found) == {"broken": "failed", "whole": "made"}
        assert found.table["reason"][0] == "ZeroDivisionError: nothing to divide by"
        assert not found.complete
        assert sorted(path.name for path in (tmp_path / "paper").iterdir()) == [
            "index.html",
            "reproduction.json",
            "reproduction.md",
            "whole",
        ]

    def test_an_interrupted_run_keeps_what_is_done(
        self, cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def one(sources: Sources, settings: Settings, folder: Path) -> list[str]:
            (folder / "one.txt").write_text("1")
            return []

        def stopped(sources: Sources, settings: Settings, folder: Path) -> list[str]:
            (folder / "half.txt").write_text("half")
            raise KeyboardInterrupt

        first = items.Item("one", "One", lambda sources: {}, one)
        second = items.Item("two", "Two", lambda sources: {}, stopped)
        monkeypatch.setattr(run, "ITEMS", (first, second))
        result = cli("christian2026", "--out", "paper")
        assert result.exit_code == 130
        assert "1 of 2 items are done" in result.stderr
        assert "The same command continues" in result.stderr
        assert not (tmp_path / "paper/two").exists()
        written = (tmp_path / "paper/one/one.txt").stat().st_mtime_ns
        monkeypatch.setattr(run, "ITEMS", (first, items.Item("two", "Two", lambda s: {}, one)))
        assert states(valuebias.reproduce(out=tmp_path / "paper", **SMALL)) == {
            "one": "kept",
            "two": "made",
        }
        assert (tmp_path / "paper/one/one.txt").stat().st_mtime_ns == written

    def test_hostile_names_and_tokens_are_inert(self, tmp_path: Path) -> None:
        write_logprobs(tmp_path / "lp", PAIR, [*SPELT, *HOSTILE], before="<img src=x>|`$&-")
        made = valuebias.reproduce(out=tmp_path / "paper", logprobs=tmp_path / "lp", **SMALL)
        assert states(made)["table-1"] == "made"
        page = (tmp_path / "paper/index.html").read_text(encoding="utf-8")
        tags = set(re.findall(r"<([a-z0-9]+)", page))
        assert not tags & {"script", "iframe", "object", "embed", "form"}
        assert re.findall(r"<img (?!src=\"data:image/png;base64,)", page) == []
        assert not re.search(r"\son[a-z]+=\"", page)
        assert "\u202e" not in page
        for token in ("<script>alert(1)</script>", "</code><img src=x onerror=alert(2)>"):
            assert html.escape(token, quote=False) in page
        assert "&lt;img src=x&gt;|`$&amp;-google--gemma-2-2b-it.csv" in page
        assert set(re.findall(r'href="([^"]*)"', page)) >= {"table-1/table-1.csv"}
        assert not re.search(r'(?:href|src)="(?!data:|#|figure-|table-)', page)
        assert "default-src 'none'" in page
        text = (tmp_path / "paper/reproduction.md").read_text(encoding="utf-8")
        assert r"\<img src=x\>\|\`\$\&-google" in text
        assert not re.search(r"(?<!\\)<", text)

    def test_a_store_of_vocabularies_does_as_well(self, tmp_path: Path) -> None:
        if tiny_models.missing() is not None:
            pytest.skip(str(tiny_models.missing()))
        models = {}
        for name, kind in zip(PAIR, ("gemma2", "llama"), strict=True):
            tiny_models.tiny(kind, "logprob", tmp_path / kind, tokens=1000)
            models[name] = {"location": str(tmp_path / kind), "family": kind, "base": kind,
                            "template": "plain"}  # fmt: skip
        store = tmp_path / "logprobs.zarr"
        valuebias.score(models, kind="logprob", lexicon="vocabulary", store=store, progress=False)
        arguments = {"out": tmp_path / "paper", "logprobs": store, **SMALL}
        made = valuebias.reproduce(**arguments)
        assert states(made)["table-1"] == "made"
        text = (tmp_path / "paper/reproduction.json").read_text()
        entry = next(e for e in json.loads(text)["items"] if e["name"] == "table-1")
        assert list(entry["inputs"]) == [f"store: {name}" for name in PAIR]
        assert states(valuebias.reproduce(**arguments))["table-1"] == "kept"
        scored = valuebias.align(valuebias.read_vocabulary(store)).sel(prompt=["greatest_ever_one"])
        rewards = valuebias.implicit(scored, numerator=PAIR[1], denominator=PAIR[0])
        top = float(rewards["score"].max())
        shown = pd.read_csv(tmp_path / "paper/table-1/table-1.csv")
        assert shown["score"].max() == pytest.approx(top, rel=1e-5)

    def test_a_store_of_other_models(self, tmp_path: Path) -> None:
        if tiny_models.missing() is not None:
            pytest.skip(str(tiny_models.missing()))
        tiny_models.tiny("llama", "logprob", tmp_path / "lm")
        models = {"mine": {"location": str(tmp_path / "lm"), "template": "plain"}}
        store = tmp_path / "logprobs.zarr"
        valuebias.score(models, kind="logprob", lexicon="vocabulary", store=store, progress=False)
        with pytest.raises(ValueBiasError, match="none of the paper's models, but 'mine'"):
            valuebias.reproduce(out=tmp_path / "paper", logprobs=store, **SMALL)

    def test_log_probs_of_the_hub_are_known_by_their_commit(self, tmp_path: Path) -> None:
        pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
        hub = tmp_path / "hub" / "datasets" / "org" / "lm"
        hub.mkdir(parents=True)
        write_logprobs(hub, (*PAIR, *PRETRAINED))
        reference = f"hf://datasets/org/lm@{hub_server.COMMIT}"
        code = "from valuebias.cli import main; main()"
        arguments = ["christian2026", "--out", "paper", "--logprobs", reference, "--json"]

        def call(address: str) -> dict[str, str]:
            variables = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
            made = subprocess.run(
                [sys.executable, "-c", code, "reproduce", *arguments],
                env=os.environ | variables | {"http_proxy": "", "HTTP_PROXY": ""},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            told = json.loads(made.stdout)["items"]
            return {entry["item"]: entry["state"] for entry in told}

        with hub_server.serve(tmp_path / "hub") as (url, log):
            assert call(url)["table-1"] == "made"
        # Of the pretrained models nothing could be made without the nouns, so none was fetched.
        fetched = [line for line in log if line.startswith("GET") and line.endswith(".csv")]
        assert len(fetched) == 2
        record = json.loads((tmp_path / "paper/reproduction.json").read_text())
        entry = next(item for item in record["items"] if item["name"] == "table-1")
        assert entry["inputs"] == {
            f"{name.replace('/', '--')}.csv": f"org/lm@{hub_server.COMMIT}" for name in PAIR
        }
        shutil.rmtree(tmp_path / "home")
        # What is made needs neither the hub nor its cache.
        assert call("http://127.0.0.1:9")["table-1"] == "kept"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"paper": "christian2062"}, "Did you mean 'christian2026'"),
            ({"draws": 3}, "draws is 3; expected a whole number of 4 or more"),
            ({"seed": -1}, "seed is -1"),
            ({"n_permutations": True}, "n_permutations is True"),
            ({"logprobs": "nowhere"}, "no log-probs at 'nowhere'"),
            ({"logprobs": "hf://datasets/o/n"}, "has no revision. Give the commit"),
        ],
    )
    def test_a_wrong_call_is_refused_before_any_work(
        self, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueBiasError, match=message):
            valuebias.reproduce(**({"out": tmp_path / "paper"} | SMALL | options))
        assert not (tmp_path / "paper").exists()

    def test_a_record_of_something_else_is_not_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "reproduction.json"
        for text, message in (
            ("{", "is damaged or was not written by valuebias"),
            ('{"format": "x", "paper": "y", "items": []}', "is of 'y' in the format 'x'"),
            ('{"items": [{"name": 1}]}', "is damaged"),
        ):
            path.write_text(text)
            with pytest.raises(ValueBiasError, match=message):
                valuebias.reproduce(out=tmp_path, **SMALL)
            assert path.read_text() == text

    def test_a_folder_that_is_a_file(self, cli: Callable[..., Result], tmp_path: Path) -> None:
        (tmp_path / "taken").touch()
        result = cli("christian2026", "--out", "taken")
        assert result.exit_code == 1
        assert "'taken' is a file" in result.stderr or "taken" in result.stderr
        assert result.stdout == ""

    def test_other_papers_and_numbers_are_wrong_calls(self, cli: Callable[..., Result]) -> None:
        assert cli("christian2062", "--out", "paper").exit_code == 2
        assert cli("christian2026").exit_code == 2
        assert cli("christian2026", "--out", "paper", "--draws", "0").exit_code == 2

    def test_what_is_here_and_spoilt_is_no_missing_file(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "corpora" / "dict_big2_nouns.csv"
        path.parent.mkdir()
        path.write_text("spoilt")
        with pytest.raises(ValueBiasError, match="is not the released file") as caught:
            Sources(None).released("big2-nouns")
        assert not isinstance(caught.value, Missing)
        with pytest.raises(Missing, match="A released file is missing"):
            Sources(None).released("mfd2")


@pytest.mark.released_data
@pytest.mark.usefixtures("released_data")
class TestWithReleasedData:
    @pytest.fixture(autouse=True)
    def _no_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("WARNING", logger="pooch")
        monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
        for scheme in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(scheme, "http://127.0.0.1:9")

    @pytest.mark.slow
    def test_moral_foundations_are_counted_with_and_without_the_last_column(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Stand-ins for the released scores, with the released dictionary: every ninth word.
        data = tmp_path / "data"
        (data / "reward_scores_mfd2").mkdir(parents=True)
        (data / "corpora").mkdir()
        local = "corpora/moral-foundations-dictionary-20.dicx"
        shutil.copy(Path(os.environ["VALUEBIAS_DATA"]) / local, data / local)
        marks = pd.read_csv(data / local, index_col="DicTerm", keep_default_na=False).eq("X")
        last_only = marks["Sanctity_Vice"] & (marks.sum(axis=1) == 1)
        assert last_only.sum() == 388
        some = marks.index[::9]
        rng = np.random.default_rng(0)
        for file in valuebias.datasets.info("christian2026-mfd2").files:
            # Rewards that hang on being in the last column, which is where the two differ.
            rows = (
                rng.normal(size=(len(some), len(PROMPTS))) + 2 * last_only[some].to_numpy()[:, None]
            )
            frame = pd.DataFrame(rows.round(4), index=some, columns=PROMPTS)
            frame.to_csv(data / file, index_label="response")
        monkeypatch.setenv("VALUEBIAS_DATA", str(data))
        (item,) = (item for item in items.ITEMS if item.name == "figure-a1")
        (tmp_path / "made").mkdir()
        settings = Settings(draws=60, chains=2, seed=1, n_permutations=19)
        notes = item.make(Sources(None), settings, tmp_path / "made")
        scores = valuebias.datasets.load("christian2026-mfd2")
        kept = scores.sel(response=some[~last_only[some].to_numpy()].tolist())
        mixed = {}
        for name, expected in (("statistics-paper", kept), ("statistics-all-words", scores)):
            found = json.loads((tmp_path / "made" / f"{name}.json").read_text())
            made = valuebias.classical(expected, n_permutations=19, seed=1)
            assert found["mixed"] == json.loads(json.dumps(made.to_dict()["mixed"]))
            mixed[name] = str(found["mixed"])
        assert mixed["statistics-paper"] != mixed["statistics-all-words"]
        assert f"without the {last_only[some].sum()} words that are Sanctity vice only" in notes[1]
        assert "The paper's statistics are statistics-paper" in notes[1]

    @pytest.mark.once
    def test_what_llama_and_gemma_share_is_said_with_its_version(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = Path(os.environ["VALUEBIAS_DATA"]) / "corpora" / "token_intersection.csv"
        if not shared.is_file():
            pytest.skip("VALUEBIAS_DATA has no corpora/token_intersection.csv")
        # No other data, of which all else would be made.
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "corpora").symlink_to(shared.parent)
        monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path / "data"))
        texts = pd.read_csv(shared, keep_default_na=False)["token_decoded"]
        write_logprobs(tmp_path / "lp", PAIR)
        made = valuebias.reproduce(out=tmp_path / "paper", logprobs=tmp_path / "lp", **SMALL)
        record = json.loads((made.folder / "reproduction.json").read_text())["items"]
        (notes,) = (entry["notes"] for entry in record if entry["name"] == "table-1")
        assert f"{len(texts):,} texts, as transformers 4" in notes[1]
        assert "as version 5 does, they share 85,571" in notes[1]

    @pytest.mark.slow
    def test_everything_that_the_data_allow(
        self, cli: Callable[..., Result], tmp_path: Path, big2: Any
    ) -> None:
        nouns = list(valuebias.lexicon("big2-nouns").words)[::4]
        models = (*PAIR, *PRETRAINED)
        write_logprobs(tmp_path / "lp", models, [*words(), *nouns])
        paper = tmp_path / "paper"
        arguments = ("christian2026", "--out", "paper", "--logprobs", "lp", "--draws", 60,
                     "--chains", 2, "--permutations", 19)  # fmt: skip
        result = cli(*arguments, "--json")
        assert result.exit_code == 0, result.output
        told = {entry["item"]: entry for entry in json.loads(result.stdout)["items"]}
        at_hand = (Path(os.environ["VALUEBIAS_DATA"]) / "reward_scores_mfd2").is_dir()
        expected = (
            RELEASED | FROM_LOGPROBS if at_hand else (RELEASED | FROM_LOGPROBS) - {"figure-a1"}
        )
        assert {name for name, entry in told.items() if entry["state"] == "made"} == expected

        statistics = json.loads((paper / "figure-1-statistics/statistics.json").read_text())
        made = valuebias.classical(big2, n_permutations=19, seed=1)
        assert statistics["mixed"] == json.loads(json.dumps(made.to_dict()["mixed"]))
        fit = valuebias.load(paper / "posterior/fit.nc")
        assert (fit.settings["draws"], fit.settings["chains"], fit.settings["seed"]) == (60, 2, 1)
        assert str(fit.headline()) in (paper / "posterior/headline.txt").read_text()
        assert (paper / "posterior/report.html").read_text(encoding="utf-8").count("<svg") > 3
        for name in ("figure-1", "figure-2a", "figure-2b", "figure-3"):
            assert (paper / name / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
            assert (paper / name / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        ranks = pd.read_csv(paper / "figure-4/training-ranks.csv")
        assert list(ranks.columns)[-1] == "median_rank"
        record = json.loads((paper / "reproduction.json").read_text())["items"]
        by_name = {entry["name"]: entry for entry in record}
        assert any("byte-identical" in note for note in by_name["figure-4"]["notes"])
        in_both = len(set(nouns) | ({"love", "freedom"} & set(nouns)))
        told_nouns = re.findall(r"(\d+) of", by_name["figure-2a"]["notes"][0])
        assert in_both <= sum(map(int, told_nouns)) <= in_both + 2
        assert len(by_name["figure-1"]["inputs"]) == 11
        assert "for every doubling" in (paper / "figure-4/headline.txt").read_text()
        for name in ("figure-4a", "figure-4b"):
            assert (paper / "figure-4" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        page = (paper / "index.html").read_text(encoding="utf-8")
        assert page.count('src="data:image/png;base64,') == 7 + at_hand

        # Another seed changes what draws on it, and nothing else.
        before = times(paper)
        again = cli(*arguments, "--seed", 2, "--json")
        told = {entry["item"]: entry["state"] for entry in json.loads(again.stdout)["items"]}
        changed = {"figure-1-statistics", "posterior", "figure-2a", "figure-2b", "figure-4"}
        assert {name for name, state in told.items() if state == "made"} == (
            changed | ({"figure-a1"} if at_hand else set())
        )
        after = times(paper)
        same = {"figure-1", "figure-3", "table-1"}
        assert all(after[name] == before[name] for name in before if name.split("/")[0] in same)
