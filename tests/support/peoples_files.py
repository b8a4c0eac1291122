"""Files of scores as people have them, written anew: one study, in any form."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

__all__ = [
    "MODELS", "PROMPTS", "TEXTS", "WORDS", "about", "excel", "folder_of", "indicators", "long",
    "save", "score", "wide", "with_categories",
]  # fmt: skip

MODELS = ["org/a", "org/b"]
PROMPTS = ["best_ever_one", "bad_ever_one"]
TEXTS = [
    "What, in one word, is the best thing ever?",
    "What, in one word, is the most bad thing ever?",
]
WORDS = ["win", "love", "NA", "Hope"]
"""One looks like a missing cell."""
CATEGORIES = {"win": "agency", "love": "communion"}


def score(model: int, prompt: int, word: int) -> float:
    """Give a score of the study; one is missing."""
    return np.nan if (model, prompt, word) == (0, 1, 1) else 1.5 * word - prompt + model / 4


def about() -> pd.DataFrame:
    """Give the table of models."""
    return pd.DataFrame(
        {"model": MODELS, "family": ["Gemma", "Llama"], "base": ["g", "l"], "stage": "reward"}
    )


def wide(model: int, words: str = "response", prompts: list[str] | None = None) -> pd.DataFrame:
    """Give a model's words and prompts."""
    columns = {
        name: [score(model, j, i) for i in range(len(WORDS))]
        for j, name in enumerate(prompts or PROMPTS)
    }
    return pd.DataFrame({words: WORDS, **columns})


def long() -> pd.DataFrame:
    """Give a row a score, with all that there is to say of models and prompts."""
    cells = itertools.product(range(2), range(2), range(len(WORDS)))
    rows = [
        {
            "model": MODELS[m], "prompt": PROMPTS[p], "word": WORDS[w], "score": score(m, p, w),
            "family": ["Gemma", "Llama"][m], "base": ["g", "l"][m], "stage": "reward",
            "text": TEXTS[p], "framing": ["positive", "negative"][p],
        }
        for m, p, w in cells
    ]  # fmt: skip
    return pd.DataFrame(rows)


def with_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Say of each word in which category it is."""
    return table.assign(category=table["word"].map(CATEGORIES).fillna(""))


def indicators(table: pd.DataFrame) -> pd.DataFrame:
    """Say the same by a column of 0 and 1 a category."""
    return table.assign(
        **{name: (table["word"].map(CATEGORIES) == name).astype(int)
           for name in CATEGORIES.values()}
    )  # fmt: skip


def excel(sheets: dict[str, list[list[Any]]], path: Path) -> Path:
    """Write an Excel file."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def folder_of(folder: Path, suffix: str = ".csv", words: str = "response", **how: Any) -> Path:
    """Write a folder with a file for each model."""
    for i, model in enumerate(MODELS):
        save(wide(i, words), folder / f"{model.replace('/', '_')}{suffix}", **how)
    return folder


def save(table: pd.DataFrame, path: Path, **how: Any) -> Path:
    """Write a table in the form that its file's name says."""
    name = path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        table.to_parquet(path, **how)
    elif name.endswith(".feather"):
        table.to_feather(path, **how)
    elif name.endswith(".xlsx"):
        cells = table.astype(object).where(table.notna(), None)
        excel({"scores": [list(table.columns), *cells.to_numpy().tolist()]}, path)
    else:
        encoding = how.pop("encoding", "utf-8")
        text = table.to_csv(**{"index": False, **how}).encode(encoding)
        if name.endswith(".gz"):
            text = gzip.compress(text)
        elif name.endswith(".zst"):
            text = pa.compress(text, codec="zstd", asbytes=True)
        path.write_bytes(text)
    return path
