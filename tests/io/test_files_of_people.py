"""Files of scores as people have them: all is read, or it is said what is not, and why."""

from __future__ import annotations

import gzip
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import xarray as xr
from peoples_files import (
    MODELS,
    PROMPTS,
    TEXTS,
    WORDS,
    about,
    excel,
    folder_of,
    indicators,
    long,
    save,
    score,
    wide,
    with_categories,
)
from typer.testing import CliRunner

import valuebias
from valuebias.cli.app import app
from valuebias.errors import ValueBiasError, ValueBiasWarning

LEXICON = {"agency": ["win"], "communion": ["love"]}
EXPECTED = np.array([[[score(m, p, w) for w in range(4)] for p in range(2)] for m in range(2)])

SIZES = {"model": 2, "prompt": 2, "response": 4, "category": 0}

Make = Callable[[Path], Any]


def check(ds: xr.Dataset, *, categories: bool = False) -> None:
    """Compare with the study, name by name."""
    found = ds["score"].sel(model=MODELS, prompt=PROMPTS, response=WORDS)
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-6)
    assert dict(ds.sizes) | {"category": 0} == SIZES
    assert ds["family"].sel(model=MODELS).values.tolist() == ["Gemma", "Llama"]
    assert ds["framing"].sel(prompt=PROMPTS).values.tolist() == ["positive", "negative"]
    if categories:
        member = ds["membership"].sel(response=WORDS, category=["agency", "communion"])
        assert member.values.tolist() == [[True, False], [False, True], *[[False, False]] * 2]


# --- a file a model -----------------------------------------------------------------------------


def in_utf16(folder: Path) -> Path:
    return folder_of(folder, sep="\t", encoding="utf-16")


def with_row_numbers(folder: Path) -> Path:
    return folder_of(folder, index=True)


def by_text(folder: Path) -> Path:
    for i in range(2):
        save(wide(i, "word", TEXTS), folder / f"org_{'ab'[i]}.csv", sep=";", decimal=",")
    return folder


def by_r(folder: Path) -> Path:
    for i in range(2):
        save(wide(i).set_index("response"), folder / f"org_{'ab'[i]}.csv", index=True,
             index_label=False, na_rep="NA")  # fmt: skip
    return folder


def index_in_parquet(folder: Path) -> Path:
    folder.mkdir()
    for i in range(2):
        wide(i).set_index("response").rename_axis(None).to_parquet(
            folder / f"org_{'ab'[i]}.parquet"
        )
    return folder


def by_polars(folder: Path) -> Path:
    folder.mkdir()
    for i in range(2):
        table = pa.Table.from_pandas(wide(i))
        table = table.set_column(0, "response", table.column(0).cast(pa.string_view()))
        with pa.ipc.new_file(folder / f"org_{'ab'[i]}.feather", table.schema) as file:
            file.write_table(table)
    return folder


def by_a_database(folder: Path) -> Path:
    folder.mkdir()
    for i in range(2):
        table = pa.Table.from_pandas(wide(i))
        for j, name in enumerate(PROMPTS, start=1):
            exact = table.column(j).cast(pa.decimal128(9, 3), safe=False)
            table = table.set_column(j, name, exact)
        pq.write_table(table, folder / f"org_{'ab'[i]}.parquet")
    return folder


def of_categories(folder: Path) -> Path:
    for i in range(2):
        table = wide(i).astype({"response": "category"})
        save(table, folder / f"org_{'ab'[i]}{('.feather', '.parquet')[i]}")
    return folder


def mixed(folder: Path) -> Path:
    save(wide(0), folder / "x_rewards_org_a.csv.gz")
    save(wide(1), folder / "org_b.parquet")
    (folder / "README.md").write_text("Scores of two models.")
    (folder / ".DS_Store").write_bytes(b"\0")
    about().to_csv(folder / "models.csv", index=False)
    return folder


def of_excel_for_europe(folder: Path) -> Path:
    folder_of(folder, sep=";", decimal=",")
    for path in folder.iterdir():
        path.write_text(f"sep=;\n{path.read_text()}")
    return folder


def with_empty_margin(folder: Path) -> Path:
    rows = [[*wide(0).columns, None, None], *[[*row, None, None] for row in cells(0)], [None] * 5]
    save(wide(1), folder / "org_b.csv")
    excel({"scores": rows, "Sheet2": []}, folder / "org_a.xlsx")
    return folder


def cells(model: int) -> list[list[Any]]:
    table = wide(model).astype(object)
    return table.where(table.notna(), None).to_numpy().tolist()


WIDE: dict[str, Make] = {
    "CSV": folder_of,
    "TSV": lambda f: folder_of(f, ".tsv", sep="\t"),
    "gzip": lambda f: folder_of(f, ".csv.gz"),
    "Zstandard": lambda f: folder_of(f, ".csv.zst"),
    "packed TSV": lambda f: folder_of(f, ".tsv.gz", sep="\t"),
    "CSV from Windows": lambda f: folder_of(f, encoding="utf-8-sig", lineterminator="\r\n"),
    "UTF-16 with tabs": in_utf16,
    "Parquet": lambda f: folder_of(f, ".parquet"),
    "Parquet with the words as its index": index_in_parquet,
    "Feather": lambda f: folder_of(f, ".feather"),
    "Feather, not packed": lambda f: folder_of(f, ".feather", compression="uncompressed"),
    "Feather by Polars": by_polars,
    "Parquet by a database": by_a_database,
    "words as pandas' categories": of_categories,
    "Excel": lambda f: folder_of(f, ".xlsx"),
    "Excel with an empty margin and an empty sheet": with_empty_margin,
    "a column word": lambda f: folder_of(f, words="word"),
    "a column Token": lambda f: folder_of(f, words="Token"),
    "a first column without a name": lambda f: folder_of(f, words=""),
    "row numbers before the words": with_row_numbers,
    "R's write.table": by_r,
    "prompts by their texts, decimal commas": by_text,
    "Excel's hint of the separator": of_excel_for_europe,
    "several kinds, and what holds no scores": mixed,
    "missing codes as text": lambda f: folder_of(f, na_rep="N/A"),
}


@pytest.mark.parametrize("name", WIDE)
def test_a_folder_of_tables_is_read(name: str, tmp_path: Path) -> None:
    folder = WIDE[name](tmp_path / "scores")
    models: Any = about()
    if (folder / "models.csv").exists():
        models = folder / "models.csv"
    check(valuebias.read_scores(folder, models=models, lexicon=LEXICON), categories=True)


def one(text: str, name: str = "org_a.csv") -> Make:
    def make(folder: Path) -> Path:
        folder.mkdir()
        (folder / name).write_bytes(text.encode())
        return folder / name

    return make


def beside(name: str, content: bytes = b"\0") -> Make:
    def make(folder: Path) -> Path:
        folder_of(folder)
        (folder / name).write_bytes(content)
        return folder

    return make


def without(name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder_of(folder) / name).unlink()
        return folder

    return make


def renamed(new: str) -> Make:
    def make(folder: Path) -> Path:
        (folder_of(folder) / "org_b.csv").rename(folder / new)
        return folder

    return make


def book(rows: list[list[Any]], **more: list[list[Any]]) -> Make:
    def make(folder: Path) -> Path:
        folder.mkdir()
        return excel({"scores": rows, **more}, folder / "org_a.xlsx")

    return make


def bomb(suffix: str) -> Make:
    """A megabyte of it would be a gigabyte of text."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        path = folder / f"org_a.csv{suffix}"
        text = b"response,best_ever_one\n" + b"0" * 10_000_000
        packed = gzip.compress if suffix == ".gz" else pa.Codec("zstd").compress
        path.write_bytes(40 * bytes(packed(text)))
        return path

    return make


def cut(make: Make, share: float = 0.6) -> Make:
    def made(folder: Path) -> Path:
        path = next(iter(sorted(make(folder).iterdir())))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return made


HEAD = ["response", "best_ever_one"]
REFUSED: dict[str, tuple[Make, str]] = {
    "an old Excel file": (beside("org_c.xls"), "a file of a kind that is not read: 'org_c.xls'"),
    "an R file": (beside("org_c.rds"), "'org_c.rds'.*partial=True"),
    "an old Excel file by itself": (one("x", "org_a.xls"), "Save it as .xlsx or .csv"),
    "text of no known suffix": (beside("org_c.txt"), "'org_c.txt'"),
    "a table as text": (beside("org_c.txt", b"word\tbest\nwin\t1\n"), "'org_c.txt'"),
    "a model without a file": (without("org_b.csv"), "has 'org/b', for which the folder .* has no"),
    "a name without the organisation": (
        renamed("b.csv"), r"'b' \(of the file 'b.csv'\) is unknown. A file is named after its model"
        r".*Found: org_a.csv is org/a.*Did you mean 'org/b'\? Rename the file 'org_b.csv'",
    ),
    "a misspelt name": (renamed("org_bb.csv"), "Did you mean 'org/b'"),
    "two files of one model": (beside("org_a.csv.gz"), "are both of the model 'org/a'"),
    "numbers that may have thousands": (
        one("response;best_ever_one\nwin;1,234\nlove;2,345\n"),
        "separate thousands. Give decimal=','",
    ),
    "decimal commas and points": (
        one("response;best_ever_one\nwin;1,5\nlove;2.5\n"), "separate thousands"
    ),
    "row numbers instead of words": (
        one(",best_ever_one\n1,0.5\n2,1.5\n"), "numbers of the rows, and none has the words"
    ),
    "two columns that may be the words": (
        one("word,token,best_ever_one\nwin,1,2\n"), "'word' and 'token', each of which may be"
    ),
    "a prompt twice, by name and by text": (
        one(f'word,best_ever_one,"{TEXTS[0]}"\nwin,1,2\n'), "two columns of the prompt"
    ),
    "a long table among wide ones": (
        lambda f: save(long(), folder_of(f) / "org_a.csv").parent, "is a long table"
    ),
    "Excel: several sheets": (
        book([HEAD, ["win", 1]], more=[["x"]]), "has 2 sheets: 'scores' and 'more'"
    ),
    "Excel: a word that became a date": (
        book([HEAD, [pd.Timestamp(2026, 5, 1), 1]]), "row 2, column 1 a date"
    ),
    "Excel: a word that became a formula": (book([HEAD, ["#NAME?", 1]]), r"the error #NAME\?"),
    "Excel: a formula without a value": (book([HEAD, ["win", "=1+1"]]), "a formula in row 2"),
    "Excel: not one": (one("response,best_ever_one\nwin,1\n", "org_a.xlsx"), "call it 'org_a.csv'"),
    "Parquet called CSV": (
        lambda f: shutil.move(folder_of(f, ".parquet") / "org_a.parquet", f / "org_a.csv"),
        "is a Parquet file.*call it 'org_a.parquet'",
    ),
    "gzip called CSV": (
        lambda f: shutil.move(folder_of(f, ".csv.gz") / "org_a.csv.gz", f / "org_a.csv"),
        "call it 'org_a.csv.gz'",
    ),
    "plain text": (
        lambda f: shutil.move(folder_of(f, ".csv") / "org_a.csv", f / "org_a.csv.gz"),
        "is text, perhaps a table. It is not packed: call it 'org_a.csv'",
    ),
    "a truncated gzip": (cut(lambda f: folder_of(f, ".csv.gz")), "truncated or no .gz file"),
    "a truncated Zstandard": (cut(lambda f: folder_of(f, ".csv.zst")), "truncated or no .zst file"),
    "a truncated Parquet": (cut(lambda f: folder_of(f, ".parquet")), r"truncated or no \.parquet"),
    "a truncated Feather": (cut(lambda f: folder_of(f, ".feather")), r"truncated or no \.feather"),
    "a truncated Excel": (cut(lambda f: folder_of(f, ".xlsx")), "truncated or no .xlsx"),
    "a gzip that would fill memory": (bomb(".gz"), "made to exhaust memory"),
    "a Zstandard that would fill memory": (bomb(".zst"), "made to exhaust memory"),
    "Parquet that holds lists": (
        lambda f: save(
            pd.DataFrame({"response": ["win"], PROMPTS[0]: [[1.0]]}), f / "org_a.parquet"
        ),
        "column 'best_ever_one' of .* holds list",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_is_refused_with_the_right_reason(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    path = make(tmp_path / "scores")
    with pytest.raises(ValueBiasError, match=said):
        valuebias.read_scores(path, models=about())


def zeros(path: Path) -> None:
    """Eighty megabytes of numbers, and a gigabyte of text."""
    feather.write_feather(pa.table({"response": np.zeros(10_000_000)}), path, compression="zstd")


def no_column(path: Path) -> None:
    feather.write_feather(pa.table({"response": pa.nulls(10**9)}), path)


def one_cell(path: Path) -> None:
    table = pa.table({"response": [300_000_000 * "a"], "best_ever_one": [1.0]})
    if path.suffix == ".feather":
        feather.write_feather(table, path, compression="zstd")
    else:
        pq.write_table(
            table, path, compression="zstd", use_dictionary=False, write_statistics=False
        )


def runs(path: Path) -> None:
    pq.write_table(pa.table({"response": np.zeros(10_000_000, dtype=np.int8)}), path)


def members(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in range(4):
            packed.writestr(f"xl/worksheets/sheet{name}.xml", b" " * 100_000_000)


def far_cells(path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for _ in range(20):
        sheet.append(["x"])
    book.save(path)
    # By hand, because to write as many cells as that takes long.
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    rows = "".join(f'<row r="{i}"><c r="XFD{i}"><v>1</v></c></row>' for i in range(1, 3000))
    (name,) = (name for name in parts if "worksheets/" in name)
    head, tail = parts[name].partition(b"<sheetData>")[0], b"</worksheet>"
    parts[name] = head + f"<sheetData>{rows}</sheetData>".encode() + tail
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".feather", zeros), (".feather", no_column), (".feather", one_cell), (".parquet", runs),
     (".parquet", one_cell), (".xlsx", members), (".xlsx", far_cells)],
)  # fmt: skip
def test_what_would_fill_memory_is_not_opened(
    suffix: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl")
    path = tmp_path / f"org_a{suffix}"
    write(path)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(ValueBiasError, match="made to exhaust memory"):
        valuebias.read_scores(path, models=about())
    with pytest.raises(ValueBiasError, match=r"made to exhaust memory|has no column 'model'"):
        valuebias.read(path, kind="reward")


@pytest.mark.parametrize("name", ["an old Excel file", "an R file", "a model without a file"])
def test_partial_reads_what_there_is(name: str, tmp_path: Path) -> None:
    folder = REFUSED[name][0](tmp_path / "scores")
    ds = valuebias.read_scores(folder, models=about(), partial=True)
    assert ds["model"].values.tolist() == MODELS[: 1 if "without" in name else 2]


@pytest.mark.parametrize(
    "name",
    ["notes.doc", "notes.docx", "notes.odt", "notes.rtf", "notes.pdf", "notes.md", "notes.html",
     "plot.png", "run.py", "run.R", "run.ipynb", "notes.txt"],
)  # fmt: skip
def test_documents_pictures_and_code_are_passed_over(name: str, tmp_path: Path) -> None:
    folder = beside(name, b"Scored on Monday.\nAll went well, as far as we know.\n")(tmp_path / "s")
    check(valuebias.read_scores(folder, models=about()))


def test_a_model_without_scores_is_named_whatever_is_read(tmp_path: Path) -> None:
    more = pd.concat([about(), about().tail(1).assign(model="org/c")])
    folder = folder_of(tmp_path / "wide")
    (tmp_path / "long").mkdir()
    table = save(long()[["model", "prompt", "word", "score"]], tmp_path / "long" / "long.csv")
    for paths in (folder, sorted(folder.iterdir()), table, [table], table.parent):
        with pytest.raises(ValueBiasError, match=r"has 'org/c', (for|of) which .*partial=True"):
            valuebias.read_scores(paths, models=more)
        check(valuebias.read_scores(paths, models=more, partial=True))
        check(valuebias.read_scores(paths, models=about()))
    more.to_csv(tmp_path / "m.csv", index=False)
    for paths in ([table], sorted(folder.iterdir())):
        given = ("data", "read", *paths, "--models", tmp_path / "m.csv", "--out")
        status, told = run(*given, tmp_path / "scores.nc")
        assert status == 1
        assert "'org/c'" in told
        assert "with --partial" in told
        assert run(*given, tmp_path / "scores.nc", "--partial")[0] == 0


def test_words_in_no_category_are_said_on_the_terminal(tmp_path: Path) -> None:
    words = [*WORDS, *(f"w{i}" for i in range(20))]
    for name in "ab":
        lines = [f"{word},{i},{ord(name) - i}" for i, word in enumerate(words)]
        text = "\n".join([f"response,{','.join(PROMPTS)}", *lines])
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / f"org_{name}.csv").write_text(text)
    with pytest.warns(ValueBiasWarning, match=r"22 of the 24 words scored \(92%\) are in no"):
        valuebias.read_scores(tmp_path / "s", models=about(), lexicon=LEXICON)
    valuebias.read_scores(tmp_path / "s", models=about())
    status, told = read_by_command(tmp_path / "s", tmp_path)
    assert status == 0
    assert "22 of the 24 words scored" in told


def test_a_mapping_is_taken_where_names_differ(tmp_path: Path) -> None:
    folder = renamed("b.csv")(tmp_path / "scores")
    with pytest.raises(
        ValueBiasError, match=r"or give read_scores\(\{'org/b': '.*b.csv', …\}, …\)"
    ):
        valuebias.read_scores(folder, models=about())
    files = {"org/b": folder / "b.csv", "org/a": folder / "org_a.csv"}
    check(valuebias.read_scores(files, models=about()))
    (folder / "b.csv").rename(folder / "org_b.csv")
    check(valuebias.read_scores(folder, models=about()))


def test_a_long_table_among_wide_ones_is_read_as_advised(tmp_path: Path) -> None:
    folder = REFUSED["a long table among wide ones"][0](tmp_path / "scores")
    with pytest.raises(
        ValueBiasError, match=r"Read it with valuebias.read\('(.*)', kind='reward'\)"
    ):
        valuebias.read_scores(folder, models=about())
    check(valuebias.read(folder / "org_a.csv", kind="reward"))


def test_a_decimal_comma_that_is_given_is_taken(tmp_path: Path) -> None:
    path = one("response;best_ever_one\nwin;1,234\nlove;2,345\n")(tmp_path / "scores")
    ds = valuebias.read_scores(path, models=about(), decimal=",")
    np.testing.assert_allclose(ds["score"].values.ravel(), [1.234, 2.345], rtol=1e-6)
    with pytest.raises(ValueBiasError, match=r"'1,234'.*expected a number, or nothing"):
        valuebias.read_scores(path, models=about(), decimal=".")
    with pytest.raises(ValueBiasError, match="decimal is ';'"):
        valuebias.read_scores(path, models=about(), decimal=";")


def test_case_of_words_matters_unless_asked(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "scores")
    lexicon = {"up": ["hope"], "down": ["love"]}
    for ignored in (False, True):
        ds = (
            valuebias.read_scores(folder, models=about(), lexicon=lexicon, ignore_case=True)
            if (ignored)
            else valuebias.read_scores(folder, models=about(), lexicon={"down": ["love"]})
        )
        assert ds["membership"].sel(response="Hope").any().item() is ignored


def test_files_that_lack_prompts_or_words_are_joined_as_advised(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "scores")
    save(wide(1).iloc[:3].drop(columns="bad_ever_one"), folder / "org_b.csv")
    with pytest.raises(
        ValueBiasError, match=r"one by one .*schema\.concat\(\.\.\., join='outer'\)"
    ):
        valuebias.read_scores(folder, models=about())
    parts = [valuebias.read_scores(folder / f"org_{name}.csv", models=about()) for name in "ab"]
    with pytest.raises(ValueBiasError, match="join='outer'"):
        valuebias.schema.concat(parts)
    for order in (parts, parts[::-1]):
        both = valuebias.schema.concat(order, join="outer")
        expected = EXPECTED.copy()
        expected[1, 1], expected[1, :, 3] = np.nan, np.nan
        found = both["score"].sel(model=MODELS, prompt=PROMPTS, response=WORDS)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert both["text"].sel(prompt=PROMPTS).values.tolist() == TEXTS


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_scores_that_differ_by_less_than_32_bits_tell_are_not_one(
    suffix: str, tmp_path: Path
) -> None:
    fine = [
        wide(0),
        *(wide(i).assign(**{p: 100 + wide(i)[p] * 1e-7 for p in PROMPTS}) for i in [1]),
    ]
    for i, table in enumerate(fine):
        save(table, tmp_path / "scores" / f"org_{'ab'[i]}{suffix}")
    said = (
        r"Model 'org/b' has 8 different scores, of which 1 would be left.*Subtract about 100 from"
    )
    with pytest.raises(ValueBiasError, match=said):
        valuebias.read_scores(tmp_path / "scores", models=about())
    table = long()
    table["score"] = 100 + table["score"] * 1e-7
    path = save(table, tmp_path / f"t{suffix}")
    with pytest.raises(ValueBiasError, match="would be left"):
        valuebias.read(path, kind="reward")
    # As the error advises.
    table["score"] -= 100
    ds = valuebias.read(save(table, path), kind="reward")
    found = ds["score"].sel(model=MODELS, prompt=PROMPTS, response=WORDS)
    np.testing.assert_allclose(found * 1e7, EXPECTED, rtol=1e-5, atol=1e-6)


def test_families_that_differ_in_capitals_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "scores")
    for other in ("gemma", "Gemma ", "GEMMA"):
        with pytest.raises(ValueBiasError, match=f"'Gemma' and '{other}' differ in capitals or"):
            valuebias.read_scores(folder, models=about().assign(family=["Gemma", other]))


def test_a_code_for_missing_scores_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    for i in range(2):
        save(wide(i).fillna(-999.0), folder / f"org_{'ab'[i]}.csv")
    ds = valuebias.read_scores(folder, models=about(), lexicon=LEXICON)
    (row,) = valuebias.audit(ds).findings.query("check == 'missing codes'").to_dict("records")
    assert "1 score is -999" in row["detail"]
    assert "'org/a'" in row["detail"]
    # As the finding advises.
    ds["score"] = ds["score"].where(ds["score"] != -999)
    check(ds)
    assert "missing codes" not in set(valuebias.audit(ds).findings["check"])


# --- a row a score ------------------------------------------------------------------------------

TABLE = with_categories(long())


def exact_decimals(folder: Path) -> Path:
    table = pa.Table.from_pandas(TABLE)
    at = table.column_names.index("score")
    exact = table.column(at).cast(pa.decimal128(9, 3), safe=False)
    folder.mkdir()
    pq.write_table(table.set_column(at, "score", exact), folder / "t.parquet")
    return folder / "t.parquet"


LONG: dict[str, Make] = {
    "CSV": lambda f: save(TABLE, f / "t.csv"),
    "CSV, rows and columns in any order": lambda f: save(
        TABLE.sample(frac=1, random_state=1)[TABLE.columns[::-1]], f / "t.csv", index=True
    ),
    "gzip": lambda f: save(TABLE, f / "t.csv.gz"),
    "Zstandard": lambda f: save(TABLE, f / "t.csv.zst"),
    "TSV": lambda f: save(TABLE, f / "t.tsv", sep="\t"),
    "semicolons and decimal commas": lambda f: save(TABLE, f / "t.csv", sep=";", decimal=","),
    "UTF-16": lambda f: save(TABLE, f / "t.csv", sep="\t", encoding="utf-16"),
    "Excel": lambda f: save(TABLE, f / "t.xlsx"),
    "Parquet, rows in any order": lambda f: save(
        TABLE.sample(frac=1, random_state=1), f / "t.parquet"
    ),
    "Feather": lambda f: save(TABLE, f / "t.feather"),
    "capitals": lambda f: save(TABLE.rename(columns=str.title), f / "t.csv"),
    "token": lambda f: save(TABLE.rename(columns={"word": "token"}), f / "t.csv"),
    "indicators, prefixed": lambda f: save(
        indicators(long()).rename(columns=lambda c: f"category.{c}" if c in LEXICON else c),
        f / "t.csv",
    ),
    "pandas' categories": lambda f: save(
        TABLE.astype(dict.fromkeys(["model", "word", "category", "framing"], "category")),
        f / "t.feather",
    ),
    "scores as text": lambda f: save(
        TABLE.assign(score=TABLE["score"].map("{:.2f}".format)), f / "t.parquet"
    ),
    "scores as text, Feather": lambda f: save(
        TABLE.assign(score=TABLE["score"].astype(str).astype("category")), f / "t.feather"
    ),
    "exact decimals": exact_decimals,
    "saved again by pandas": lambda f: save(
        TABLE.rename_axis("Unnamed: 0").reset_index(), f / "t.csv", index=True
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_table_is_read(name: str, tmp_path: Path) -> None:
    path = LONG[name](tmp_path / "scores")
    check(valuebias.read(path, kind="reward"), categories=True)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
def test_columns_of_zero_and_one_that_part_the_words_are_categories(
    suffix: str, tmp_path: Path
) -> None:
    path = save(indicators(long()), tmp_path / f"t{suffix}")
    with pytest.warns(
        ValueBiasWarning, match="'agency' and 'communion' of .* as categories"
    ) as told:
        ds = valuebias.read(path, kind="reward")
    assert [warning.filename for warning in told] == [__file__]
    check(ds, categories=True)
    # As the warning advises.
    prefixed = indicators(long()).rename(columns=lambda c: f"category.{c}" if c in LEXICON else c)
    assert valuebias.read(save(prefixed, path), kind="reward").equals(ds)


def test_columns_of_zero_and_one_that_overlap_stay_what_is_known_of_words(tmp_path: Path) -> None:
    table = indicators(long())
    for changed in (
        table.drop(columns="agency"),
        table.assign(short=(table["word"] != "love") * 1),
    ):
        ds = valuebias.read(save(changed, tmp_path / "t.csv"), kind="reward")
        assert ds.sizes["category"] == 0
        assert ds["communion"].dims == ("response",)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".xlsx", ".parquet"])
@pytest.mark.parametrize("asked_by", ["name", "text"])
def test_a_long_table_is_read_beside_tables_of_models_and_prompts(
    suffix: str, asked_by: str, tmp_path: Path
) -> None:
    table = long()[["model", "prompt", "word", "score"]]
    if asked_by == "text":
        table["prompt"] = table["prompt"].map(dict(zip(PROMPTS, TEXTS, strict=True)))
    path = save(table, tmp_path / f"t{suffix}")
    with pytest.raises(ValueBiasError, match=r"'family' is missing .*valuebias.read_scores\("):
        valuebias.read(path, kind="reward")
    ds = valuebias.read_scores(path, models=about(), lexicon=LEXICON)
    check(ds, categories=True)
    assert ds["text"].sel(prompt=PROMPTS).values.tolist() == TEXTS
    with pytest.raises(ValueBiasError, match=r"The model 'org/a' of .* is unknown"):
        valuebias.read_scores(path)


REFUSED_LONG: dict[str, tuple[Make, str]] = {
    "a column that is no text": (
        lambda f: save(TABLE.rename(columns={"base": "Größe"}), f / "t.csv", encoding="latin-1"),
        "the name of a column is no text",
    ),
    "no kind": (lambda f: save(TABLE, f / "t.csv"), "Give kind="),
    "two columns of words": (
        lambda f: save(TABLE.assign(token=1), f / "t.csv"), "may be the words"
    ),
    "a word in two categories": (
        lambda f: save(TABLE.assign(category=TABLE["prompt"]), f / "t.csv"), "'category' .* both"
    ),
    "an empty category": (lambda f: save(TABLE.assign(category=""), f / "t.csv"), "is empty"),
    "both forms of categories": (
        lambda f: save(TABLE.assign(**{"category.x": 1}), f / "t.csv"), "Leave one kind out"
    ),
    "scores that are no numbers": (
        lambda f: save(TABLE.assign(score="high"), f / "t.tsv", sep="\t"), "'score' .* holds 'high'"
    ),
    "thousands": (
        lambda f: save(TABLE.assign(score="1,234"), f / "t.csv", sep=";"), "with a decimal point"
    ),
    "a truncated gzip": (cut(lambda f: save(TABLE, f / "t.csv.gz").parent), "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_LONG)
def test_a_long_table_is_refused_with_the_right_reason(name: str, tmp_path: Path) -> None:
    make, said = REFUSED_LONG[name]
    path = make(tmp_path / "scores")
    with pytest.raises(ValueBiasError, match=said):
        valuebias.read(path, kind=None if name == "no kind" else "reward")


def test_without_openpyxl_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one("PK\3\4", "org_a.xlsx")(tmp_path / "scores")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(ValueBiasError, match=r'openpyxl is not installed.*"valuebias\[excel\]"'):
        valuebias.read_scores(path, models=about())


# --- on the command line ------------------------------------------------------------------------


def read_by_command(path: Path, folder: Path, *more: object) -> tuple[int, str]:
    """Make scores.nc of files."""
    about().to_csv(folder / "models.csv", index=False)
    (folder / "words.csv").write_text("word,category\nwin,agency\nlove,communion\n")
    options = {"models": "models.csv", "lexicon": "words.csv", "out": "scores.nc"}
    given = [part for name, file in options.items() for part in (f"--{name}", folder / file)]
    return run("data", "read", path, *given, *more)


def run(*arguments: object) -> tuple[int, str]:
    """Run a command; give its exit status, and its message on one line."""
    with warnings.catch_warnings():
        result = CliRunner().invoke(app, [str(each) for each in arguments], prog_name="valuebias")
    return result.exit_code, " ".join(f"{result.stdout} {result.stderr}".split())


@pytest.mark.parametrize(
    "name",
    ["gzip", "UTF-16 with tabs", "Parquet", "Feather", "Excel", "R's write.table",
     "prompts by their texts, decimal commas"],
)  # fmt: skip
def test_the_command_reads_a_folder(name: str, tmp_path: Path) -> None:
    assert read_by_command(WIDE[name](tmp_path / "scores"), tmp_path)[0] == 0
    check(valuebias.read(tmp_path / "scores.nc"), categories=True)


@pytest.mark.parametrize("name", ["gzip", "Excel", "semicolons and decimal commas"])
def test_the_commands_take_a_long_table_with_its_kind(name: str, tmp_path: Path) -> None:
    path = LONG[name](tmp_path / "scores")
    status, told = run("data", "audit", path)
    assert status == 1
    assert "Add --kind, one of" in told
    assert "kind=" not in told
    assert run("data", "audit", path, "--kind", "reward")[0] == 0
    status, told = run("fit", path, "--kind", "logprob", "--draws", 4, "--chains", 1)
    assert status == 1
    assert "Log-probs in nat are at most 0" in told


@pytest.mark.parametrize("name", ["an R file", "a model without a file"])
def test_the_command_says_what_it_would_leave_out(name: str, tmp_path: Path) -> None:
    folder = REFUSED[name][0](tmp_path / "scores")
    status, told = read_by_command(folder, tmp_path)
    assert status == 1
    assert "with --partial" in told
    assert "partial=True" not in told
    assert read_by_command(folder, tmp_path, "--partial")[0] == 0
    assert valuebias.read(tmp_path / "scores.nc")["model"].values[0] == "org/a"


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_command_says_has_no_python_in_it(name: str, tmp_path: Path) -> None:
    if "memory" in name:
        return
    status, told = read_by_command(REFUSED[name][0](tmp_path / "scores"), tmp_path)
    assert status == 1
    for python in ("valuebias.", "True", "=[", "read_scores", "DataFrame", "decimal=", "mapping"):
        assert python not in told, told


def test_the_command_says_how_a_changed_table_is_read(tmp_path: Path) -> None:
    path = valuebias.write(valuebias.read(save(TABLE, tmp_path / "t.csv"), kind="reward"),
                           tmp_path / "scores.csv")  # fmt: skip
    path.write_text(path.read_text().replace("Hope", "Hops"))
    status, told = run("data", "audit", path)
    assert status == 1
    assert "delete 'scores.csv.json' and read the table with --kind reward" in told
    (tmp_path / "scores.csv.json").unlink()
    assert run("data", "audit", path, "--kind", "reward")[0] == 0


def test_the_command_keeps_the_categories_of_a_long_table(tmp_path: Path) -> None:
    path = save(TABLE, tmp_path / "t.csv")
    made = tmp_path / "scores.nc"
    assert run("data", "read", path, "--out", made)[0] == 0
    check(valuebias.read(made), categories=True)
    # Where another lexicon is asked for, words are looked up.
    (tmp_path / "words.csv").write_text("word,category\nHope,up\n")
    command = [
        "data",
        "read",
        save(TABLE, path),
        "--lexicon",
        tmp_path / "words.csv",
        "--out",
        made,
    ]
    assert run(*command)[0] == 0
    assert valuebias.read(made)["category"].values.tolist() == ["up"]


def test_neither_the_command_nor_python_takes_a_lexicon_unasked(tmp_path: Path) -> None:
    table = long()[["model", "prompt", "word", "score"]].replace({"word": {"win": "success"}})
    path, made = save(table, tmp_path / "t.csv"), tmp_path / "scores.nc"
    models = tmp_path / "models.csv"
    about().to_csv(models, index=False)
    described = ["--models", models]
    status, told = run("data", "read", path, *described, "--out", made)
    assert status == 0
    assert "in no category" in told
    assert "--lexicon agency-communion" in told
    by_python = valuebias.read_scores(path, models=models)
    assert valuebias.read(made).sizes["category"] == by_python.sizes["category"] == 0
    status, told = run("fit", made)
    assert status == 1
    assert "valuebias data read ... --lexicon agency-communion" in told
    with pytest.raises(ValueBiasError, match=r"such as lexicon='agency-communion'\. None is taken"):
        valuebias.fit(by_python)
    # What both advise, with the same result.
    asked = ["--lexicon", "agency-communion"]
    status, told = run("data", "read", path, *described, *asked, "--out", made)
    assert status == 0
    assert "in no category" not in told
    by_python = valuebias.read_scores(path, models=models, lexicon="agency-communion")
    for ds in (valuebias.read(made), by_python):
        assert ds["membership"].sel(response="success").values.tolist() == [True, False]


def test_the_command_advises_how_a_long_table_is_read(tmp_path: Path) -> None:
    path = save(long()[["model", "prompt", "word", "score"]], tmp_path / "t.csv")
    status, told = run("data", "audit", path, "--kind", "reward")
    assert status == 1
    assert "valuebias data read" in told
    assert read_by_command(path, tmp_path, "--kind", "reward")[0] == 0
    check(valuebias.read(tmp_path / "scores.nc"), categories=True)
