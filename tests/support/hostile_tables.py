"""Tables, words, prompts, studies and preferences: valid ones, to be damaged."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import tiny_studies
from hostile_base import ANEW, EARLIER, EASY, OWN, Subject, scores, stamp
from peoples_files import about, folder_of, long, save, with_categories
from stores import unseal

import valuebias
from valuebias import ValueBiasError
from valuebias._core.sums import json_sum
from valuebias.ablation import Study

__all__ = ["TABLES"]


@cache
def _written(suffix: str) -> tuple[Callable[[Path], Any], Callable[[Path], str]]:
    def make(folder: Path) -> None:
        valuebias.write(scores(), folder / f"scores{suffix}")

    def read(folder: Path) -> str:
        ds = valuebias.read(folder / f"scores{suffix}")
        return stamp(ds, {k: v for k, v in ds.attrs.items() if k != "provenance"})

    return make, read


def _make_plain(folder: Path) -> None:
    table = scores()["score"].to_dataframe().reset_index()
    table[["model", "prompt", "response", "family", "base", "stage", "text", "framing",
           "score"]].to_csv(folder / "own.csv", index=False)  # fmt: skip


def _make_wide(folder: Path) -> None:
    names = list(valuebias.prompts().table.index[:3])
    for model in ("org--one", "org--two"):
        frame = pd.DataFrame(np.random.default_rng(1).normal(size=(4, 3)), columns=names)
        frame.insert(0, "response", ["love", "power", "trust", "win"])
        (folder / "wide").mkdir(exist_ok=True)
        frame.to_csv(folder / "wide" / f"x_rewards_{model.replace('--', '_')}.csv", index=False)
    about = pd.DataFrame({"model": ["org/one", "org/two"], "family": ["A", "B"],
                          "base": ["a", "b"], "stage": ["reward"] * 2})  # fmt: skip
    about.to_csv(folder / "models.csv", index=False)


def _make_kinds(*suffixes: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for suffix in suffixes:
            folder_of(folder / suffix, suffix)
            save(with_categories(long()), folder / f"long{suffix}")

    return make


def _read_without_doubt(folder: Path) -> str:
    """Read; what is warned of as perhaps damaged counts as refused."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = _written(".zarr")[1](folder)
    doubts = [str(one.message) for one in caught if "no file with the values" in str(one.message)]
    if doubts:
        raise ValueBiasError(doubts[0])
    return read


def _read_kinds(*suffixes: str) -> Callable[[Path], str]:
    return lambda folder: stamp(*(
        ds for suffix in suffixes
        for ds in (valuebias.read_scores(folder / suffix, models=about()),
                   valuebias.read(folder / f"long{suffix}", kind="reward"))
    ))  # fmt: skip


def _make_logprobs(folder: Path) -> None:
    names = list(valuebias.prompts().table.index[:3])
    words = ["Love", " love", "NaN", "a|b", *(f"w{i}" for i in range(20))]
    frame = pd.DataFrame(
        np.log(np.random.default_rng(1).dirichlet(np.ones(len(words)), size=3)).T, columns=names
    )
    for place, column in enumerate(("token_id", "token_name", "token_decoded")):
        frame.insert(place, column, range(len(words)) if not place else words)
    frame.to_csv(folder / "google_gemma-2-2b_logprobs.csv", index=False)


# --- words, prompts, tables, preferences --------------------------------------------------------


def _make_texts(folder: Path) -> None:
    (folder / "long.csv").write_text("category,word\nup,win\nup,rise*\ndown,lose\ndown,fall\n")
    (folder / "marks.tsv").write_text("word\tup\tdown\nwin\tX\t\nlose\t\tX\nboth\tX\tX\n")
    (folder / "a.dic").write_text("%\n1\tup\n2\tdown\n%\nwin\t1\nlose\t2\nlike\t(02 134)1/2\n")
    (folder / "a.dicx").write_text("DicTerm,up,down\nwin,X,\nlose,,X\n")
    (folder / "a.json").write_text('{"up": ["win", "rise*"], "down": ["lose"]}')
    (folder / "lines.tsv").write_text("up\twin\trise*\ndown\tlose\tfall\tsink\n")


def _read_texts(folder: Path) -> str:
    names = ("long.csv", "marks.tsv", "a.dic", "a.dicx", "a.json", "lines.tsv")
    return stamp(*(valuebias.lexicon(folder / name).table for name in names))


def _make_prompts(folder: Path) -> None:
    (folder / "p.yaml").write_text(
        "best: {text: 'What is good?', framing: positive}\nworst: {text: 'What is bad?', "
        "framing: negative}\n"
    )
    (folder / "p.csv").write_text(
        'prompt,text,framing\nbest,"What, is good?",positive\nworst,What is bad?,negative\n'
    )
    (folder / "f.yaml").write_text(
        "factors: {adjective: [best, worst], concision: {one: in one word, any: ''}}\n"
        "template: 'What is the {adjective} thing {concision}?'\n"
        "framing_by: adjective\nframing: {best: positive, worst: negative}\n"
    )


def _read_prompts(folder: Path) -> str:
    return stamp(*(valuebias.prompts(folder / name).table for name in ("p.yaml", "p.csv")),
                 valuebias.prompts(folder / "f.yaml").table)  # fmt: skip


def _make_tables(folder: Path) -> None:
    (folder / "m.yaml").write_text(
        "one: {location: org/one, family: A, n_params: 8e9, label: 1, dtype: float32}\n"
        "two: {location: org/two, base: org/lm, template: 'Q: {prompt} A: {response}'}\n"
    )
    (folder / "m.csv").write_text(
        "name,location,family,n_params\none,org/one,A,8e9\ntwo,org/two,,\n"
    )
    (folder / "l.yaml").write_text("- org/one\n- {location: org/two, stage: reward}\n")


def _make_study(folder: Path) -> None:
    tiny_studies.pairs(20).to_json(folder / "pairs.jsonl", orient="records", lines=True)
    (folder / "study.yaml").write_text(
        "bases:\n  - {location: org/lm, name: lm, family: Llama, base: L}\n"
        "sources: {plain: pairs.jsonl}\nn_pairs: [4, 8]\nseeds: [0, 1]\nheld_out: 0.2\n"
        "tuning: lora\ntraining: {learning_rate: 0.01, max_steps: 3}\n"
    )


def _read_study(folder: Path) -> str:
    study = Study.read(folder / "study.yaml")
    study.split()
    return stamp(study.runs(), repr(study))


def _make_preferences(folder: Path) -> None:
    table = tiny_studies.pairs(12)
    table.to_json(folder / "p.jsonl", orient="records", lines=True)
    table.to_parquet(folder / "p.parquet")


def _read_preferences(folder: Path) -> str:
    made = [valuebias.preferences(folder / name, progress=False)
            for name in ("p.jsonl", "p.parquet")]  # fmt: skip
    return stamp(*(one.pairs for one in made))


# --- with other checksums, or none ----------------------------------------------------------------


def _unsealed(suffix: str) -> Callable[[Path], Any]:
    """Write scores as earlier versions did, without a checksum."""

    def make(folder: Path) -> None:
        _written(suffix)[0](folder)
        path = folder / f"scores{suffix}"
        if suffix == ".nc":
            with h5py.File(path, "r+") as file:
                del file.attrs["valuebias_sha256"]
        else:
            unseal(path)

    return make


def _reseal_sidecar(folder: Path) -> None:
    """Let a sidecar vouch for whatever it says, and for the table beside it."""
    side = folder / "scores.csv.json"
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        about = json.loads(side.read_bytes())
        about.pop("content", None)
        about["sha256"] = hashlib.sha256((folder / "scores.csv").read_bytes()).hexdigest()
        about["sum"] = json_sum({name: value for name, value in about.items() if name != "sum"})
        side.write_text(json.dumps(about))


def _make_own_parquet(folder: Path) -> None:
    _make_plain(folder)
    pd.read_csv(folder / "own.csv").to_parquet(folder / "own.parquet")


def _own(suffix: str) -> Callable[[Path], str]:
    return lambda folder: stamp(valuebias.read(folder / f"own{suffix}", kind="reward"))


TABLES: tuple[Subject, ...] = (
    Subject("scores, netCDF", *_written(".nc"), weight=2, bits=EASY),
    Subject("scores, Zarr", *_written(".zarr"), weight=2),
    Subject("scores, Parquet", *_written(".parquet"), weight=2),
    Subject("scores, CSV: table", *_written(".csv"), ("*.csv",), bits=EASY),
    Subject("scores, CSV: sidecar", *_written(".csv"), ("*.json",), weight=2, bits=EASY),
    Subject("scores, CSV: sidecar, checksums made anew", *_written(".csv"), ("*",), ANEW, 2,
            after=_reseal_sidecar),
    Subject("scores, netCDF, without checksum", _unsealed(".nc"), _written(".nc")[1],
            excuse=EARLIER, weight=2),
    Subject("scores, Zarr, without checksums", _unsealed(".zarr"), _read_without_doubt,
            excuse=EARLIER, weight=2),
    Subject("a tidy table of one's own, CSV", _make_plain, _own(".csv"), ("*.csv",), OWN),
    Subject("a tidy table of one's own, Parquet", _make_own_parquet, _own(".parquet"),
            ("*.parquet",), OWN),
    Subject(
        "wide CSVs and their models", _make_wide,
        lambda folder: stamp(
            valuebias.read_scores(folder / "wide", models=folder / "models.csv")), excuse=OWN,
    ),
    Subject(
        "released log-probs, CSV", _make_logprobs,
        lambda folder: stamp(valuebias.read_logprobs(folder).load()), excuse=OWN,
    ),
    Subject("tables, packed: gzip, Zstandard", _make_kinds(".csv.gz", ".csv.zst"),
            _read_kinds(".csv.gz", ".csv.zst"), excuse=OWN),
    Subject("tables, Parquet and Feather", _make_kinds(".parquet", ".feather"),
            _read_kinds(".parquet", ".feather"), excuse=OWN),
    *([Subject("tables, Excel", _make_kinds(".xlsx"), _read_kinds(".xlsx"), excuse=OWN)]
      if importlib.util.find_spec("openpyxl") else []),
    Subject("lexicons: CSV, TSV, JSON, .dic, .dicx", _make_texts, _read_texts, excuse=OWN,
            weight=2),
    Subject("prompts: YAML, CSV", _make_prompts, _read_prompts, excuse=OWN, weight=2),
    Subject(
        "tables of models: YAML, CSV", _make_tables,
        lambda folder: stamp(*(valuebias.read_models(folder / name)
                               for name in ("m.yaml", "m.csv", "l.yaml"))), excuse=OWN,
    ),
    Subject("study.yaml and its pairs", _make_study, _read_study, excuse=OWN),
    Subject("preferences: JSON lines, Parquet", _make_preferences, _read_preferences, excuse=OWN,
            weight=2),
)  # fmt: skip
"""By name; those of more ways to be wrong have more weight."""
