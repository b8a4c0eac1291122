"""Tests of valuebias.instruments.lexicons and .formats."""

from __future__ import annotations

import csv
import fnmatch
import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import Lexicon, lexicon, lexicon_names
from valuebias.instruments.formats import SUFFIXES, parse

DIC = """%
1\tAgency
02\tCommunion
%
win\t1
abandon*\t02
lead*  \t1\t2
kind of\t2
"""


def members(lex: Lexicon) -> dict[str, set[str]]:
    return {c: set(lex.table.index[lex.table[c]]) for c in lex.categories}


# --- the bundled one -------------------------------------------------------------------------


def test_the_bundled_lexicon_is_balanced_and_plain() -> None:
    lex = lexicon()
    assert lex.name == "agency-communion"
    assert lex.licence == "CC0-1.0"
    found = members(lex)
    assert len(found["agency"]) == len(found["communion"]) >= 75
    assert not found["agency"] & found["communion"]
    assert all(word.isalpha() and word.islower() and word.isascii() for word in lex.words)


@pytest.mark.released_data
def test_the_bundled_lexicon_is_no_copy_of_a_published_one(released_data: Path) -> None:
    mine = members(lexicon())
    for name in ("big2-nouns", "big2-expanded"):
        theirs = members(lexicon(name))
        for category, words in mine.items():
            shared = len(words & theirs[category])
            assert shared < 0.65 * len(words)
            assert shared < 0.5 * len(theirs[category])


# --- formats ---------------------------------------------------------------------------------


def test_a_category_column_and_marks_say_the_same(tmp_path: Path) -> None:
    long = "category,word\nagency,win\nboth,win\ncommunion,love\n"
    marks = "word,agency,both,communion\nwin,X,1,\nlove,NA,0,true\n"
    from_r = '"","word","agency","both","communion"\n"1","win","X","x",NA\n"2","love",NA,NA,"X"\n'
    tables = []
    plural = long.replace("category,word", "Categories,Words")
    for i, text in enumerate((long, marks, from_r, plural)):
        path = tmp_path / f"lex{i}.csv"
        path.write_text(text)
        lex = lexicon(path)
        assert lex.name == f"lex{i}"
        tables.append(lex.table)
    (tmp_path / "lex.dicx").write_text(marks.replace("word", "DicTerm"))
    tables.append(lexicon(tmp_path / "lex.dicx").table)
    for table in tables:
        pd.testing.assert_frame_equal(table, tables[0])
    assert tables[0].loc["win"].tolist() == [True, True, False]


LISTS = {"agency": {"courage", "no", "strength"}, "communion": {"kindness"}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "agency,communion\ncourage,kindness\nno,\nstrength,\n"),
        ("a.csv", "agency,communion\r\ncourage,kindness\r\nno\r\nstrength\r\n"),
        ("a.csv", "agency;communion;\ncourage;kindness;\nno;;\nstrength;;\n"),
        ("a.tsv", "communion\tagency\nkindness\tcourage\n\tno\n\tstrength\n"),
        ("a.json", '{"agency": ["courage", "no", "strength"], "communion": ["kindness"]}'),
        ("a.tsv", "communion\tkindness\nagency\tcourage\tno\tstrength\n"),
        ("a.csv", "communion,kindness,,\nagency,courage,no,strength\n"),
        (
            "a.csv",
            "Entry,agency,communion\ncourage,Agency,\nno,agency,\nstrength,x,\nkindness,,Communion",
        ),
    ],
    ids=["columns", "of unequal length", "an empty one behind", "TSV", "JSON", "Empath's lines",
         "lines in CSV", "marked by name"],
)  # fmt: skip
def test_lists_are_read_as_people_publish_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-16" if name == "a.tsv" else "utf-8"))
    assert members(lexicon(tmp_path / name)) == LISTS


def test_words_in_no_category_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "published.dicx"
    path.write_text("DicTerm,up,down\nwin,X,\nmaybe,,\nlose,,X\nperhaps,,\n")
    with pytest.warns(ValueBiasWarning, match="2 of 4 words .* are in no category, and left out"):
        lex = lexicon(path)
    assert members(lex) == {"up": {"win"}, "down": {"lose"}}
    assert lex.left_out == 2
    assert lex.merge({"all": ["up", "down"]}).left_out == 2


def test_a_dic_file_has_wildcards_and_several_categories(tmp_path: Path) -> None:
    path = tmp_path / "two.dic"
    path.write_text(DIC)
    lex = lexicon(path)
    assert lex.categories == ("Agency", "Communion")
    assert lex.words == ("win", "abandon*", "lead*", "kind of")
    words = ["win", "wins", "abandon", "abandoned", "aband", "leader", "kind of", "Leader"]
    found = lex.membership(words)
    assert found["Agency"].tolist() == [True, False, False, False, False, True, False, False]
    assert found["Communion"].tolist() == [False, False, True, True, False, True, True, False]
    assert lex.membership(["Leader"], ignore_case=True).to_numpy().all()


def test_a_dic_file_may_be_set_out_with_blanks_and_conditions() -> None:
    head = "%\n1 x\n125 y\n464 z\n%\n"
    text = head + "safe*   01\nlike\t(02 134)125/464\t(02 134)1\nkind\t<of>1/125\nof course 1 125\n"
    table = parse(text, suffix=".dic", name="a.dic")
    assert {t: list(table.columns[table.loc[t]]) for t in table.index} == {
        "safe*": ["x"],
        "like": ["z"],
        "kind": ["y"],
        "of course": ["x", "y"],
    }


def test_a_column_may_hold_the_words_of_its_category(tmp_path: Path) -> None:
    text = "agency,communion\ncourage,kindness\nstrength,love\nvictory,\nlead*,NA\n,strength\n"
    (tmp_path / "columns.csv").write_text(text)
    lex = lexicon(tmp_path / "columns.csv")
    assert members(lex) == {
        "agency": {"courage", "strength", "victory", "lead*"},
        "communion": {"kindness", "love", "strength"},
    }
    numbered = '"","up","down"\n"1","win","lose"\n"2","rise",NA\n'
    table = parse(numbered, suffix=".csv", name="from R")
    assert {c: set(table.index[table[c]]) for c in table} == {
        "up": {"win", "rise"},
        "down": {"lose"},
    }


@pytest.mark.parametrize(
    ("text", "suffix", "said"),
    [
        ("1\tAgency\nwin\t1\n", ".dic", "has 0 lines '%'"),
        ("%\nAgency\n%\nwin\t1\n", ".dic", "Line 2 .* is 'Agency'; expected a number"),
        ("%\n1\tA\n1\tB\n%\nwin\t1\n", ".dic", "Line 3 .* repeats a category"),
        ("%\n1\tA\n2\tA\n%\nwin\t1\n", ".dic", "Line 3 .* repeats a category"),
        ("%\n1\tA\n%\nwin\t2\n", ".dic", "Line 4 .* names the category 2"),
        ("%\n1\tA\n%\nwin\n", ".dic", "Line 4 .* expected a word, then the numbers"),
        ("%\n1\tA\n%\nwin\tyes\n", ".dic", "Line 4 .* expected a word, then the numbers"),
        ("%\n1\tA\n2\tB\n%\nwin\t1\n", ".dic", "category 'B' .* has no words"),
        ("%\n1\tA\n%\n", ".dic", "has no words"),
        ("%\n1\tA\n%\n*\t1\n", ".dic", r"the word '\*'; expected at least one letter"),
        ("DicTerm,A\nwin,0.7\nlose,so\n", ".dicx", "marked '0.7'; expected X, 1 or true"),
        ("word,category,weight\nwin,A,much\n", ".csv", "has the weight 'much'; expected a number"),
        ("word,category,weight\nwin,A,.5\nwin,A,.6", ".csv", "has the weights 0.5 and 0.6 in"),
        ('{"up": {"win": "x"}}', ".json", "has the weight 'x'; expected a number"),
        ('{"up": {"win": 1}, "down": ["x"]}', ".json", "JSON of another form"),
        ("DicTerm,A\nwin,\n", ".dicx", "'win' .* is in no category"),
        ("DicTerm,A\nwin,often\n", ".dicx", "marked 'often'; expected X, 1 or true"),
        ("word,A\nwin,often\n", ".csv", "below each other instead: 'category' and 'word'"),
        ("up,down\nwin,lose\nrise,0.7\n", ".csv", "marked 'lose'; expected X, 1 or true"),
        ("up,down\nwin,lose\nrise,x\n", ".csv", "marked 'lose'; expected X, 1 or true"),
        ("DicTerm\nwin\n", ".dicx", "expected a column 'category'"),
        ("word,\nwin,X\n", ".csv", "expected a column 'category'"),
        ("category,a,b\nx,win,lose\n", ".csv", "exactly one with the words"),
        ("category,word\nx,win\n,love\n", ".csv", "'love' .* has no category"),
        ("category,word\nx,\n", ".csv", "the word ''"),
        ("word,A,B\nwin,X,\n", ".csv", "category 'B' .* has no words"),
        ("win", ".txt", "suffix '.txt'; expected one of .csv"),
        ("word,A,A\nwin,X,\n", ".csv", "two columns called 'A'"),
        ("word,A\n*,X\n", ".csv", r"the word '\*'; expected at least one letter before the star"),
        ("item,A,B\nwin,yes,no\nlove,no,maybe\n", ".csv", "marked 'maybe'.*in the column 'B'"),
        ("Entry,Source,A\nwin,H4,A\n", ".csv", "in the column 'Source'.*leave the column out"),
        ("word,A,B\nwin,X,\nlove\n", ".csv", "Line 3 .* has 1 cells, the header 3"),
        ('{"win": "up"}', ".json", "JSON of another form"),
        ('{"up": [7]}', ".json", "has the word 7; expected a text"),
        ('{"up": ["*"]}', ".json", r"the word '\*'"),
        ('{"up": ["win"], "up": ["rise"]}', ".json", "the key 'up' stands twice"),
        ('{"up": ["win"', ".json", "it is damaged"),
    ],
)
def test_a_bad_list_is_named(text: str, suffix: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        parse(text, suffix=suffix, name="list")


@given(
    text=st.text(st.sampled_from('%\t\n 12Xab,*"()/<>=category'), max_size=80),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_text_is_parsed_or_refused_clearly(text: str, suffix: str) -> None:
    try:
        table = parse(text, suffix=suffix, name="list")
    except ValueBiasError:
        return
    assert table.to_numpy().any(axis=0).all()
    assert table.to_numpy().any(axis=1).all()
    assert table.index.is_unique


@given(text=st.text(), suffix=st.sampled_from(SUFFIXES))
def test_any_unicode_is_parsed_or_refused_clearly(text: str, suffix: str) -> None:
    try:
        table = parse(text, suffix=suffix, name="list")
    except ValueBiasError:
        return
    assert len(table) > 0


names = st.text(
    st.characters(exclude_categories=("Cc", "Zs", "Zl", "Zp"), exclude_characters="*\0"),
    min_size=1,
    max_size=6,
)
lists = st.dictionaries(
    names.map(str.strip).filter(lambda c: c.lower() not in ("", "na", "category", *"x")),
    st.sets(names.map(str.strip).filter(bool), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@given(lists)
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_every_layout_gives_the_lists_back(content: dict[str, set[str]]) -> None:
    lex = lexicon(content)
    assert members(lex) == content
    long, marked = io.StringIO(), io.StringIO()
    rows = [(c, w) for c, words in content.items() for w in words]
    csv.writer(long, quoting=csv.QUOTE_ALL).writerows([("category", "word"), *rows])
    table = [[w, *("X" if w in content[c] else "" for c in content)] for w in lex.words]
    csv.writer(marked, quoting=csv.QUOTE_ALL).writerows([["DicTerm", *content], *table])
    for text, suffix in ((long, ".csv"), (marked, ".dicx")):
        found = parse(text.getvalue(), suffix=suffix, name="x")
        assert {c: set(found.index[found[c]]) for c in found.columns} == content


@given(
    st.dictionaries(
        st.text("ab*", min_size=1, max_size=4).filter(lambda t: t.strip("*") and "*" not in t[:-1]),
        st.sampled_from("xy"),
        min_size=1,
    ),
    st.lists(st.text("abc", max_size=5), unique=True),
)
def test_wildcards_match_what_a_pattern_matches(terms: dict[str, str], words: list[str]) -> None:
    groups: dict[str, list[str]] = {}
    for term, category in terms.items():
        groups.setdefault(category, []).append(term)
    found = lexicon(groups).membership(words)
    for word in words:
        for category, patterns in groups.items():
            expected = any(fnmatch.fnmatchcase(word, pattern) for pattern in patterns)
            assert found.loc[[word], category].item() == expected


# --- Lexicon ---------------------------------------------------------------------------------


def test_categories_can_be_merged_and_selected() -> None:
    lex = lexicon({"care.virtue": ["help"], "care.vice": ["harm", "hurt"], "purity": ["pure"]})
    merged = lex.merge({"care": ["care.virtue", "care.vice"]})
    assert members(merged) == {"care": {"help", "harm", "hurt"}, "purity": {"pure"}}
    assert merged.name == "lexicon (changed)"
    assert merged.merge({"all": ["care", "purity"]}).name == "lexicon (changed)"
    assert members(lex.select(["purity", "care.vice"])) == {
        "purity": {"pure"},
        "care.vice": {"harm", "hurt"},
    }
    for broken, said in (
        (lambda: lex.merge({"care": ["care.virtu"]}), "Did you mean 'care.virtue'"),
        (lambda: lex.merge({"purity": ["care.vice"]}), "already a category 'purity'"),
        (lambda: lex.merge({"care": []}), "has no old categories"),
        (lambda: lex.select(["care"]), "no category 'care'"),
        (lambda: lex.select([]), "No category was chosen"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            broken()


def test_words_with_a_lone_surrogate_can_be_looked_up() -> None:
    with pytest.warns(ValueBiasWarning, match="stands for no letter"):
        lex = lexicon({"odd": ["\ud83d"], "even": ["a*"]})
    found = lex.membership(["\ud83d", "a\udc00", "b"])
    assert found.to_numpy().tolist() == [[True, False], [False, True], [False, False]]


# Python's own escapes: what no eye tells apart must not be told apart by chance here.
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("ignore_case", [False, True])
def test_an_accent_is_one_letter_however_it_is_typed(ignore_case: bool) -> None:
    for term in (COMPOSED, DECOMPOSED, COMPOSED[:3] + "*"):
        lex = lexicon({"x": [term], "y": ["love"]})
        words = [COMPOSED, DECOMPOSED, "cafe"]
        found = lex.membership(words, ignore_case=ignore_case)
        assert list(found.index) == words
        assert found["x"].tolist() == [True, True, term.endswith("*")]
    both = lexicon({"x": [COMPOSED], "y": [DECOMPOSED]}).membership([COMPOSED])
    assert both.to_numpy().all()


def test_case_is_folded_whatever_the_accents_order() -> None:
    lex = lexicon({"x": ["\u00c9a", "\u1e69"]})
    words = ["e\u0301a", "E\u0301A", "s\u0307\u0323", "S\u0323\u0307"]
    assert lex.membership(words, ignore_case=True)["x"].all()


@pytest.mark.parametrize(
    ("term", "word", "matches"),
    [
        ("cafe*", DECOMPOSED, False),
        ("cafe*", COMPOSED, False),
        ("caf*", DECOMPOSED, True),
        ("cafe*", "cafes", True),
        (f"{DECOMPOSED}*", f"{COMPOSED}s", True),
        # There is no composed form of these: x with a circumflex, q with a dot below, o struck out.
        ("x*", "x\u0302y", False),
        ("q*", "q\u0323", False),
        ("o*", "o\u0338", False),
        # A ring or a key round the letter; halfwidth ha made ba or pa, by a mark that is a letter.
        ("a*", "a\u20dd", False),
        ("1*", "1\ufe0f\u20e3", False),
        ("\uff8a*", "\uff8a\uff9e", False),
        ("\uff8a*", "\uff8a\uff9f\uff8d", False),
        ("\u306f*", "\u306f\u309b", False),
        ("\uff8a*", "\uff8a\uff85", True),
        ("love*", "love\ufe0f", True),
        ("love*", "love\u034f\u0301", False),
        # An ending that is a vowel sign (Hindi, boy), a vowel point (Arabic) or a tone (Thai).
        ("\u0932\u0921\u093c\u0915*", "\u0932\u0921\u093c\u0915\u0940", True),
        ("\u0643\u062a\u0628*", "\u0643\u062a\u0628\u064f", True),
        ("\u0e23\u0e31*", "\u0e23\u0e31\u0e48", True),
    ],
)
def test_a_wildcard_stands_for_whole_letters(term: str, word: str, matches: bool) -> None:
    assert lexicon({"x": [term]}).membership([word])["x"].item() is matches


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("caf\ufffd", r"1 with U\+FFFD in place of a letter .*'caf\\ufffd'"),
        ("deter\u00admined", r"1 with a character that cannot be seen \('deter\\xadmined'\)"),
        ("\u200flove", r"cannot be seen \('\\u200flove'\)"),
        ("\u05d0\u200f", r"cannot be seen"),
        ("lo\u200bve", r"cannot be seen"),
        ("\ufefflove", r"cannot be seen"),
        ("kind\u00a0of", r"cannot be seen \('kind\\xa0of'\)"),
        ("kind\u3000of", r"cannot be seen"),
        ("lo\u2060ve", r"cannot be seen"),
        ("lo\x07ve", r"cannot be seen \('lo\\x07ve'\)"),
        ("lo\u034fve", r"cannot be seen"),
        ("lo\u200cve*", r"cannot be seen \('lo\\u200cve\*'\)"),
        ("love\u200d*", r"cannot be seen"),
        ("\u0301cafe", r"begin with a mark that has no letter"),
        ("inicia*do", r"1 with a wildcard in front or inside, .* \('inicia\*do'\)"),
        ("*ness", r"wildcard in front or inside"),
        ("*love*", r"wildcard in front or inside"),
        ("wom?n", r"wildcard in front or inside"),
        ("?love", r"wildcard in front or inside"),
        ("love\uff0a", r"wildcard in front or inside"),
        ("love\ufe0f", r"cannot be seen \('love\\ufe0f'\)"),
        ("lo\ufe00ve", r"cannot be seen"),
        ("lo\u180bve", r"cannot be seen \('lo\\u180bve'\)"),
        ("love\U000e0100", r"cannot be seen \('love\\U000e0100'\)"),
        ("love\U000e0067", r"cannot be seen"),
        ("lo\u2065ve", r"cannot be seen"),
        ("love\ue000", r"1 with a character that stands for no letter \('love\\ue000'\)"),
        ("love\U00100000", r"stands for no letter"),
        ("love\ufffc", r"stands for no letter \('love\\ufffc'\)"),
        ("love\ufdd0", r"stands for no letter"),
        ("love\U0001ffff", r"stands for no letter"),
        ("lead.*", r"1 with signs of a pattern \(as .* themselves \('lead\.\*'\)"),
        ("wom[ae]n", r"signs of a pattern"),
        ("[lL]ove", r"signs of a pattern"),
        ("lov[ei]*", r"signs of a pattern"),
        ("lov(e|ing)", r"signs of a pattern"),
        ("love|hate", r"signs of a pattern"),
        ("lov(ing)?", r"signs of a pattern"),
        ("lo{1,2}ve", r"signs of a pattern"),
        ("{love,hate}", r"signs of a pattern"),
        ("^love", r"signs of a pattern"),
        ("love$", r"signs of a pattern"),
        (r"love\w+", r"signs of a pattern"),
        (r"\blove", r"signs of a pattern"),
        ("love%", r"signs of a pattern"),
        ("caf\u00c3\u00a9", r"UTF-8 read as another encoding"),
    ],
)
def test_a_word_that_can_never_match_is_named(tmp_path: Path, term: str, said: str) -> None:
    path = tmp_path / "mine.dic"
    path.write_text(f"%\n1\tx\n%\n{term}\t1\nlove\t1\n", encoding="utf-8")
    table = pd.DataFrame({"x": [True, True]}, index=[term, "love"])
    for source in (path, {"x": [term, "love"]}, table):
        with pytest.warns(ValueBiasWarning, match=said) as caught:
            lex = lexicon(source, name="mine")
        assert len(caught) == 1
        assert "'mine' has words that can hardly match any" in str(caught[0].message)
        assert caught[0].filename == __file__
        assert lex.words == (term, "love")


@pytest.mark.parametrize("term", [" love", "love ", "lo  ve", " love*", "lo  ve*"])
def test_a_space_too_many_is_named(term: str) -> None:
    said = re.escape(f"1 with a space at an end or two together ('{term}')")
    for source in ({"x": [term]}, pd.DataFrame({"x": [True]}, index=[term])):
        with pytest.warns(ValueBiasWarning, match=said):
            assert lexicon(source).words == (term,)


def test_half_a_character_is_named() -> None:
    with pytest.warns(ValueBiasWarning, match=r"no letter \('\\ud800x'\)"):
        lexicon({"x": ["\ud800x"]})


@pytest.mark.parametrize("term", ["*", "**", " *", "\uff0a", "", " "])
def test_what_would_stand_for_every_word_is_refused(tmp_path: Path, term: str) -> None:
    (tmp_path / "mine.csv").write_text(f"word,category\n{term},x\nlove,x\n", encoding="utf-8")
    table = pd.DataFrame({"x": [True, True]}, index=[term, "love"])
    for source in ({"x": [term, "love"]}, table, tmp_path / "mine.csv"):
        every = " before the star" if term.strip() else r"\."
        with pytest.raises(ValueBiasError, match=f"expected at least one letter{every}"):
            lexicon(source)


def test_a_number_is_no_word() -> None:
    with pytest.raises(ValueBiasError, match="has the word 7; expected a text"):
        lexicon({"x": [7, "love"]})  # type: ignore[list-item]


def test_many_such_words_are_counted() -> None:
    lost = [f"{letter}\ufffd" for letter in "abcdefgh"]
    said = r"8 with U\+FFFD.*'d\\ufffd' and 4 more\); 1 with a char"
    with pytest.warns(ValueBiasWarning, match=said):
        lexicon({"x": [*lost, "a\u00adb"]})


@pytest.mark.parametrize(
    "term",
    [
        "caf\u00e9*",
        "kind of",
        "why?",
        "love*",
        ":)",
        "\U0001f469\u200d\U0001f680",
        "\u2764\ufe0f",
        "\u062e\u0627\u0646\u0647\u200c\u0647\u0627",
        "\u0915\u093f",
        "na\u00efve",
        "kind *",
        "1\ufe0f\u20e3",
        "\u2139\ufe0f",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\u182e\u180b",
        "\u0378",
        *(
            ":*",
            ":-[",
            ":|",
            "(:",
            "^_^",
            "<3",
            "C++",
            "A+",
            "US$",
            "$$$",
            "100%",
            "u.s.*",
            "(un)kind",
        ),
        *("[sic]", "and/or", "...", "ke$ha", "\\o/", "=)*", "d[-_-]b"),
    ],
)
def test_an_ordinary_word_is_not_named(term: str) -> None:
    assert lexicon({"x": [term]}).membership([term.rstrip("*")])["x"].item()


def test_tables_are_taken_and_checked() -> None:
    table = pd.DataFrame({"x": [True, False], "y": [True, True]}, index=["a", "b"])
    lex = lexicon(table, name="mine")
    assert members(lex) == {"x": {"a"}, "y": {"a", "b"}}
    assert lexicon(lex) is lex
    assert lexicon(lex, name="other").name == "other"
    assert lex.sha256 == lexicon(members(lex) | {"y": ["a", "b"]}).sha256
    with pytest.raises(ValueBiasError, match="dtype int64; expected bool"):
        lexicon(table.astype(int))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("big2_nouns", "Did you mean 'big2-nouns'"),
        ("absent.dic", "cannot be read"),
        ({}, "has no words"),
        ({"x": []}, "has no words"),
    ],
)
def test_what_is_no_lexicon_is_named(source: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        lexicon(source)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.dic").touch()
    with pytest.raises(ValueBiasError, match="is empty"):
        lexicon(tmp_path / "a.dic")


# --- the released ones -----------------------------------------------------------------------

RELEASED = {
    "big2-nouns": (263, {"agency": 104, "communion": 159}),
    "big2-expanded": (900, {"agency": 426, "communion": 474}),
    "mfd2": (
        2040,
        {"care": 447, "fairness": 344, "loyalty": 171, "authority": 418, "sanctity": 660},
    ),
    "mfd2-virtue-vice": (
        2040,
        {
            "care.virtue": 170,
            "care.vice": 277,
            "fairness.virtue": 115,
            "fairness.vice": 229,
            "loyalty.virtue": 137,
            "loyalty.vice": 34,
            "authority.virtue": 295,
            "authority.vice": 123,
            "sanctity.virtue": 272,
            "sanctity.vice": 388,
        },
    ),
}


def test_the_released_lexicons_are_the_ones_tested() -> None:
    assert set(lexicon_names()) == {"agency-communion", *RELEASED}


@pytest.mark.released_data
@pytest.mark.parametrize("name", RELEASED)
def test_a_released_lexicon_has_its_words(released_data: Path, name: str) -> None:
    lex = lexicon(name)
    n_words, counts = RELEASED[name]
    assert lex.name == name
    assert len(lex) == n_words
    assert lex.table.sum().to_dict() == counts
    assert "repository" in lex.licence
    assert "arXiv:2601.20838" in lex.citation
    assert len(lex.sha256) == 64


@pytest.mark.released_data
def test_the_dicx_file_gives_2040_terms(released_data: Path) -> None:
    lex = lexicon(released_data / "corpora" / "moral-foundations-dictionary-20.dicx")
    assert len(lex) == 2040
    assert lex.categories[:2] == ("Care_Virtue", "Care_Vice")


@pytest.mark.released_data
def test_a_changed_lexicon_is_refused(
    released_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = (released_data / "corpora" / "dict_big2_nouns.csv").read_bytes()
    (tmp_path / "corpora").mkdir()
    changed = tmp_path / "corpora" / "dict_big2_nouns.csv"
    changed.write_bytes(original)
    monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path))
    assert len(lexicon("big2-nouns")) == 263
    changed.write_bytes(original[:-10])
    with pytest.raises(ValueBiasError, match="not the released file: its SHA-256 is"):
        lexicon("big2-nouns")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("emfd", "taters:Moral Foundations - eMFD"),
        ("emfd:care", "taters:Moral Foundations - eMFD"),
        ("J-MFD", "J-MFD_2018r1.dic"),
        ("moralstrength:care", "(rating − 5) / 4"),
    ],
)
def test_lists_that_are_elsewhere_are_named(name: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=re.escape(said)):
        lexicon(name)


def test_a_japanese_dictionary_is_read_as_published(tmp_path: Path) -> None:
    # Written in the form of J-MFD: tabs doubled, a line left empty, wildcards without spaces.
    path = tmp_path / "jmfd.dic"
    path.write_text(
        "%\n01\tHarmVirtue\t\t\n02\tHarmVice\t\t\n%\n\n守る\t\t01\n安全*\t\t01\n両方*\t\t01\t\t02\n",
        encoding="utf-8",
    )
    found = lexicon(path).membership(["守る", "安全性", "守り", "両方とも"])
    assert found["HarmVirtue"].tolist() == [True, True, False, True]
    assert found["HarmVice"].tolist() == [False, False, False, True]


def test_poles_of_a_signed_category() -> None:
    weights = pd.DataFrame({"a": [0.5, -0.25, 0.0], "b": [0.1, 0.0, 1.0]}, index=["x", "y", "z"])
    poles = lexicon(weights).poles("a", ("up", "down"))
    assert poles.table.to_dict("list") == {
        "up": [0.5, 0.0, 0.0], "down": [0.0, 0.25, 0.0], "b": [0.1, 0.0, 1.0],
    }  # fmt: skip
    with pytest.raises(ValueBiasError, match="expected some above zero and some below"):
        lexicon(weights).poles("b")
    with pytest.raises(ValueBiasError, match="expected names that differ"):
        lexicon(weights).poles("a", ("b", "c"))
