"""Batteries: nothing differs between variants but what is said, and all is balanced."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ContrastSet, ValueBiasError, battery, battery_names, contrast_set, schema
from valuebias.instruments.battery_rules import RULES
from valuebias.instruments.word_battery import FRAMES, syllables

HOSTILE = "{word} {0} <script>alert(1)</script>\r\n=1+1\t“é” \u202e %s \\n \"quoted\", '' A) B)"
OF_QUESTIONS = tuple(RULES)
MODELS = pd.DataFrame({"family": ["A", "B"], "stage": "reward"}, index=["org/a", "org/b"])


@pytest.fixture(scope="module")
def sums() -> valuebias.QuestionSet:
    return valuebias.questions("arithmetic", n=24, seed=1)


def responses(made: ContrastSet) -> pd.DataFrame:
    return made.table["response"].unstack("variant")[list(made.variants)].loc[list(made.items)]


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("name", OF_QUESTIONS)
def test_every_item_has_all_variants_and_the_plain_ones_first(
    name: str, sums: valuebias.QuestionSet
) -> None:
    made = battery(name, sums)
    n_variants = {"answers": 4, "length": 8, "hedging": 8, "position": 16}.get(name, 6)
    assert made.name == name
    assert made.items == sums.items
    assert len(made.variants) == n_variants
    assert len(made.table) == n_variants * len(sums)
    assert made.table.groupby("variant", sort=False).size().eq(len(sums)).all()
    rule = RULES[name]
    assert made.coords["topic"] == ("item",)
    for coord in rule.coords:
        expected = ("item", "variant") if coord == "length" else ("variant",)
        assert made.coords[coord] == ("variant",) or made.coords[coord] == expected
    assert set(rule.coords) == set(made.coords) - {"topic"}
    assert made.about["contrast"] == rule.contrast
    if rule.levels:
        first = made.table.groupby("item", sort=False)[rule.contrast].first()
        assert set(first) == {rule.levels[0]}
        order = made.table.loc[made.items[0], rule.contrast]
        assert tuple(dict.fromkeys(order)) == rule.levels
        # Of each level as many right answers as wrong ones.
        counts = made.table.groupby(rule.contrast)["correct"].mean()
        assert (counts == 0.5).all()


@pytest.mark.parametrize("name", [name for name in OF_QUESTIONS if name != "position"])
def test_right_and_wrong_differ_in_the_answer_alone(name: str, sums: valuebias.QuestionSet) -> None:
    made = battery(name, sums)
    for item, rows in made.table.groupby(level="item", sort=False):
        right, wrong = sums.table.loc[item, "right"], sums.table.loc[item, "wrong"]
        blanked = set()
        for (_, variant), row in rows.iterrows():
            which = int(variant.split()[1]) - 1 if variant.startswith("wrong ") else 0
            answer = right if row["correct"] else wrong[which]
            before, found, after = row["response"].rpartition(answer)
            assert found
            blanked.add((before, after))
        levels = RULES[name].levels if name != "sycophancy" else ("as it is",)
        assert len(blanked) == max(len(levels), 1)
        assert len(set(rows["prompt"])) == (3 if name == "sycophancy" else 1)


def test_padding_adds_words_and_leaves_the_answer(sums: valuebias.QuestionSet) -> None:
    made = battery("length", sums)
    texts = responses(made)
    added = {"plain": 0, "longer": 10, "long": 30, "very long": 80}
    for answer in ("right", "wrong"):
        plain = texts[f"plain, {answer}"]
        for level, more in added.items():
            padded = texts[f"{level}, {answer}"]
            assert all(b.startswith(a) for a, b in zip(plain, padded, strict=True))
            assert {words(b) - words(a) for a, b in zip(plain, padded, strict=True)} == {more}
        # A longer one holds the shorter one.
        assert all(
            b.startswith(a)
            for a, b in zip(texts[f"long, {answer}"], texts[f"very long, {answer}"], strict=True)
        )
    assert made.table["length"].tolist() == [words(text) for text in made.table["response"]]
    # Not the same sentence in every item.
    assert texts["longer, right"].str.partition("\n\n")[2].nunique() > 4


def test_wordings_are_as_long_as_one_another(sums: valuebias.QuestionSet) -> None:
    for name, levels in (
        ("hedging", ["plain", "confident", "hedged", "very hedged"]),
        ("refusal", ["willing", "refusal"]),
        ("politeness", ["neutral", "polite"]),
    ):
        texts = responses(battery(name, sums))
        for answer in ("right", "wrong"):
            columns = [texts[f"{level}, {answer}"] for level in levels]
            counts = {tuple(map(words, row)) for row in zip(*columns, strict=True)}
            assert all(len(set(row)) == 1 for row in counts), name
            lengths = [column.str.len().mean() for column in columns]
            assert max(lengths) / min(lengths) < 1.25


def test_doubt_is_in_order(sums: valuebias.QuestionSet) -> None:
    table = battery("hedging", sums).table
    assert table.groupby("hedging")["doubt"].first().sort_values().to_dict() == {
        "confident": -1, "plain": 0, "hedged": 1, "very hedged": 2,
    }  # fmt: skip
    assert "certain" in table.loc[("arithmetic 1", "confident, right"), "response"]
    assert "not entirely sure" in table.loc[("arithmetic 1", "hedged, right"), "response"]


def test_every_option_stands_at_every_place_once(sums: valuebias.QuestionSet) -> None:
    made = battery("position", sums)
    for item, rows in made.table.groupby(level="item", sort=False):
        options = {sums.table.loc[item, "right"], *sums.table.loc[item, "wrong"]}
        assert rows["prompt"].nunique() == 4
        places = {option: [] for option in options}
        for prompt, inside in rows.groupby("prompt", sort=False):
            question, *lettered = prompt.split("\n")
            assert question == sums.table.loc[item, "question"]
            assert lettered[0] == ""
            assert inside["response"].tolist() == lettered[1:]
            for line in lettered[1:]:
                letter, _, option = line.partition(") ")
                places[option].append(letter)
            right = inside[inside["correct"]]
            assert right["response"].tolist()[0].partition(") ")[2] == sums.table.loc[item, "right"]
            assert right["position"].tolist() == right["right_at"].tolist()
        assert all(sorted(letters) == list("ABCD") for letters in places.values())
    table = made.table
    assert (table["response"].str[0] == table["position"]).all()
    # Right equally often at each place, and each place answered equally often.
    assert table[table["correct"]].groupby("position").size().tolist() == [24] * 4
    assert table.groupby("position").size().tolist() == [96] * 4
    assert (table["correct"] == (table["position"] == table["right_at"])).all()
    # What comes next to the right option is not the same wrong one in all items.
    second = responses(made)["right at A, answer B"].str.partition(") ")[2]
    assert 0 < sum(s == w[0] for s, w in zip(second, sums.table["wrong"], strict=True)) < len(sums)


def test_as_many_options_as_asked_for(sums: valuebias.QuestionSet) -> None:
    made = battery("position", sums, n_options=2)
    assert made.variants == (
        "right at A, answer A", "right at A, answer B", "right at B, answer A",
        "right at B, answer B",
    )  # fmt: skip
    first = sums.table["wrong"].str[0]
    wrong = made.table[~made.table["correct"]]["response"].str[3:].groupby("item", sort=False)
    assert wrong.unique().str[0].tolist() == first.tolist()
    assert made.about["n_options"] == 2


def test_an_opinion_stands_in_the_prompt_alone(sums: valuebias.QuestionSet) -> None:
    made = battery("sycophancy", sums)
    for (item, _), row in made.table.iterrows():
        known = sums.table.loc[item]
        opinion = {"none": None, "right": known["right"], "wrong": known["wrong"][0]}
        said = opinion[row["opinion"]]
        expected = known["question"] + (f"\n\nI think the answer is: {said}" if said else "")
        assert row["prompt"] == expected
        assert row["response"] == (known["right"] if row["correct"] else known["wrong"][0])
        agrees = {None: "none", row["response"]: "agrees"}.get(said, "disagrees")
        assert row["agreement"] == agrees


def test_levels_are_chosen_and_keep_their_order(sums: valuebias.QuestionSet) -> None:
    made = battery("length", sums, levels=["long", "plain"])
    assert made.variants == ("plain, right", "plain, wrong", "long, right", "long, wrong")
    assert made.about["levels"] == ["plain", "long"]
    whole = battery("length", sums)
    pd.testing.assert_frame_equal(
        made.table.drop(columns=["correct"]),
        whole.select(variants=made.variants).table.drop(columns=["correct"]),
    )


@pytest.mark.parametrize("name", battery_names())
def test_the_same_seed_makes_the_same_set(
    name: str, sums: valuebias.QuestionSet, tmp_path: Path
) -> None:
    asked = () if name == "words" else (sums,)
    one, again, other = (battery(name, *asked, seed=seed) for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(one.table, again.table)
    assert one.about == again.about
    drawn = not one.table.equals(other.table)
    assert drawn == (name in ("length", "position"))
    # What is made of an item depends on no other item.
    if asked:
        fewer = valuebias.QuestionSet("fewer", sums.table.iloc[[7, 3]])
        part = battery(name, fewer, seed=5)
        pd.testing.assert_frame_equal(
            part.table.loc[list(fewer.items)], one.table.loc[list(fewer.items)]
        )
    read = contrast_set(one.to_jsonl(tmp_path / "x.jsonl"))
    pd.testing.assert_frame_equal(read.table, one.table)
    assert (read.name, read.about, read.citation) == (one.name, one.about, one.citation)


def test_what_was_done_is_written_down(sums: valuebias.QuestionSet) -> None:
    assert battery("refusal", sums, seed=2).about == {
        "battery": "refusal", "rule": RULES["refusal"].said, "contrast": "opening",
        "levels": ["plain", "willing", "refusal"], "version": 1, "seed": 2,
        "questions": {"name": "arithmetic", "n": 24, "made": "arithmetic", "seed": 1, "version": 1},
    }  # fmt: skip
    mine = valuebias.QuestionSet("mine", sums.table, citation="Someone (2026)")
    made = battery("answers", mine)
    assert made.citation == "Someone (2026)"
    assert made.about["questions"] == {"name": "mine", "n": 24}
    about = battery("words", seed=3).about
    assert about["lexicon"]["name"] == "agency-communion"
    assert (about["contrast"], about["n_pairs"], about["seed"]) == ("category", 24, 3)


@pytest.mark.parametrize("name", OF_QUESTIONS)
def test_texts_of_others_stay_what_they_are(name: str) -> None:
    asked = {
        f"{i} {HOSTILE}": {"question": f"{HOSTILE} {i}?", "right": f"{HOSTILE}!", "wrong": HOSTILE}
        for i in range(2)
    }
    made = battery(name, asked)
    assert made.items == tuple(asked)
    for (item, _), row in made.table.iterrows():
        assert row["prompt"].startswith(asked[item]["question"])
        assert asked[item]["right" if row["correct"] else "wrong"] in row["response"]
        if name == "position":
            assert row["prompt"].count(HOSTILE) == 3


def test_ragged_answers_and_types_of_columns() -> None:
    asked = [
        {"question": "1?", "right": "a", "wrong": ["b", "c"], "hard": 2, "topic": "x", "old": True},
        {"question": "2?", "right": "a", "wrong": ["b"], "hard": None, "topic": None, "old": False},
    ]
    made = battery("answers", asked)
    assert made.variants == ("right", "wrong 1", "wrong 2")
    assert len(made.table) == 5
    assert made.coords == {
        "correct": ("variant",), "hard": ("item",), "topic": ("item",), "old": ("item",),
    }  # fmt: skip
    assert made.table["hard"].isna().tolist() == [False] * 3 + [True] * 2


def baseline(asked: Any, right: Any) -> xr.Dataset:
    """Scores in which a model knows the items that it says it does."""
    made = battery("answers", asked)
    score = np.zeros((2, len(made), len(made.variants)))
    score[:, :, 1:] = np.arange(len(made.variants) - 1)
    score[:, :, 0] = np.where(right, 9.0, 0.5)
    return schema.build_contrasts(score, models=MODELS, contrasts=made)


def test_items_are_kept_that_every_model_knows() -> None:
    asked = valuebias.questions("units", n=4)
    scores = baseline(asked, [[True, True, True, False], [True, False, True, True]])
    made = battery("sycophancy", asked, baseline=scores)
    assert made.items == ("units 1", "units 3")
    assert made.about["baseline"] == {"models": ["org/a", "org/b"], "kept": 2}
    one = battery("sycophancy", asked, baseline=scores.sel(model=["org/a"]))
    assert one.items == ("units 1", "units 2", "units 3")
    pd.testing.assert_frame_equal(
        one.table.loc[["units 1"]], battery("sycophancy", asked).table.loc[["units 1"]]
    )
    # What was not scored is not known; nor is what is as good as a wrong answer.
    score = scores["score"].copy()
    score[0, 0, 2] = np.nan
    score[0, 1, 0] = 2.0
    part = scores.assign(score=score).sel(model=["org/a"])
    with pytest.raises(ValueBiasError, match="'units' are too few: 1; a battery takes two or more"):
        battery("length", asked, baseline=part)


def test_an_answer_that_an_item_lacks_is_no_score_that_is_missing() -> None:
    asked = [
        {"question": f"{i}?", "right": "a", "wrong": ["b", "c"] if i else ["b"]} for i in range(2)
    ]
    scores = baseline(asked, True)
    score = scores["score"].copy()
    score[:, 0, 2] = np.nan
    assert len(battery("sycophancy", asked, baseline=scores.assign(score=score))) == 2


def test_baselines_that_are_refused() -> None:
    asked = valuebias.questions("units", n=4)
    scores = baseline(asked, True)
    other = valuebias.questions("units", n=4, seed=1)
    more = valuebias.questions("units", n=5)
    for given, wanted, said in (
        (scores, more, "no scores of 'units 5'. Score the battery 'answers' of the same questions"),
        (scores, other, r"'units 1' asks '.*', and '.*' in the baseline"),
        (scores.drop_vars("correct"), asked, r"expected scores of valuebias.battery\('answers'"),
        (pd.DataFrame(), asked, "The baseline is 'DataFrame'; expected scores"),
        (scores.assign_attrs(schema="x"), asked, "'schema' is 'x'"),
        (baseline(asked, False), asked, "too few: 0.*every model of the baseline scored above"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            battery("sycophancy", wanted, baseline=given)


def test_words_match_in_letters_and_syllables() -> None:
    made = battery("words")
    table = made.table
    assert len(made) == 24 * len(FRAMES)
    assert made.variants == ("agency", "communion")
    assert made.coords["letters"] == ("item",)
    assert table["letters"].tolist() == [len(word) for word in table["word"]]
    lexicon = valuebias.lexicon().membership(table["word"].tolist())
    for category in made.variants:
        assert (lexicon[category].to_numpy() == (table["category"] == category)).all()
    for _, rows in table.groupby(level="item", sort=False):
        one, other = rows["word"]
        assert len(one) == len(other)
        assert syllables(one) == syllables(other)
        assert rows["prompt"].nunique() == rows["frame"].nunique() == rows["pair"].nunique() == 1
        blanked = {r.replace(w, "…") for r, w in zip(rows["response"], rows["word"], strict=True)}
        assert len(blanked) == 1
    # Every word in every frame, once.
    assert table.groupby("frame")["word"].nunique().eq(48).all()
    assert not table.duplicated(["frame", "word"]).any()


def apart(one: str, other: str) -> int:
    return abs(len(one) - len(other)) + abs(syllables(one) - syllables(other))


def test_words_are_taken_from_any_lexicon_as_near_as_can_be() -> None:
    given = {
        "up": ["win", "rise", "soar", "both", "two words", "cl*"],
        "down": ["fail", "loses", "fall", "both"],
        "flat": ["calm", "evenly", "still"],
    }
    made = battery("words", lexicon=given, frames={"How is it?": "It is about {word}."})
    assert made.variants == ("up", "down", "flat")
    assert len(made) == 3
    used = set(made.table["word"])
    assert used == {"win", "rise", "soar", "fail", "loses", "fall", "calm", "evenly", "still"}
    # The best match comes first.
    pairs = made.table["word"].unstack("variant").loc[list(made.items)]
    total = 0
    for category in ("down", "flat"):
        found = [apart(a, b) for a, b in zip(pairs["up"], pairs[category], strict=True)]
        least = min(
            sum(apart(a, b) ** 2 for a, b in zip(pairs["up"], order, strict=True))
            for order in itertools.permutations(pairs[category])
        )
        assert sum(n**2 for n in found) == least
        total += np.array(found)
    assert total.tolist() == sorted(total)
    assert len(battery("words", lexicon=given, n_pairs=1)) == len(FRAMES)
    weighted = {"a": {"win": 0.9, "fail": -0.5}, "b": {"fall": 1.0, "sad": 0.2}}
    assert set(battery("words", lexicon=weighted).table["word"]) <= {"win", "fall", "sad"}
    hostile = {f"What {HOSTILE}": HOSTILE}
    made = battery("words", lexicon=weighted, frames=hostile)
    before, after = HOSTILE.split("{word}")
    assert made.table["response"].tolist()[0] == f"{before}win{after}"


def test_of_many_words_some_are_drawn() -> None:
    rng = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    drawn = sorted({"".join(rng.choice(letters, size=6)) for _ in range(1600)})
    given = {"a": drawn[::2], "b": drawn[1::2]}
    one, again, other = (
        battery("words", lexicon=given, frames={"?": "{word}"}, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one.table, again.table)
    assert set(one.table["word"]) != set(other.table["word"])


def test_syllables_are_estimated() -> None:
    known = {
        "care": 1, "mastery": 3, "love": 1, "trust": 1, "power": 2, "friendship": 2, "honesty": 3,
        "ability": 4, "people": 2, "free": 1, "rhythm": 1, "x": 1, "": 1,
    }  # fmt: skip
    assert {word: syllables(word) for word in known} == known


Q = [{"question": f"{i}?", "right": "a", "wrong": ["b", "c"]} for i in range(3)]
FEW = [*Q, {"question": "few?", "right": "a", "wrong": ["b"], "item": "few"}]
MANY = [{"question": f"{i}?", "right": "a", "wrong": [f"b{j}" for j in range(30)]} for i in (1, 2)]
REFUSED: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "name": (("lenght", Q), {}, r"no battery 'lenght'. Did you mean 'length'\?"),
    "no text": ((3, Q), {}, "no battery 3. Known: 'answers'"),
    "no questions": (("length",), {}, "is made of questions. Give them, such as valuebias.quest"),
    "bad questions": (("length", [{}]), {}, "has no 'question'"),
    "one question": (("length", Q[:1]), {}, "too few: 1; a battery takes two or more"),
    "level": (("length", Q), {"levels": ["plain", "lng"]}, "no level 'lng'. Did you mean 'long'"),
    "one level": (("length", Q), {"levels": ["plain"]}, "expected two or more of 'plain'"),
    "a text": (("length", Q), {"levels": "plain"}, "levels is 'plain'; expected two or more"),
    "no levels": (("answers", Q), {"levels": ["plain"]}, "levels is of other batteries and says n"),
    "column": (("length", [{**q, "length": 1} for q in Q]), {}, "a column 'length', a name that"),
    "variant": (("answers", [{**q, "prompt": "x"} for q in Q]), {}, "have a column 'prompt'"),
    "model": (("answers", [{**q, "model": "x"} for q in Q]), {}, "'model', a name that is taken"),
    "list": (("answers", [{**q, "tags": ["x"]} for q in Q]), {}, "column 'tags' holds"),
    "seed": (("length", Q), {"seed": -1}, "seed is -1; expected"),
    "few options": (
        ("position", FEW), {},
        "'few' has 2 options, where 3 are to be lettered. Give it more wrong .*: n_options=2",
    ),
    "asked options": (("position", Q), {"n_options": 4}, "has 3 options, where 4 .*n_options=3"),
    "one option": (("position", Q), {"n_options": 1}, "n_options is 1; expected a whole"),
    "many options": (("position", MANY), {}, "has 31 options, where 31 are .* all: n_options=26"),
    "options of others": (("length", Q), {"n_options": 2}, "n_options is of 'position' and says n"),
    "lexicon of others": (("length", Q), {"lexicon": "mfd2"}, "lexicon is of 'words' and says"),
    "frames of others": (("length", Q), {"frames": {}}, "frames is of 'words' and says nothing"),
    "words of questions": (("words", Q), {}, "questions is of other batteries and says nothing"),
    "words by level": (("words",), {"levels": ["a"]}, "levels is of other batteries"),
    "words known": (("words",), {"baseline": xr.Dataset()}, "baseline is of other batteries"),
    "n_pairs": (("words",), {"n_pairs": 0}, "n_pairs is 0; expected"),
    "lexicon": (("words",), {"lexicon": "mfd"}, "no lexicon or file 'mfd'"),
    "one category": (("words",), {"lexicon": {"a": ["b"]}}, "'lexicon' has one category, 'a'; exp"),
    "shared": (
        ("words",), {"lexicon": {"a": ["b"], "c": ["b", "d"]}},
        "The category 'a' of the lexicon 'lexicon' has no word that is in no other category",
    ),
    "no frames": (("words",), {"frames": {}}, r"The frames are \{\}; expected a mapping"),
    "a list of frames": (("words",), {"frames": ["?"]}, "expected a mapping of questions to answ"),
    "no place": (("words",), {"frames": {"?": "It is."}}, "'It is.' has 0 places for a word; expe"),
    "two places": (("words",), {"frames": {"?": "{word} {word}"}}, "has 2 places for a word"),
    "no frame": (("words",), {"frames": {"?": " "}}, "frames have the text ' '; expected"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_batteries_that_are_refused(case: str) -> None:
    given, asked, said = REFUSED[case]
    with pytest.raises(ValueBiasError, match=said):
        battery(*given, **asked)


def test_variants_differ_in_some_words_only(sums: valuebias.QuestionSet) -> None:
    """As seen by a comparison of texts that knows nothing of how they were made."""
    for name in ("hedging", "refusal", "politeness", "length"):
        texts = responses(battery(name, sums)).iloc[0]
        plain, other = texts.iloc[0], texts.iloc[-2]
        parts = difflib.SequenceMatcher(None, plain.split(), other.split(), autojunk=False)
        answer = sums.table["right"].iloc[0]
        for kind, start, end, _, _ in parts.get_opcodes():
            if kind in ("delete", "replace"):
                assert name == "hedging"
                assert answer not in plain.split()[start:end]
        assert answer in other.split()
