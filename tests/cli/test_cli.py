"""The command line: what it prints and where, its exit statuses, and what it leaves behind."""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from ablations import ablation
from typer.testing import CliRunner, Result

import valuebias
from valuebias import AblationFit
from valuebias._core.progress import progress_bar
from valuebias._core.text import visible
from valuebias.cli import fits
from valuebias.cli.app import app
from valuebias.cli.fits import print_result
from valuebias.cli.spoken import spoken
from valuebias.datasets.simulate import simulate
from valuebias.report.content import number
from valuebias.scoring.run import scoring_progress

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in an empty folder, in a terminal that is wide and has no colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(
            app, [str(argument) for argument in arguments], prog_name="valuebias"
        )

    return call


@pytest.fixture
def scores_file(simulated: xr.Dataset, tmp_path: Path) -> Path:
    return valuebias.write(simulated, tmp_path / "scores.nc")


@pytest.fixture
def ablation_file(tmp_path: Path) -> Path:
    scores = ablation(1, n_pairs=(8_000, 16_000), seeds=2, n_words=8)
    return valuebias.write(scores, tmp_path / "ablation.nc")


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def failed(result: Result, *, status: int = 1) -> str:
    """Expect a message on standard error, nothing on standard output, and no traceback."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return str(result.stderr)


class TestMarkup:
    """Names and words are text, never markup of the terminal's."""

    NAMES = (
        "[red]agency[/]",
        "[/]",
        "[link=https://example.org]base[/link]",
        "[bold",
        "a]b\x1b[31m",
    )

    def test_in_tables(self, run: Run, simulated: xr.Dataset, tmp_path: Path) -> None:
        families = dict(zip(["Gemma", "Llama"], self.NAMES[2:4], strict=True))
        named = simulated.assign_coords(
            category=list(self.NAMES[:2]),
            family=("model", [families[name] for name in simulated["family"].values.tolist()]),
        )
        named["base"] = named["family"]
        said = succeeded(
            run("fit", valuebias.write(named, tmp_path / "named.nc"), "--draws", 20, "--chains", 2)
        )
        for name in self.NAMES[:4]:
            assert name in said
        assert "\x1b" not in said

    def test_in_progress_bars(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
        for name in self.NAMES:
            with progress_bar(name, shown=True) as advance:
                assert advance is not None
                advance(1, 2)
            assert visible(name) in capsys.readouterr().err
            with scoring_progress(shown=True, n_models=1, work=2.0) as watch:
                watch.model(name, pairs=2, todo=2, n_prompts=1, weight=1.0)
            assert visible(name) in capsys.readouterr().err


class TestHelp:
    def test_names_every_command(self, run: Run) -> None:
        shown = succeeded(run("--help"))
        for command in ("demo", "fit", "report", "reproduce", "data", "lexicons", "prompts"):
            assert f" {command} " in shown

    @pytest.mark.parametrize(
        "command", ["demo", "fit", "report", "reproduce", "prompts", "data", "lexicons"]
    )
    def test_of_a_command(self, run: Run, command: str) -> None:
        assert f"valuebias {command}" in " ".join(succeeded(run(command, "--help")).split())

    def test_version(self, run: Run) -> None:
        assert succeeded(run("--version")) == f"{valuebias.__version__}\n"

    @pytest.mark.parametrize(
        "wrong", [["fitt"], ["fit"], ["fit", "x", "--draws", "0"], ["demo", "--chains", "many"]]
    )
    def test_a_wrong_call_is_status_2(self, run: Run, wrong: list[str]) -> None:
        assert "Usage" in failed(run(*wrong), status=2)


class TestData:
    def test_list(self, run: Run) -> None:
        shown = succeeded(run("data", "list"))
        assert all(name in shown for name in valuebias.datasets.names())

    def test_list_as_json(self, run: Run) -> None:
        listed = json.loads(succeeded(run("data", "list", "--json")))
        assert [entry["name"] for entry in listed] == list(valuebias.datasets.names())

    def test_info(self, run: Run) -> None:
        assert "licence: " in succeeded(run("data", "info", "christian2026-big2"))
        told = json.loads(succeeded(run("data", "info", "christian2026-big2", "--json")))
        assert len(told["files"]) == 10

    def test_misspelt_name(self, run: Run) -> None:
        assert "Did you mean 'demo'?" in failed(run("data", "info", "dmeo"))

    @pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet", ".csv"])
    def test_load(self, run: Run, tmp_path: Path, suffix: str) -> None:
        out = tmp_path / "new" / f"simulated{suffix}"
        assert succeeded(run("data", "load", "simulated", "--out", out)) == f"{out}\n"
        # Not identical: the provenance has the time of loading.
        xr.testing.assert_equal(valuebias.read(out), valuebias.datasets.load("simulated"))

    def test_load_into_what_is_a_file(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "taken").touch()
        assert "'demo.nc'" not in failed(run("data", "load", "demo", "--out", "taken/demo.nc"))

    def test_load_in_an_unknown_format(self, run: Run) -> None:
        assert ".xlsx" in failed(run("data", "load", "demo", "--out", "demo.xlsx"))

    @pytest.mark.usefixtures("released_data")
    def test_load_a_table(self, run: Run, tmp_path: Path) -> None:
        result = run("data", "load", "christian2026-training", "--out", "ranks.csv")
        assert succeeded(result) == "ranks.csv\n"
        assert "Warning: " in result.stderr
        header = (tmp_path / "ranks.csv").read_text(encoding="utf-8").splitlines()[0]
        assert header == "source,n_pairs,base,family,category,checkpoint,median_rank"
        assert ".csv or .parquet" in failed_after_warnings(
            run("data", "load", "christian2026-training", "--out", "ranks.nc")
        )

    def test_read_wide_files(self, run: Run, tmp_path: Path) -> None:
        folder = tmp_path / "wide"
        folder.mkdir()
        for name in ("a", "b"):
            (folder / f"mine_rewards_org_{name}.csv").write_text(
                "response,best_ever_one,worst_ever_one\nlove,1.5,-1\npower,,0.25\n",
                encoding="utf-8",
            )
        models = tmp_path / "models.csv"
        models.write_text(
            "model,family,base,stage\norg/a,Gemma,Gemma 2,reward\norg/b,Llama,Llama 3,reward\n",
            encoding="utf-8",
        )
        succeeded(run("data", "read", folder, "--models", models, "--out", "scores.nc"))
        scores = valuebias.read(tmp_path / "scores.nc")
        assert scores["family"].to_numpy().tolist() == ["Gemma", "Llama"]
        assert np.isnan(scores["score"].sel(model="org/a", response="power")[0])

    def test_read_without_a_models_table(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "mine_rewards_org_a.csv"
        path.write_text("response,best_ever_one\nlove,1\n", encoding="utf-8")
        assert "org/a" in failed(run("data", "read", path, "--out", "scores.nc"))
        assert not (tmp_path / "scores.nc").exists()

    def test_audit(self, run: Run, simulated: xr.Dataset, tmp_path: Path) -> None:
        twins = simulated.copy(deep=True)
        twins["score"][1] = twins["score"][0]
        valuebias.write(twins, tmp_path / "twins.parquet")
        assert "same score in every cell" in succeeded(run("data", "audit", "twins.parquet"))
        found = json.loads(succeeded(run("data", "audit", "twins.parquet", "--json")))
        assert found[0]["severity"] == "problem"


def failed_after_warnings(result: Result) -> str:
    assert result.exit_code == 1
    return str(result.stderr)


class TestLexicons:
    def test_list(self, run: Run) -> None:
        listed = succeeded(run("lexicons", "list"))
        assert "agency-communion   bundled" in listed
        assert "7 more in pyvalues, by pip install" in listed or "pyvalues:schwartz-de" in listed
        rows = json.loads(succeeded(run("lexicons", "list", "--json")))
        assert next(row["state"] for row in rows if row["name"] == "mfd2") == "fetched when used"

    def test_show(self, run: Run) -> None:
        shown = succeeded(run("lexicons", "show", "agency-communion"))
        assert "licence: CC0-1.0" in shown
        assert " ambition " in shown

    def test_show_as_json(self, run: Run) -> None:
        told = json.loads(succeeded(run("lexicons", "show", "agency-communion", "--json")))
        assert sum(map(len, told["words"].values())) == told["n_words"]

    def test_csv_can_be_read_again(self, run: Run, tmp_path: Path) -> None:
        shown = succeeded(run("lexicons", "show", "agency-communion", "--csv"))
        (tmp_path / "copy.csv").write_text(shown, encoding="utf-8")
        again = valuebias.lexicon(tmp_path / "copy.csv")
        assert again.table.equals(valuebias.lexicon("agency-communion").table)

    def test_words_that_would_run_are_inert(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "odd.csv"
        path.write_text(
            "word,category\n=cmd(),agency\n\x1b[31mred,agency\n\u202egnp,communion\n",
            encoding="utf-8",
        )
        shown = succeeded(run("lexicons", "show", path))
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        rows = list(csv.reader(io.StringIO(succeeded(run("lexicons", "show", path, "--csv")))))
        assert rows[1] == ["'=cmd()", "agency"]

    def test_misspelt_name(self, run: Run) -> None:
        assert "Did you mean 'mfd2'?" in failed(run("lexicons", "show", "mdf2"))


class TestPrompts:
    def test_table(self, run: Run) -> None:
        shown = succeeded(run("prompts"))
        assert "best_ever_one" in shown
        assert "What, in one word, is the best thing ever?" in shown

    def test_list(self, run: Run) -> None:
        assert len(succeeded(run("prompts", "--list")).splitlines()) == 54

    def test_csv_can_be_read_again(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "copy.csv").write_text(succeeded(run("prompts", "--csv")), encoding="utf-8")
        again = valuebias.prompts(tmp_path / "copy.csv").table
        assert again["text"].tolist() == valuebias.prompts().table["text"].tolist()
        assert again["framing"].tolist() == valuebias.prompts().table["framing"].tolist()

    def test_json(self, run: Run) -> None:
        rows = json.loads(succeeded(run("prompts", "--json")))
        assert rows[0]["adjective"] == "best"
        assert {row["framing"] for row in rows} == {"positive", "negative"}


class TestBattery:
    def test_a_set_is_written_and_read_again(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "mine.jsonl").write_text(
            "".join(
                json.dumps({"question": f"{i} + 1?", "right": f"{i + 1}", "wrong": ["9", "8"]})
                + "\n"
                for i in range(3)
            )
        )
        asked = ("--questions", "mine.jsonl", "--out", "set.jsonl")
        said = succeeded(run("battery", "length", *asked, "--level", "plain", "--level", "long"))
        assert said == "set.jsonl\n"
        made = valuebias.contrast_set(tmp_path / "set.jsonl")
        mine = valuebias.questions(tmp_path / "mine.jsonl")
        expected = valuebias.battery("length", mine, levels=["plain", "long"])
        assert made.table.equals(expected.table)
        assert made.about == expected.about
        words = ("words", "--lexicon", "agency-communion", "--n-pairs", "2", "-o", "words.jsonl")
        succeeded(run("battery", *words))
        assert len(valuebias.contrast_set(tmp_path / "words.jsonl")) == 16

    def test_an_item_is_shown(self, run: Run) -> None:
        shown = succeeded(
            run("battery", "position", "--questions", "dates", "--n", "3", "--n-options", "2",
                "--seed", "4")
        )  # fmt: skip
        first = valuebias.battery(
            "position", valuebias.questions("dates", n=3, seed=4), n_options=2, seed=4
        ).table
        assert all(response in shown for response in first.loc["dates 1", "response"])
        assert "3 items × 4 variants" in shown

    def test_what_is_wrong_is_said_in_options(self, run: Run, tmp_path: Path) -> None:
        assert "Did you mean 'length'?" in failed(run("battery", "lenght"))
        asked = ("--questions", "dates")
        said = failed(run("battery", "position", *asked, "--n-options", "9"))
        assert "--n-options 4" in said
        assert "is made of questions" in failed(run("battery", "length"))
        assert "not a known format" in failed(run("battery", "length", *asked, "--out", "x.csv"))
        assert "no questions and no file" in failed(run("battery", "length", "--questions", "x"))
        (tmp_path / "mine.csv").write_text("question,right,wrong\n?,a,b\n!,a,b\n")
        mine = ("--questions", "mine.csv")
        assert "n is of questions that are made" in failed(
            run("battery", "length", *mine, "--n", 3)
        )


class TestFit:
    def test_missing_file(self, run: Run) -> None:
        assert "no file 'nowhere.nc'" in failed(run("fit", "nowhere.nc"))

    def test_misspelt_name(self, run: Run) -> None:
        assert "Did you mean 'christian2026-big2'?" in failed(run("fit", "christian2026-big"))

    def test_unusable_place_is_found_before_the_fit(
        self, run: Run, scores_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "taken").touch()
        message = failed(run("fit", scores_file, "--report", "taken/report.html"))
        assert "is a file" in message

    @pytest.mark.parametrize(
        "options", [["--out", "fit.pickle"], ["--report", "r.docx"], ["--out", "fit"]]
    )
    def test_unknown_format_is_found_before_the_fit(
        self, run: Run, scores_file: Path, options: list[str]
    ) -> None:
        assert "not a known format" in failed(run("fit", scores_file, *options))

    def test_defaults_are_those_of_the_function(self) -> None:
        ours = inspect.signature(fits.fit).parameters
        theirs = inspect.signature(valuebias.fit).parameters
        for name in (
            "formula", "outcome", "contrast", "prior", "draws", "chains", "seed", "sampler",
        ):  # fmt: skip
            assert ours[name].default == theirs[name].default, name

    def test_defaults_of_the_papers_analysis_are_those_of_the_function(self) -> None:
        ours = inspect.signature(fits.classical).parameters
        theirs = inspect.signature(valuebias.classical).parameters
        for name in ("contrast", "n_permutations", "seed"):
            assert ours[name].default == theirs[name].default, name

    def test_result_as_json(self, run: Run, scores_file: Path, tmp_path: Path) -> None:
        options = ["--draws", 200, "--tune", 300, "--chains", 2, "--seed", 1]
        options += ["--out", "new/fit.nc", "--json"]
        told = json.loads(succeeded(run("fit", scores_file, *options)))
        saved = valuebias.load(tmp_path / "new" / "fit.nc")
        assert told["headline"] == saved.headline().text
        assert saved.settings["tune"] == 300
        assert told["converged"] is saved.diagnostics().converged
        assert told["files"] == {"fit": "new/fit.nc"}
        assert told["contrasts"][0]["estimand"] == "family difference"
        assert told["contrasts"][0]["name"] == "Gemma - Llama"
        assert told["contrasts"][0]["category"] == "agency - communion"
        assert told["contrasts"][0]["mean"] == pytest.approx(saved.contrasts().loc[0, "mean"])

    def test_result_in_words(self, run: Run, scores_file: Path) -> None:
        options = ["--draws", 200, "--chains", 2, "--seed", 1]
        shown = succeeded(run("fit", scores_file, *options, "--contrast", "communion", "agency"))
        assert "Contrasts (SD), with 90% intervals" in shown
        assert "Gemma − Llama signed communion − agency" in " ".join(shown.split())
        assert "communion over agency" in shown.splitlines()[-1]

    def test_a_formula_without_families(self, run: Run, scores_file: Path) -> None:
        options = ["--draws", 200, "--chains", 2, "--seed", 1]
        shown = succeeded(run("fit", scores_file, *options, "--formula", "~ log10(n_params)"))
        assert "log10(n_params)" in shown
        shown = succeeded(run("fit", scores_file, *options, "--formula", "~ 1"))
        assert "all models" in shown

    def test_a_fit_that_did_not_converge_says_so_first(self, run: Run, scores_file: Path) -> None:
        shown = succeeded(run("fit", scores_file, "--draws", 4, "--chains", 2, "--seed", 1))
        assert shown.startswith("NOT CONVERGED")

    def test_no_probability_is_printed_as_one(self, run: Run, tmp_path: Path) -> None:
        effects = {"A": 4.0, "B": -4.0}
        ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=20, effects=effects, seed=1)
        path = valuebias.write(ds, tmp_path / "apart.nc")
        options = ["--draws", 200, "--chains", 2, "--seed", 1, "--outcome", "raw"]
        shown = succeeded(run("fit", path, *options))
        table = shown.split("Contrasts (score units)")[1]
        row = next(line for line in table.splitlines() if "signed" in line)
        assert re.search(r"> 0\.99\d?$", row.strip())
        told = json.loads(succeeded(run("fit", path, *options, "--json")))
        assert told["contrasts"][0]["p_direction"] == 1
        assert isinstance(told["cautions"], list)

    def test_what_only_touches_a_parameter_is_a_caution(
        self, simulated: xr.Dataset, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fit = valuebias.fit(simulated, draws=20, tune=100, chains=2, seed=1, progress=False)
        found = replace(fit.diagnostics(), converged=True, messages=[], cautions=["a\x1b[31mb"])
        fit.__dict__["_diagnosed"] = found
        print_result(fit, fits.fit)
        shown = capsys.readouterr().out
        assert shown.startswith(r"Caution: a\x1b[31mb")
        assert "NOT CONVERGED" not in shown

    def test_bases_spreads_and_covariates(self, run: Run, tmp_path: Path) -> None:
        ds = simulate(
            n_models={"A": [2, 1], "B": [2, 2]}, n_prompts=4, n_words=20, seed=1,
            covariates={"x": {"gap": 0.5}},
        )  # fmt: skip
        path = valuebias.write(ds, tmp_path / "bases.nc")
        quick = ["--draws", 50, "--chains", 2, "--seed", 1, "--out", "fit.nc"]
        succeeded(run("fit", path, *quick, "--words", "~ x", "--no-spread"))
        kept = valuebias.load(tmp_path / "fit.nc")
        assert (kept.settings["words"], kept.settings["base"], kept.settings["spread"]) == (
            "~ x",
            "base",
            False,
        )
        robust = ["--family", "student", "--residual", "model"]
        tails = ["--heavy-tails", "models", "--heavy-tails", "words"]
        succeeded(run("fit", path, *quick, "--no-base", *robust, *tails))
        kept = valuebias.load(tmp_path / "fit.nc").settings
        assert kept["base"] is None
        assert (kept["family"], kept["residual"]) == ("student", "model")
        assert kept["heavy_tails"] == ["words", "models"]
        both = run("fit", path, "--base", "family", "--no-base")
        assert "contradict" in failed(both, status=2)

    def test_a_bad_formula(self, run: Run, scores_file: Path) -> None:
        message = failed(run("fit", scores_file, "--formula", "~ famly"))
        assert "Did you mean 'family'?" in message

    def test_the_papers_analysis(self, run: Run, scores_file: Path) -> None:
        told = json.loads(succeeded(run("classical", scores_file, "--json")))
        expected = valuebias.classical(valuebias.read(scores_file))
        assert told["headline"] == expected.headline().text
        assert "Welch's t" in succeeded(run("classical", scores_file))


class TestAblation:
    QUICK = ("--draws", 20, "--chains", 2, "--seed", 1)

    def test_is_chosen_by_the_models(self, run: Run, ablation_file: Path, tmp_path: Path) -> None:
        options = [*self.QUICK, "--rope", 0.2, "--out", "fit.nc", "--json"]
        result = run("fit", ablation_file, *options)
        told = json.loads(succeeded(result))
        assert "fitted as an ablation. --no-ablation" in result.stderr
        assert set(told) == {"headline", "converged", "messages", "cautions", "gaps", "by_framing",
                             "slope", "closing", "departures", "levelling", "notes",
                             "files"}  # fmt: skip
        saved = valuebias.load(tmp_path / "fit.nc")
        assert isinstance(saved, AblationFit)
        assert saved.rope == 0.2
        assert told["headline"] == saved.headline().text
        assert [note["code"] for note in told["notes"]] == [note.code for note in saved.notes]
        assert succeeded(run("report", "fit.nc", "--out", "told.md")) == "told.md\n"
        assert (tmp_path / "told.md").read_text(encoding="utf-8").startswith("# Gap in agency")

    def test_in_words_with_a_report(self, run: Run, ablation_file: Path, tmp_path: Path) -> None:
        result = run("fit", ablation_file, "--ablation", *self.QUICK, "--report", "tables/")
        shown = succeeded(result)
        assert "fitted as an ablation" not in result.stderr
        assert "Gaps in agency − communion (SD), with 90% intervals" in shown
        assert "gap per doubling" in shown
        assert (tmp_path / "tables" / "closing.csv").exists()

    def test_can_be_refused(self, run: Run, ablation_file: Path) -> None:
        result = run("fit", ablation_file, "--no-ablation", *self.QUICK)
        assert "Contrasts (SD), with 90% intervals" in succeeded(result)
        assert "'valuebias fit --ablation' says how the gap" in " ".join(result.stderr.split())

    def test_is_not_chosen_where_it_cannot_be_fitted(
        self, run: Run, ablation_file: Path, tmp_path: Path
    ) -> None:
        scores = valuebias.read(ablation_file)
        pairs = scores["n_pairs"].to_numpy().astype(float)
        pairs[0] = np.nan
        broken = valuebias.write(
            scores.assign_coords(n_pairs=("model", pairs)), tmp_path / "broken.nc"
        )
        result = run("fit", broken, *self.QUICK)
        assert "Contrasts (SD), with 90% intervals" in succeeded(result)
        assert "cannot be fitted as an ablation: model 'rm 0' has n_pairs = nan" in result.stderr

    def test_wrong_calls(self, run: Run, ablation_file: Path, scores_file: Path) -> None:
        told = failed(run("fit", scores_file, "--rope", 0.1), status=2)
        assert "is for an ablation" in told
        assert "no coordinate" in failed(run("fit", scores_file, "--ablation"))


class TestReport:
    def test_of_a_saved_fit(self, run: Run, scores_file: Path, tmp_path: Path) -> None:
        options = ["--draws", 200, "--chains", 2, "--seed", 1, "--out", "fit.zarr"]
        shown = succeeded(run("fit", scores_file, *options, "--report", "copy.nc"))
        assert shown.splitlines()[-3:-1] == ["fit.zarr", "copy.nc"]
        assert succeeded(run("report", "fit.zarr", "--out", "told.md")) == "told.md\n"
        first = (tmp_path / "told.md").read_text(encoding="utf-8").splitlines()[0]
        assert first == "# Family difference in agency − communion: Gemma − Llama"
        question = ["--pair", "Llama", "Gemma", "--contrast", "communion", "agency"]
        assert succeeded(run("report", "fit.zarr", "--out", "asked.md", *question)) == "asked.md\n"
        first = (tmp_path / "asked.md").read_text(encoding="utf-8").splitlines()[0]
        assert first == "# Family difference in communion − agency: Llama − Gemma"
        for framing in ("positive", "negative"):
            succeeded(run("report", "fit.zarr", "--out", "asked.md", "--framing", framing))
            said = valuebias.load("fit.zarr").focused(framing=framing).headline()
            page = (tmp_path / "asked.md").read_text(encoding="utf-8")
            assert f"lean under {framing} prompts" in page
            assert f"estimated at {number(2, signed=True)(said.row['mean'])}" in page
        for option, value, message, status in (
            ("--pair", ["Lama", "Gemma"], "Did you mean 'Llama'", 1),
            ("--at", ["n_params"], "NAME=VALUE", 2),
            ("--by", ["stage"], "stage", 1),
        ):
            asked = run("report", "fit.zarr", "--out", "asked.md", option, *value)
            assert message in failed(asked, status=status)

    @pytest.mark.once
    def test_a_fit_is_asked_the_same_by_every_command(self) -> None:
        asked = ("pair", "by", "at", "contrast", "weight", "framing")
        for command in (fits.fit, fits.report):
            assert {*asked} <= {*inspect.signature(command).parameters}

    @pytest.mark.once
    def test_the_last_line_is_what_the_report_says(
        self, run: Run, scores_file: Path, tmp_path: Path
    ) -> None:
        # Of a prior so narrow that twice its width gives another verdict.
        options = ["--draws", 600, "--tune", 300, "--chains", 2, "--seed", 1]
        options += ["--prior", "effect=0.06", "--out", "fit.nc"]
        shown = succeeded(run("fit", scores_file, *options, "--report", "report.md"))
        last = shown.splitlines()[-1]
        assert "That depends on the prior" in last
        page = (tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", "")
        assert last.split(" That depends")[1].split(";")[0] in page
        assert "effect, what the formula adds, such as the difference between families" in page
        assert "model_category, how models of a kind differ in each category" in page
        told = json.loads(
            succeeded(run("fit", scores_file, *options, "--report", "told.md", "--json"))
        )
        assert "That depends on the prior" in told["headline"]
        assert "depends on the prior" not in str(valuebias.load("fit.nc").headline())

    @pytest.mark.once
    def test_levels_that_look_like_numbers_and_several_values(
        self, run: Run, simulated: xr.Dataset, tmp_path: Path
    ) -> None:
        seeds = simulated.assign_coords(
            seed=("model", [1, 2, 1, 2, 1, 2, 1]),
            n_params=("model", [1e9, 2e9, 4e9, 8e9, 1e9, 4e9, 2e9]),
        )
        formula = "~ family * log10(n_params) + C(seed)"
        fit = valuebias.fit(seeds, formula, draws=50, tune=50, chains=2, seed=1, progress=False)
        fit.save("fit.nc")
        for value in ("2", "2.0"):
            succeeded(run("report", "fit.nc", "--out", "asked.nc", "--at", f"seed={value}"))
            row = valuebias.load("asked.nc").contrasts().loc[0]
            assert row["at"] == "seed = 2"
        assert "'3' is not a level" in failed(
            run("report", "fit.nc", "--out", "asked.nc", "--at", "seed=3")
        )
        sizes = ["--at", "n_params=1e9", "--at", "n_params=7e10"]
        succeeded(run("report", "fit.nc", "--out", "sizes.nc", *sizes))
        table = valuebias.load("sizes.nc").contrasts()
        differences = table[(table["form"] == "difference") & (table["variable"] == "family")]
        assert {"n_params = 1e+09", "n_params = 7e+10"} == {*differences["at"]}

    @pytest.mark.once
    def test_weights_of_categories(self, run: Run, tmp_path: Path) -> None:
        scores = simulate(
            n_models={"Gemma": 3, "Llama": 3}, n_prompts=4,
            n_words={"agency": 6, "communion": 6, "other": 6}, seed=1,
        )  # fmt: skip
        valuebias.write(scores, "scores.nc")
        weights = ["--weight", "agency=1", "--weight", "communion=-.5", "--weight", "other=-.5"]
        quick = ["--draws", 50, "--chains", 2, "--seed", 1]
        succeeded(run("fit", "scores.nc", *quick, *weights, "--out", "fit.nc"))
        fit = valuebias.load("fit.nc")
        asked = "agency − (0.5 communion + 0.5 other)"
        assert fit.contrasts().loc[0, "category"] == asked
        turned = ["--weight", "agency=-1", "--weight", "other=1"]
        succeeded(run("report", "fit.nc", "--out", "turned.nc", *turned))
        assert valuebias.load("turned.nc").contrasts().loc[0, "category"] == "other − agency"
        for options, message, status in (
            ([*weights, "--contrast", "agency", "other"], "contradict one another", 2),
            (["--weight", "agency"], "NAME=VALUE", 2),
            (["--weight", "agency=one"], "is not a number", 2),
            (["--weight", "agency=1", "--weight", "agency=-1"], "twice", 2),
            (["--weight", "agency=1"], "sum to zero", 1),
        ):
            asked_for = run("report", "fit.nc", "--out", "turned.nc", *options)
            assert message in failed(asked_for, status=status)

    def test_of_one_model(self, run: Run, simulated: xr.Dataset, tmp_path: Path) -> None:
        valuebias.fit(simulated, draws=50, chains=2, seed=1, progress=False).save("fit.nc")
        name = str(simulated["model"].values[0])
        shown = succeeded(run("card", "fit.nc", "--model", name, "--out", "card.html"))
        assert shown.splitlines()[0] == "card.html"
        assert name in shown.splitlines()[1]
        page = (tmp_path / "card.html").read_text(encoding="utf-8")
        assert "How it leans, and how unusual that is" in page
        said = failed(run("card", "fit.nc", "--model", f"{name}x", "--out", "card.html"))
        assert f"Did you mean '{name}'" in said
        failed(run("card", "fit.nc", "--model", name, "--out", "card.pdf"))

    def test_of_something_else(self, run: Run, scores_file: Path) -> None:
        said = failed(run("report", scores_file, "--out", "report.html"))
        assert f"valuebias fit {scores_file} --out fit.nc" in said
        for name in ("simulated", "scores.csv", "scores of mine.parquet"):
            typed = f"'{name}'" if " " in name else name
            said = failed(run("report", name, "--out", "report.html"))
            assert f"valuebias fit {typed} --out fit.nc" in said


class TestWhatIsThere:
    def test_is_not_replaced_by_what_is_made_of_it(
        self, run: Run, scores_file: Path, tmp_path: Path
    ) -> None:
        before = scores_file.read_bytes()
        said = failed(run("fit", scores_file.name, "--out", scores_file.name))
        assert "is what is read, and would be replaced" in said
        assert scores_file.read_bytes() == before
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("all of it", encoding="utf-8")
        said = failed(run("fit", scores_file.name, "--report", "mine"))
        assert "which no report wrote" in said
        assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "all of it"


@pytest.mark.once
class TestClaims:
    def test_names_what_does_not_follow(
        self, run: Run, simulated: xr.Dataset, tmp_path: Path
    ) -> None:
        fit = valuebias.fit(simulated, draws=200, tune=100, chains=2, seed=1, progress=False)
        fit.save(tmp_path / "fit.nc")
        good, bad = tmp_path / "good.md", tmp_path / "bad.md"
        good.write_text("We fitted 7 models\nand 8 prompts in 2021.\n", encoding="utf-8")
        bad.write_text("We fitted 7 models\nand [red]9 prompts\x1b[31m.\n", encoding="utf-8")
        said = succeeded(run("claims", "good.md", "fit.nc"))
        assert said.startswith("2 of 2 numbers that speak of the fit follow from it.")
        assert "year" in succeeded(run("claims", "good.md", "fit.nc", "--all"))
        result = run("claims", "bad.md", "fit.nc")
        assert result.exit_code == 1
        assert re.search(r"bad.md:2 +9 +does not follow +number of prompts is 8", result.stdout)
        assert "\x1b" not in result.stdout
        assert "[red]" in result.stdout
        result = run("claims", "bad.md", "fit.nc", "--json")
        record = json.loads(result.stdout)
        assert (result.exit_code, record["all_follow"]) == (1, False)
        assert [row["verdict"] for row in record["claims"]] == ["follows", "does not follow"]
        rows = list(csv.DictReader(io.StringIO(run("claims", "bad.md", "fit.nc", "--csv").stdout)))
        assert [row["line"] for row in rows] == ["1", "2"]
        assert "cannot be read" in failed(run("claims", "none.md", "fit.nc"))


@pytest.mark.once
class TestWhatIsNotScores:
    @pytest.mark.parametrize("name", ["fit.nc", "fit.zarr"])
    def test_a_saved_fit(self, run: Run, simulated: xr.Dataset, tmp_path: Path, name: str) -> None:
        # So many draws that few other priors need a fit of their own.
        fit = valuebias.fit(simulated, draws=200, tune=50, chains=2, seed=1, progress=False)
        fit.save(tmp_path / name)
        for command in (["fit"], ["data", "audit"]):
            said = failed(run(*command, name))
            assert f"'{name}' is a saved fit" in said
            assert f"valuebias report {name} --out report.html" in said
        assert succeeded(run("report", name, "--out", "report.html")) == "report.html\n"

    def test_a_folder_or_a_description(self, run: Run, scores_file: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        for command in (["fit"], ["data", "audit"]):
            assert "valuebias data read mine --out" in failed(run(*command, "mine"))
            said = failed(run(*command, "models.yaml"))
            assert "valuebias score models.yaml --store" in said
            assert "valuebias ablate models.yaml --out" in said
        said = failed(run("report", "models.yaml", "--out", "report.html"))
        assert "valuebias fit SCORES --out" in said
        scores_file.rename(tmp_path / "mine" / "scores.nc")
        assert "such as mine/scores.nc" in failed(run("fit", "mine"))

    def test_a_file_of_one_model_and_the_other_way_round(
        self, run: Run, scores_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "wide.csv").write_text("word,best,worst\nlove,1,2\n", encoding="utf-8")
        assert "valuebias data read" in failed(run("fit", "wide.csv"))
        assert "valuebias fit scores.nc" in failed(
            run("data", "read", scores_file.name, "--out", "out.nc")
        )


class TestDemo:
    def test_ends_with_the_reports_path_and_headline(self, run: Run, tmp_path: Path) -> None:
        lines = succeeded(run("demo", "--draws", 200, "--chains", 2)).splitlines()
        assert lines[-2] == "valuebias-demo/report.html"
        saved = valuebias.load(tmp_path / "valuebias-demo" / "fit.nc")
        assert lines[-1] == spoken(str(saved.headline()), ("draws", "chains", "seed"))
        page = (tmp_path / "valuebias-demo" / "report.html").read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        asked = ["valuebias-demo/fit.nc", "--out", "asked.md", "--framing", "positive"]
        succeeded(run("report", *asked))
        page = (tmp_path / "asked.md").read_text(encoding="utf-8")
        assert page.startswith("# Gap in agency − communion under positive prompts")
        said = failed(run("report", *asked[:3], "--pair", "Gemma", "SmolLM2"), status=2)
        assert "do not apply to an ablation" in " ".join(said.split())


class TestPlain:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("naïve 好 👩\u200d🚀", "naïve 好 👩\u200d🚀"),
            ("a\tb\nc", "a\\tb\\nc"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\ud800", "\\ud800"),
            ("\u202eright", "\\u202eright"),
            (3, "3"),
        ],
    )
    def test_shows_letters_and_escapes_controls(self, text: object, shown: str) -> None:
        assert visible(text) == shown


class TestProcess:
    """The installed script itself."""

    SCRIPT = Path(sys.executable).with_name("valuebias")

    def call(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )

    def test_python_runs_the_package(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "valuebias", "--version"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert made.stdout == f"{valuebias.__version__}\n"

    def test_results_and_messages_are_kept_apart(self, tmp_path: Path) -> None:
        good = self.call("prompts", "--list", folder=tmp_path)
        assert (good.returncode, good.stderr) == (0, "")
        assert good.stdout.startswith("What, in one word, is the best thing ever?\n")
        bad = self.call("data", "info", "nothing", folder=tmp_path)
        assert (bad.returncode, bad.stdout) == (1, "")
        assert bad.stderr.startswith("Error: ")
        assert self.call("nothing", folder=tmp_path).returncode == 2

    def test_an_interrupted_fit_leaves_nothing_behind(self, tmp_path: Path) -> None:
        # A terminal, so that the progress bar tells when sampling is under way.
        terminal, theirs = os.openpty()
        arguments = [
            "fit",
            "simulated",
            "--draws",
            "200000",
            "--out",
            "fit.nc",
            "--report",
            "r.html",
        ]
        process = subprocess.Popen([self.SCRIPT, *arguments], cwd=tmp_path, stderr=theirs)
        os.close(theirs)
        shown = b""
        while b"sampling" not in shown:
            shown += os.read(terminal, 1024)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # how Linux says that the other end has closed
            while os.read(terminal, 1024):
                pass
        os.close(terminal)
        assert process.wait(timeout=60) == 130
        assert list(tmp_path.iterdir()) == []
