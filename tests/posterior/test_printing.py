"""What is printed of names in somebody else's file: a terminal must not obey them."""

from __future__ import annotations

import pytest

import valuebias
from valuebias import simulate

HOSTILE = "\x1b[31mred\x1b]8;;http://example.org\x07\u202ex"
FEW = {"draws": 100, "tune": 100, "chains": 2, "seed": 1, "progress": False}


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_no_printed_answer_holds_what_a_terminal_obeys() -> None:
    made = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=12, seed=3)
    families = [HOSTILE if name == "A" else name for name in made["family"].values.tolist()]
    made = made.assign_coords(family=("model", families))
    fit = valuebias.fit(made, **FEW)  # type: ignore[call-overload]
    card = valuebias.card(fit, str(made["model"].values[0]), progress=False)
    for answer in (
        fit, fit.headline(), fit.means(by="family"), fit.comparisons("family"), fit.diagnostics(),
        fit.placebo(n=49), card, valuebias.classical(made, n_permutations=9, progress=False),
    ):  # fmt: skip
        for text in (str(answer), repr(answer)):
            assert all(letter.isprintable() or letter == "\n" for letter in text), type(answer)
