"""Numbers of a manuscript that follow from a fit, and those that do not."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import Claims, Fit, ValueBiasError, ValueBiasWarning, check_claims
from valuebias._core.manuscripts import Passage, WrittenNumber, read_passages
from valuebias.posterior.claim_verdicts import FAULTS, Judge
from valuebias.posterior.claims import describe

# Numbers below are those of the draws of this sampler.
SETTINGS = {
    "draws": 1000, "tune": 400, "chains": 2, "seed": 3, "sampler": "nutpie", "progress": False,
}  # fmt: skip
MINUS = "−"


pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def fit(simulated: xr.Dataset) -> Fit:
    fitted = valuebias.fit(simulated, **SETTINGS)  # type: ignore[call-overload]
    assert isinstance(fitted, Fit)
    return fitted


@pytest.fixture(scope="module")
def reports(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    for name in ("report.md", "report.tex"):
        fit.report(folder / name, progress=False)
    return folder


@pytest.fixture(scope="module")
def passages(reports: Path) -> list[Passage]:
    return read_passages((reports / "report.md").read_text(encoding="utf-8"), latex=False)


@pytest.fixture(scope="module")
def judge(fit: Fit) -> Judge:
    return Judge(fit)


def judged(text: str, judge: Judge, *, latex: bool = False) -> pd.DataFrame:
    """Give the table of a text, as check_claims does, without going through the fit again."""
    return pd.DataFrame(judge.rows(read_passages(text, latex=latex)))


def verdict(text: str, judge: Judge, *, at: int = 0) -> str:
    """Give the verdict on the first number that is checked, or a later one."""
    table = judged(text, judge)
    checked = table[table["verdict"] != "not checked"]
    return str(checked["verdict"].iloc[at])


def number(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", MINUS)


class TestItsOwnReport:
    @pytest.mark.parametrize("name", ["report.md", "report.tex"])
    def test_follows_from_the_fit(self, fit: Fit, reports: Path, name: str) -> None:
        claims = check_claims(reports / name, fit)
        assert claims.all_follow, str(claims)
        counts = claims.table["verdict"].value_counts()
        # "The 20 words of 27": how many are listed is no number of the fit.
        assert counts["follows"] > 500
        assert claims.to_mend["number"].tolist() == ["20", "20"]
        assert set(claims.to_mend["remark"]) == {"it may count some of them"}
        assert (claims.table.loc[claims.table["verdict"] == "not checked", "remark"] != "").all()

    def test_every_sort_of_number_in_it_is_known(self, fit: Fit, reports: Path) -> None:
        table = check_claims(reports / "report.md", fit).table
        quantities = set(table.loc[table["verdict"] == "follows", "quantity"])
        for part in ("mean of family difference", "lower of model lean", "p_rope of family lean",
                     "p_direction of ", "ess_bulk of sd[word", "rhat of mean[", "prior of sd[word]",
                     "number of models", "wrong_signs of ",
                     "mean of predicted lean, these words", "number of tunings"):  # fmt: skip
            assert any(quantity.startswith(part) for quantity in quantities), part


class TestAlterations:
    """Every number of the report that followed is altered, and looked at again."""

    def altered(
        self, judge: Judge, passages: list[Passage], alter: Callable[[WrittenNumber], WrittenNumber]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Give the rows of the numbers that followed and were altered, before and after."""
        before = pd.DataFrame(judge.rows(passages))
        follows = iter((before["verdict"] == "follows").tolist())
        changed = [
            replace(
                passage,
                numbers=tuple(alter(one) if next(follows) else one for one in passage.numbers),
            )
            for passage in passages
        ]
        after = pd.DataFrame(judge.rows(changed))
        old, new = ([one for p in each for one in p.numbers] for each in (passages, changed))
        after["altered"], after["unit"] = [one.value for one in new], [one.unit for one in new]
        asked = np.array([one != other for one, other in zip(old, new, strict=True)])
        return before[asked], after[asked]

    @pytest.mark.parametrize("change", [2, -2, 3])
    def test_of_the_last_digit(
        self,
        judge: Judge,
        passages: list[Passage],
        change: int,
        record_property: Callable[[str, object], None],
    ) -> None:
        def alter(one: WrittenNumber) -> WrittenNumber:
            return one if one.relation else replace(one, value=one.value + change * one.unit)

        before, after = self.altered(judge, passages, alter)
        assert len(after) > 450
        missed = after["verdict"] == "follows"
        record_property(
            f"last digit {change:+}: caught", f"{1 - missed.mean():.1%} of {len(after)}"
        )
        assert missed.mean() < 0.03
        # What still follows is another number that the sentence can mean, and is said to be cheap.
        for i in after.index[missed]:
            assert abs(after.at[i, "value"] - after.at[i, "altered"]) <= after.at[i, "unit"] * 0.51
            assert (after.at[i, "quantity"], after.at[i, "value"]) != (
                before.at[i, "quantity"],
                before.at[i, "value"],
            )

    def test_of_the_sign(
        self,
        judge: Judge,
        passages: list[Passage],
        record_property: Callable[[str, object], None],
    ) -> None:
        def alter(one: WrittenNumber) -> WrittenNumber:
            turned = one.signed and abs(one.value) > one.unit and not one.relation
            return replace(one, value=-one.value) if turned else one

        _, after = self.altered(judge, passages, alter)
        assert len(after) > 150
        caught = after["verdict"].isin(FAULTS)
        record_property("sign: caught", f"{caught.mean():.1%} of {len(after)}")
        assert caught.mean() > 0.98
        assert (after["verdict"] == "sign").mean() > 0.9

    def test_of_bounds(self, judge: Judge, passages: list[Passage]) -> None:
        def alter(one: WrittenNumber) -> WrittenNumber:
            other = {">": "<", "<": ">"}.get(one.relation, one.relation)
            return replace(one, relation=other) if one.percent else one

        before, after = self.altered(judge, passages, alter)
        assert len(after) > 5
        follows = after["verdict"] == "follows"
        assert (after.loc[~follows, "verdict"] == "does not follow").all()
        # "The probability that it is positive" does not say what is: of another quantity it may be
        # true, and is said to be cheap.
        assert follows.sum() <= 1
        assert (after.loc[follows, "quantity"] != before.loc[follows, "quantity"]).all()
        assert (after.loc[follows, "by_chance"] == 1).all()

    def test_of_the_order_of_levels(
        self, judge: Judge, reports: Path, record_property: Callable[[str, object], None]
    ) -> None:
        text = (reports / "report.md").read_text(encoding="utf-8")
        text = text[: text.index("## The paper's specification")]
        swapped = text.replace("Gemma", "Xx").replace("Llama", "Gemma").replace("Xx", "Llama")
        swapped = (
            swapped.replace("gemma-", "xx-").replace("llama-", "gemma-").replace("xx-", "llama-")
        )
        before, after = (judged(t, judge) for t in (text, swapped))
        of_sign = before["quantity"].str.match("(?:mean|median|lower|upper) of") & (
            before["verdict"] == "follows"
        )
        followed = after.loc[of_sign, "verdict"] == "follows"
        record_property("levels swapped: caught", f"{1 - followed.mean():.1%} of {of_sign.sum()}")
        # Of a mean over all models nothing is swapped.
        free = before.loc[of_sign, "quantity"].str.contains("overall lean|largest|least")
        assert followed[~free].mean() < 0.05

    def test_of_the_headline_in_its_text(self, fit: Fit) -> None:
        text = str(fit.headline())
        assert check_claims(text, fit).all_follow
        found = list(re.finditer(r"[+−]?\d+\.\d+", text))
        assert len(found) >= 4
        for m in found:
            other = m[0][:-1] + str((int(m[0][-1]) + 5) % 10)
            if text[: m.start()].endswith("above "):
                # A lower bound would hold, too; one that draws cannot show does not.
                other = "99.99"
            wrong = text[: m.start()] + other + text[m.end() :]
            faults = check_claims(wrong, fit).faults
            assert faults["number"].str.contains(re.escape(other)).any(), wrong


def test_the_headline_of_several_families_follows() -> None:
    effects = {"Gemma": 0.5, "Llama": -0.3, "Qwen": 0.0}
    ds = valuebias.simulate(
        n_models=dict.fromkeys(effects, 4), n_prompts=8, n_words=40, effects=effects, seed=3
    )
    fit = valuebias.fit(ds, draws=500, tune=200, chains=2, seed=1, progress=False)
    claims = check_claims(str(fit.headline()), fit)  # type: ignore[arg-type]
    assert (claims.table["verdict"] == "follows").sum() == 11, str(claims)
    assert claims.to_mend.empty


def sized(*families: str, n: int = 6) -> xr.Dataset:
    ds = valuebias.simulate(n_models=dict.fromkeys(families, n), n_prompts=4, n_words=20, seed=1)
    return ds.assign_coords(size=("model", np.tile(np.linspace(1, 2.5, n), len(families))))


OWN = "a sentence of the fit's own"
HEADLINES = {
    "a number crossed with the families": (("A", "B"), {"formula": "~ family*size"}),
    "a polynomial": (("A", "B"), {"formula": "~ family*poly(size, 2)"}),
    "a polynomial of three": (("A", "B", "C"), {"formula": "~ family*poly(size, 2)"}),
    "a spline": (("3", "4"), {"formula": "~ family*bs(size, df=4)"}),
    "three families": (("A", "B", "C"), {}),
    "a family named 3": (("3", "B"), {}),
    "three named by numbers": (("3", "4", "1.5"), {}),
    "two named by numbers": (("3", "4"), {"formula": "~ family*size"}),
    "weights": (("A", "B"), {"contrast": {"agency": 0.5, "communion": -0.5}}),
    "a rule": (("A", "B"), {"prereg": {"decision": "p_positive >= 0.975 and p_rope < 0.05"}}),
}


@pytest.mark.parametrize("name", HEADLINES)
def test_every_headline_follows(name: str) -> None:
    families, options = HEADLINES[name]
    fit = valuebias.fit(
        sized(*families), draws=200, tune=200, chains=2, seed=1, progress=False, **options
    )  # type: ignore[call-overload]
    text = str(fit.headline())
    claims = check_claims(text, fit)
    assert claims.all_follow, str(claims)
    assert claims.to_mend.empty, str(claims)
    assert (claims.table["verdict"] == "follows").sum() >= 5
    # By what its sentences mean, rather than as known texts; but of what is no estimate.
    known = claims.table[claims.table["remark"] == OWN]
    assert known["number"].isin(["0.975", "0.05"]).all(), str(known)
    # An estimate that is another is found, as is the probability of a direction.
    for form in (r"estimated at ([+−]\d\.\d\d)", r"(\d\d\.\d%)"):
        found = re.search(form, text)
        assert found
        wrong = text[: found.start(1)] + found[1].replace(".", ".9", 1) + text[found.end(1) :]
        assert not check_claims(wrong, fit).to_mend.empty, wrong


def test_the_headline_of_an_unconverged_fit_of_one_model_follows() -> None:
    ds = valuebias.simulate(n_models={"A": 1}, n_prompts=2, n_words=3, seed=1).isel(prompt=[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(
            ds, draws=200, tune=5, chains=2, seed=3, sampler="nutpie", progress=False
        )
    assert isinstance(fit, Fit)
    text = str(fit.headline())
    assert "transitions diverged" in text
    claims = check_claims(text, fit)
    assert claims.to_mend.empty, str(claims)
    remarks = dict(zip(claims.table["number"], claims.table["remark"], strict=True))
    assert remarks["0.5"] == "an argument"
    divergent = str(fit.diagnostics().divergences)
    assert remarks[divergent] in (OWN, "zero or one")
    probability = re.search(r"that it is positive is (\d\d\.\d%)", text)
    assert probability
    assert claims.table.set_index("number").loc[probability[1], "verdict"] == "follows"


def test_what_a_view_says_of_its_values_is_its_own(tmp_path: Path) -> None:
    fit = valuebias.fit(
        sized("A", "B"), "~ family + size", draws=50, tune=50, chains=2, seed=1, progress=False
    )
    view = fit.focused(at={"size": 9})
    text = str(view.headline())
    assert "have size from 1 to 2.5, not 9: the formula alone" in text
    for fits in (view, valuebias.load(view.save(tmp_path / "view.nc"))):
        claims = check_claims(text, fits)
        assert claims.to_mend.empty, str(claims)
        assert {"2.5", "9"} <= {*claims.table.loc[claims.table["remark"] == OWN, "number"]}
        # Not word for word it is no longer so.
        other = check_claims(text.replace("from 1 to 2.5", "from 1 to 3.5"), fits)
        assert "3.5" in other.to_mend["number"].tolist()


class TestForms:
    @pytest.mark.parametrize(
        "form",
        ["0.XY", ".XY", "+0.XY", "$0.XY$", "$+.XY$", r"\num{0.XY}", "**0.XY**", "X.Ye-1",
         r"$X.Y \times 10^{-1}$", "X.Y × 10^-1", "0.XY SD", "`0.XY`", "_0.XY_"],
    )  # fmt: skip
    def test_of_a_number(self, fit: Fit, judge: Judge, form: str) -> None:
        first, second = f"{fit.contrasts().loc[0, 'mean']:.2f}".removeprefix("0.")
        text = f"The difference in lean, Gemma {MINUS} Llama, is {form}."
        text = text.replace("X", first)
        assert verdict(text.replace("Y", second), judge) == "follows"
        other = str((int(second) + 5) % 10)
        assert verdict(text.replace("Y", other), judge) == "does not follow"

    @pytest.mark.parametrize(
        "form",
        ["{0:.0f}%", "{0:.0f} %", r"{0:.0f}\%", r"${0:.0f}\,\%$", "{1:.2f}", "{2}"],
        ids=["75%", "75 %", r"75\%", r"$75\,\%$", "0.75", ".750"],
    )
    def test_of_a_probability(self, fit: Fit, judge: Judge, form: str) -> None:
        table = fit.contrasts()
        lean = table[(table["estimand"] == "family lean") & (table["name"] == "Gemma")].iloc[0]
        p = lean["p_direction"]
        said = form.format(100 * p, p, f"{p:.3f}".removeprefix("0"))
        assert verdict(f"Gemma's lean has this sign with probability {said}.", judge) == "follows"

    @pytest.mark.parametrize("prob", [0.5, 0.8, 0.9, 0.95])
    @pytest.mark.parametrize(
        "form", ["[{}, {}]", "{} to {}", "({}–{})", "({}; {})", "between {} and {}"]
    )
    def test_of_an_interval_at_any_probability(
        self, fit: Fit, judge: Judge, prob: float, form: str
    ) -> None:
        row = fit.contrasts(prob=prob).loc[0]
        ends = form.format(f"{row['lower']:.2f}", f"{row['upper']:.2f}")
        text = f"Gemma {MINUS} Llama differ (the {prob:.0%} interval is {ends})."
        assert (judged(text, judge)["verdict"].tolist()) == [
            "not checked", "follows", "follows",
        ]  # fmt: skip
        other = text.replace(f"{prob:.0%}", "99%")
        assert judged(other, judge)["verdict"].tolist().count("follows") < 2

    def test_of_it(self, judge: Judge) -> None:
        """What goes on about a difference is of no lean, of which it would be true."""
        begun = "Gemma and Llama differ. The difference matters. "
        for text, said in (
            ("The probability that it is positive is less than 90%.", "does not follow"),
            ("The probability that it is positive is above 90%.", "follows"),
        ):
            assert verdict(begun + text, judge) == said, text

    def test_of_bounds(self, fit: Fit, judge: Judge) -> None:
        for text, said in (
            ("The probability of the difference is > 99%.", "follows"),
            ("The probability of the difference is above 99.99%.", "does not follow"),
            ("The probability of the difference is less than 0.9.", "does not follow"),
            ("All R-hat were below 1.05.", "follows"),
            ("All R-hat were at most 0.98.", "does not follow"),
            ("The effective sample sizes are at least 100.", "follows"),
            ("The effective sample sizes exceed 90,000.", "does not follow"),
        ):
            assert verdict(text, judge) == said, text

    def test_of_counts(self, fit: Fit, judge: Judge) -> None:
        for text, said in (
            ("We fitted 7 models.", "follows"),
            ("We fitted 9 models.", "does not follow"),
            ("There were 3 Gemma models and four others.", "follows"),
            ("There were 7 Gemma models.", "does not follow"),
            ("12 agency words were scored.", "follows"),
            ("15 agency words were scored.", "does not follow"),
            ("There were 2 chains of 1,000 draws.", "follows"),
            ("There were 2 chains of 4,000 draws.", "follows"),
            ("Of the words, 5 of these words have a certain sign.", "not found"),
        ):
            assert verdict(text, judge) == said, text
        assert verdict("There were 2 chains of 4,000 draws.", judge, at=1) == "does not follow"

    def test_of_orders(self, fit: Fit, judge: Judge) -> None:
        mean = float(fit.contrasts().loc[0, "mean"])
        lean = f"{mean:.2f}"
        # The neighbour on the other side of what was rounded.
        beside = float(lean) + (0.01 if mean > float(lean) else -0.01)
        for text, said in (
            (f"Llama − Gemma, the difference in lean, is −{lean}.", "follows"),
            (f"Llama − Gemma, the difference in lean, is {lean}.", "sign"),
            (f"Gemma models lean more to agency than Llama models, by {lean}.", "follows"),
            (f"Llama models lean to agency less than Gemma, {lean} SD less.", "follows"),
            (f"Gemma − Llama in communion over agency: the difference is −{lean}.", "follows"),
            (f"Gemma − Llama in communion over agency: the difference is {lean}.", "sign"),
            (f"The difference in lean is {beside:.2f}.", "rounded wrongly"),
        ):
            assert verdict(text, judge) == said, text

    def test_of_something_else(self, fit: Fit, judge: Judge) -> None:
        table = fit.contrasts().query("form == 'lean' and framing == 'signed'").set_index("name")
        lean = number(table.loc["Llama", "mean"], 4)
        row = judged(f"The lean of Gemma is {lean}.", judge).iloc[0]
        assert row["verdict"] == "of something else"
        assert "Llama" in row["quantity"]
        assert "Gemma" in row["remark"]

    def test_of_what_a_sentence_leaves_to_the_one_before(self, fit: Fit, judge: Judge) -> None:
        table = fit.contrasts().query("form == 'lean' and framing == 'positive'").set_index("name")
        lean = table.loc["Llama"]
        said = f"Under positive prompts Llama leans the other way. The lean is {lean['mean']:.3f}."
        assert verdict(said, judge) == "follows"
        assert verdict(said.replace(". The", ".\n\nThe"), judge) != "follows"

    def test_chance_counts_what_the_sentence_can_mean(self, fit: Fit, judge: Judge) -> None:
        mean = fit.contrasts()["mean"].iloc[0]
        one = judged(f"The difference in lean, Gemma − Llama, is {mean:.3f}.", judge)
        several = judged(f"The leans and differences of Gemma and Llama: {mean:.2f}.", judge)
        assert 0 < one["by_chance"].iloc[0] < 0.01 < several["by_chance"].iloc[0]
        bound = check_claims("All R-hat < 1.05.", fit)
        assert bound.table["by_chance"].iloc[0] > 0.99
        assert "about 1.0 of these 1 would have followed by chance" in bound.summary()


class TestWhatIsNoClaim:
    TEXT = """# 3.1 Results of 2 models

The models (Smith et al., 2020; [12]) are in Figure 3a and Tables 2 and 3 of section 4.
We had 0 divergences. P-values of models: p < .05. Priors: the prior scale of word halved, 0.44.
Rain fell on 31 days. It was 2021-05-04. Models of `size = 33` see https://a.org/55 <!-- 66 -->
The models have 77 eyes. <!-- claims: skip -->

<!-- claims: skip -->
The models have 88 legs
and 99 arms.

```
lean = 111
```

2. GPT-4 and Llama-3.1-8B v1.2.3 are models.
"""

    def test_is_listed_with_the_reason(self, fit: Fit, judge: Judge) -> None:
        table = judged(self.TEXT, judge)
        reasons = dict(zip(table["number"], table["remark"], strict=True))
        assert {
            "3.1": "list or heading", "2020": "year", "12": "citation", "3": "numbering",
            "4": "numbering", "0": "zero or one", ".05": "a fit has no p-values or test statistics",
            "31": "its sentence names nothing of the fit", "77": "marked", "88": "marked",
            "99": "marked", "2.": "",
        }.items() - reasons.items() == {("2.", "")}  # fmt: skip
        assert not {"33", "55", "66", "111", "8", "1.2"} & {*reasons}
        lines = dict(zip(table["number"], table["line"], strict=True))
        assert (lines["77"], lines["99"], lines["31"]) == (6, 10, 5)

    def test_latex_has_comments_and_tables(self, fit: Fit, judge: Judge) -> None:
        text = r"""\documentclass{article}[11pt]
\begin{document}
The models\cite[p.~3]{x2020} % were 55
lean \SI{MEAN}{SD} (90\,\% CI $[LOW, HIGH]$), Gemma $-$ Llama, $\hat{R} \leq 1.05$.
% claims: skip
There were 55 models.

\begin{tabular}{p{3cm}r}
model &
90\,\% interval \\ \midrule
Gemma $-$ Llama & $LOW$ to $HIGH$ \\
\end{tabular}
\begin{verbatim} 66 models \end{verbatim}
\end{document}
"""
        names = ("mean", "lower", "upper")
        mean, low, high = (f"{fit.contrasts().loc[0, name]:.2f}" for name in names)
        text = text.replace("MEAN", mean).replace("LOW", low).replace("HIGH", high)
        table = judged(text, judge, latex=True)
        assert table["number"].str.replace("\u2009", " ").tolist() == [
            mean, "90 %", low, high, "1.05", "55", "90 %", low, high,
        ]  # fmt: skip
        said = table["verdict"].tolist()
        assert said.count("follows") == 6, table
        assert table["line"].tolist() == [4, 4, 4, 4, 4, 6, 10, 11, 11]
        assert table.loc[5, "remark"] == "marked"


class TestBadInput:
    def test_files(self, fit: Fit, tmp_path: Path) -> None:
        path = tmp_path / "a.md"
        path.write_bytes(b"lean \xff\xfe 0.4")
        with pytest.raises(ValueBiasError, match="not UTF-8"):
            check_claims(path, fit)
        with pytest.raises(ValueBiasError, match="cannot be read"):
            check_claims(tmp_path / "b.md", fit)
        with pytest.raises(ValueBiasError, match="must be a text or a path, found 'int'"):
            check_claims(3, fit)  # type: ignore[arg-type]
        with pytest.raises(
            ValueBiasError, match=r"found 'Dataset'\. Of an ablation give its \.fit"
        ):
            check_claims("lean 0.4", fit.data)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "form", ["{} The lean is 0.4.", "| of | lean |\n| - | - |\n| Llama{} | 0.4 |"]
    )
    def test_half_a_surrogate_pair_is_any_other_character(self, fit: Fit, form: str) -> None:
        text = form.format("\ud83d")
        row = check_claims(text, fit).table.iloc[-1]
        other = check_claims(text.replace("\ud83d", "☃"), fit).table.iloc[-1]
        assert row["text"] == other["text"].replace("☃", "\ud83d")
        assert [*map(str, row.drop("text"))] == [*map(str, other.drop("text"))]
        assert "\\ud83d" in str(check_claims("The lean is 0.41234, \ud83d.", fit))

    def test_tables_of_data_are_no_manuscript(self, fit: Fit) -> None:
        with pytest.raises(ValueBiasError, match="more than 20,000 numbers"):
            check_claims("The lean is 0.25.\n" * 20_001, fit)
        with pytest.raises(ValueBiasError, match="characters, of 8,000,000 at most"):
            check_claims("x" * 8_000_001, fit)

    @pytest.mark.parametrize("latex", [False, True])
    def test_a_hostile_line_takes_no_longer_than_its_length(
        self, judge: Judge, *, latex: bool
    ) -> None:
        judged("The lean is 0.2.", judge)
        pieces = ("1 2.5 ", "`", "[@", "<!--", r"\cite[", r"\cite{", "{", "\\", "&", "|", "-1",
                  ",000", "fig. 1, ", "https://", "Gemma than ", "1. ", "1e9", "× 10^", "_1",
                  "between ",
                  "(", "&lt;", r"\begin{verbatim}", "$", ". ", "9.9% interval ")  # fmt: skip
        for piece in pieces:
            text = piece * (200_000 // len(piece))
            start = time.process_time()
            with suppress(ValueBiasError):
                judged(text, judge, latex=latex)
            # What takes the square of the length takes minutes.
            assert time.process_time() - start < 4, piece

    def test_names_and_texts_are_shown_inert(self, hostile_fit: Fit, hostile_reports: Path) -> None:
        for name in ("report.md", "report.tex"):
            claims = check_claims(hostile_reports / name, hostile_fit)
            assert (claims.table["verdict"] == "follows").sum() > 350
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", str(claims))


Rows = dict[str, "pd.Series[Any]"]


@pytest.fixture(scope="module")
def found(fit: Fit) -> Rows:
    table = fit.contrasts()
    signed = table[table["framing"] == "signed"]
    leans = signed[(signed["form"] == "lean") & (signed["variable"] == "family")]
    rows = {str(row["name"]): row for _, row in leans.iterrows()}
    return rows | {"difference": table.iloc[0]}


class TestOfWhatANumberIs:
    """The sentence decides, and what stands before it only where it goes on."""

    def test_a_lean_is_no_difference(self, found: Rows, judge: Judge) -> None:
        lean, difference = found["Gemma"]["mean"], found["difference"]["mean"]
        assert abs(lean - difference) > 0.05
        assert verdict(f"The lean of Gemma was {number(lean)} SD.", judge) == "follows"
        for text in ("The lean of Gemma was {}.", "Gemma's lean was {} SD."):
            assert verdict(text.format(number(difference)), judge) in FAULTS
        less = f"Gemma leans {abs(difference):.2f} SD further towards agency than Llama."
        assert verdict(less, judge) == "follows"

    @pytest.mark.parametrize("every", ["All R-hat of the contrasts were", "All R-hat were",
                                       "No R-hat was above; R-hats are"])  # fmt: skip
    def test_a_bound_on_all_holds_of_the_worst(self, every: str, fit: Fit, judge: Judge) -> None:
        worst = fit.diagnostics().max_rhat
        assert verdict(f"{every} below {worst + 1e-4:.4f}.", judge) == "follows"
        table = judged(f"{every} below {worst - 1e-4:.4f}.", judge)
        assert table["verdict"].tolist() == ["does not follow"]
        assert table["quantity"].str.contains("rhat").all()
        least = fit.diagnostics().min_ess_bulk
        text = f"All effective sample sizes were above {least + 5:.0f}."
        assert verdict(text, judge) in FAULTS

    def test_a_table_is_of_its_caption_not_of_the_paragraph_before(
        self,
        found: Rows,
        judge: Judge,
    ) -> None:
        rows = [f"| {n} | {number(found[n]['mean'] + off)} |" for n, off in
                (("Gemma", 0), ("Llama", 0.3))]  # fmt: skip
        table = "\n".join(["| family | lean |", "|---|---|", *rows])
        after = judged(f"The mixed model gave t = 7.9.\n\n{table}", judge)
        assert after["verdict"].tolist()[1:] == ["follows", "does not follow"]
        captioned = judged(
            f"The mixed model's t, by family:\n\n{table}".replace("t,", "t = 1,"), judge
        )
        assert set(captioned["verdict"]) == {"not checked"}

    @pytest.mark.parametrize(
        "ends", [("lower", "upper"), ("lwr", "upr"), ("Lower 90%", "Upper 90%")]
    )
    def test_the_packages_own_headings(
        self,
        ends: tuple[str, str],
        found: Rows,
        judge: Judge,
    ) -> None:
        rows = [
            " | ".join(
                ["", name, *(number(row[c]) for c in ("mean", "lower", "upper")), ""]
            ).strip()
            for name, row in found.items()
            if name != "difference"
        ]
        text = "\n".join([f"| family | mean | {ends[0]} | {ends[1]} |", "|---|---|---|---|", *rows])
        table = judged(f"Leans with 90% intervals.\n\n{text}", judge)
        assert table.loc[~table["number"].str.endswith("%"), "verdict"].eq("follows").all()
        row = found["Gemma"]
        swapped = text.replace(number(row["lower"]), number(row["upper"] + 0.07))
        assert set(judged(swapped, judge)["verdict"]) > {"follows"}

    @pytest.mark.parametrize(
        "text",
        [
            "The lean of {a} is {x} SD and that of {b} is {y} SD.",
            "{a} leans by {x} SD, {b} by {y} SD.",
            "Mean leans were {x} SD ({a}) and {y} SD ({b}).",
            "{a} and {b} had mean leans of {x} SD and {y} SD, respectively.",
        ],
    )
    def test_each_number_is_of_its_own_name(self, text: str, found: Rows, judge: Judge) -> None:
        x, y = (number(found[name]["mean"]) for name in ("Gemma", "Llama"))
        right = judged(text.format(a="Gemma", b="Llama", x=x, y=y), judge)
        assert right["verdict"].tolist() == ["follows"] * 2
        swapped = judged(text.format(a="Llama", b="Gemma", x=x, y=y), judge)
        assert swapped["verdict"].isin(FAULTS).all()

    @pytest.mark.parametrize(
        "text",
        [
            "The difference Gemma − Llama was {x} SD under {a} prompts and {y} SD under {b} ones.",
            "Under {a} and {b} prompts Gemma − Llama differ by {x} and {y} SD, respectively.",
            "Under {a} prompts Gemma − Llama differ by {x} SD, under {b} ones by {y} SD.",
        ],
    )
    def test_each_number_is_of_its_own_framing(self, text: str, fit: Fit, judge: Judge) -> None:
        table = fit.contrasts()
        under = table[table["form"] == "difference"].set_index("framing")["mean"]
        x, y = (number(under[name]) for name in ("positive", "negative"))
        right = judged(text.format(a="positive", b="negative", x=x, y=y), judge)
        assert right["verdict"].tolist() == ["follows"] * 2
        swapped = judged(text.format(a="negative", b="positive", x=x, y=y), judge)
        assert swapped["verdict"].isin(FAULTS).all()

    def test_towards_a_category(self, found: Rows, judge: Judge) -> None:
        lean = found["Llama"]["mean"]
        assert lean < -0.1
        for towards, said in (("communion", "follows"), ("agency", "sign")):
            text = f"Llama's models lean towards {towards} by {abs(lean):.2f} SD."
            assert verdict(text, judge) == said

    def test_the_probability_of_the_region(self, found: Rows, judge: Judge) -> None:
        inside = found["difference"]["p_rope"]
        for text in ("P(ROPE) = {}.", "The probability that the difference is practically zero "
                     "(ROPE) is {}."):  # fmt: skip
            assert verdict(text.format(f"{inside:.3f}"), judge) == "follows"
            assert verdict(text.format(f"{inside + 0.2:.3f}"), judge) in FAULTS
        assert "a decimal comma" in judged("The difference was 0,23 SD.", judge)["remark"].tolist()

    def test_a_sentence_without_framing_may_be_of_the_headlines(
        self,
        fit: Fit,
        found: Rows,
        judge: Judge,
    ) -> None:
        table = fit.contrasts()
        under = table[table["form"] == "difference"].set_index("framing")["mean"]
        text = (
            f"Under negative prompts the difference Gemma − Llama is {number(under['negative'])} "
            f"and under positive ones {number(under['positive'])}. The lean of Gemma was "
            f"{number(found['Gemma']['mean'])} and that of Llama {number(found['Llama']['mean'])}. "
            f"The probability that the difference is within ±0.05 SD was "
            f"{found['difference']['p_rope']:.0%}."
        )
        assert set(judged(text, judge)["verdict"]) <= {"follows", "not checked"}


@pytest.mark.released_data
def test_the_released_scores_in_a_manuscript(big2: xr.Dataset) -> None:
    fit = valuebias.fit(big2, draws=500, tune=300, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    row = fit.contrasts(prob=0.95).loc[0]
    text = (
        "Ten reward models, 10 models on 5 bases, scored 265 words after 54 prompts.\n"
        f"The difference in lean, Gemma {MINUS} Llama, was {number(row['mean'])} "
        f"(95% CrI [{number(row['lower'])}, {number(row['upper'])}]). {fit.headline()}"
    )
    claims = check_claims(text, fit)
    assert claims.all_follow, str(claims)
    assert len(claims.table[claims.table["verdict"] == "follows"]) >= 12
    assert describe(claims.table.iloc[0])
    assert isinstance(claims, Claims)
    other = check_claims(text.replace("10 models on 5 bases", "10 models on 6 bases"), fit)
    assert "6" in other.faults["number"].tolist()
