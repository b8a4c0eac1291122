"""Find the model of each file by its name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from valuebias.errors import ValueBiasError, did_you_mean, few
from valuebias.io.sheets import SUFFIXES, stem_of, suffix_of

__all__ = ["check_expected", "files_by_model", "only_table", "unknown_model"]

_MARK = "_rewards_"
_RULE = (
    "A file is named after its model, with _ for each /: org_name.csv, or "
    "anything_rewards_org_name.csv, is org/name"
)
_READ = (
    ", ".join(suffix for suffix in SUFFIXES if suffix.count(".") == 1) + ", .csv.gz and .csv.zst"
)
# What lies beside scores and holds none: texts, pictures, code, and what systems leave.
_NO_SCORES = frozenset(
    {".md", ".rst", ".html", ".htm", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".pages", ".ppt",
     ".pptx", ".odp", ".key", ".epub", ".tex", ".bib", ".png", ".jpg", ".jpeg", ".svg", ".gif",
     ".tif", ".tiff", ".webp", ".eps", ".py", ".pyc", ".r", ".rmd", ".qmd", ".ipynb", ".jl", ".m",
     ".do", ".sps", ".js", ".css", ".sh", ".rproj", ".yaml", ".yml", ".toml", ".log", ".ini", ".db",
     ".sha256", ".lock", ".tmp", ".bak"}
)  # fmt: skip
_NAMES = ("readme", "license", "licence", "changelog", "citation")

_LOOKED_AT = 4096

_Path = str | os.PathLike[str]


def files_by_model(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path],
    known: Collection[str],
    *,
    expected: Iterable[str],
    apart: Iterable[Path],
    partial: bool,
) -> dict[str, Path]:
    """Give each model's file; refuse to leave out any file of a folder or model unless asked to.

    `expected` are the models that there have to be, `apart` the files that are no scores.
    """
    if isinstance(paths, Mapping):
        for model in paths:
            if model not in known:
                raise unknown_model(f"The model {model!r}", known)
        files = {str(model): Path(path) for model, path in paths.items()}
    else:
        listed = _listed(paths, [os.path.abspath(path) for path in apart], partial)
        files = _matched(listed, known)
    if not files:
        raise ValueBiasError("No files were given; expected at least one, such as a CSV.")
    if not partial and not isinstance(paths, Mapping):
        where = f"for which no file is given. {_RULE}"
        several = len(files) > 1
        if isinstance(paths, str | os.PathLike) and os.path.isdir(paths):
            where = f"for which the folder {os.fspath(paths)!r} has no file. {_RULE}"
            several = True
        # Who names one wide file, or whose each file is, has said which models are meant.
        if several:
            check_expected(expected, files, where)
    return files


def check_expected(expected: Iterable[str], found: Collection[str], where: str) -> None:
    """Refuse to leave out a model of the table without a word."""
    lacking = [model for model in expected if model not in found]
    if lacking:
        one = len(lacking) == 1
        said = (
            f"The table of models has {few(lacking)}, {where}. Add {'it' if one else 'them'}, take "
            f"the {'row' if one else 'rows'} out of the table, or read what there "
        )
        raise ValueBiasError(f"{said}is with partial=True.", in_shell=f"{said}is with --partial.")


def only_table(folder: Path, apart: Iterable[Path], partial: bool) -> Path | None:
    """Give the one table of a folder; None where there are several."""
    tables = _listed(folder, [os.path.abspath(path) for path in apart], partial)
    return tables[0] if len(tables) == 1 else None


def _listed(paths: _Path | Sequence[_Path], apart: Collection[str], partial: bool) -> list[Path]:
    if not isinstance(paths, str | os.PathLike):
        return [Path(path) for path in paths]
    folder = Path(paths)
    if not os.path.isdir(folder):
        return [folder]
    inside = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith((".", "~$")) and os.path.abspath(path) not in apart
    ]
    files = [path for path in inside if suffix_of(path) in SUFFIXES and not path.is_dir()]
    others = [path.name for path in inside if path not in set(files) and _may_be_scores(path)]
    if others and not partial:
        noun, verb = ("a file", "is") if len(others) == 1 else (f"{len(others)} files", "are")
        said = (
            f"The folder {str(folder)!r} has {noun} of a kind that {verb} not read: "
            f"{few(others)}. Save scores as one of {_READ}; move other files elsewhere, or leave "
        )
        raise ValueBiasError(
            f"{said}them out with partial=True.", in_shell=f"{said}them out with --partial."
        )
    if not files:
        raise ValueBiasError(
            f"The folder {str(folder)!r} has no .csv files, nor others of scores ({_READ})."
        )
    return files


def _may_be_scores(path: Path) -> bool:
    if path.is_dir():
        return path.suffix.lower() == ".zarr" or suffix_of(path) in SUFFIXES
    name = path.name.lower()
    # A description lies beside each table that valuebias.write made.
    described = name.endswith(".json") and path.with_name(path.name[:-5]).exists()
    # Text may be a table: then it is not passed over.
    if path.suffix.lower() == ".txt":
        return not _is_notes(path)
    return not (path.suffix.lower() in _NO_SCORES or name.startswith(_NAMES) or described)


def _is_notes(path: Path) -> bool:
    """Tell notes from a table, by whether the first lines are parted alike, or from no text."""
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    lines = [line for line in start.splitlines() if line.strip()][:3]
    parted = any(
        lines and lines[0].count(mark) and len({line.count(mark) for line in lines}) == 1
        for mark in (b",", b";", b"\t")
    )
    return b"\0" not in start and not (len(lines) > 1 and parted)


def _matched(paths: Sequence[Path], known: Collection[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    nameless = []
    for path in paths:
        model = _model_of(path, known)
        if model is None:
            nameless.append(path)
        elif model in files:
            said = f"{files[model].name!r} and {path.name!r} are both of the model {model!r}. "
            raise ValueBiasError(
                f"{said}Leave one out, or give a mapping of model to file.",
                in_shell=f"{said}Leave one out.",
            )
        else:
            files[model] = path
    if nameless:
        raise _no_model(nameless, files, known)
    return files


def _tried(path: Path) -> list[str]:
    # Either half may have underscores, so every split is tried against the table.
    slug = stem_of(path).partition(_MARK)[2] or stem_of(path)
    parts = slug.split("_")
    return [slug, *("_".join(parts[:i]) + "/" + "_".join(parts[i:]) for i in range(1, len(parts)))]


def _model_of(path: Path, known: Collection[str]) -> str | None:
    return next((model for model in _tried(path) if model in known), None)


def _no_model(nameless: list[Path], files: Mapping[str, Path], known: Collection[str]) -> Exception:
    """Say by what rule no model was found, what was found, and what may be meant."""
    path = nameless[0]
    tried = _tried(path)
    noun = f"The model {tried[1 % len(tried)]!r} (of the file {path.name!r})"
    free = [model for model in known if model not in files]
    meant = _meant(path, free)
    more = [f"{_RULE}."]
    if files:
        pairs = [f"{file.name} is {model}" for model, file in files.items()]
        more.append(f"Found: {few(pairs, quote=False)}.")
    if len(nameless) > 1:
        more.append(f"Not found: {few([each.name for each in nameless])}.")
    shell = list(more)
    if meant:
        new = f"{meant.replace('/', '_')}{suffix_of(path)}"
        more.append(
            f"Did you mean {meant!r}? Rename the file {new!r}, or give "
            f"read_scores({{{meant!r}: {str(path)!r}, …}}, …)."
        )
        shell.append(f"Did you mean {meant!r}? Rename the file {new!r}.")
    return unknown_model(noun, known, " ".join(more), " ".join(shell))


def _meant(path: Path, free: Sequence[str]) -> str | None:
    """Give the model whose name or last part is closest to a file's name."""
    slug = stem_of(path).partition(_MARK)[2] or stem_of(path)
    forms: dict[str, str] = {}
    for model in reversed(free):
        forms[model.rpartition("/")[2].lower()] = model
        forms[model.replace("/", "_").lower()] = model
    ends = [model for form, model in forms.items() if form and form in slug.lower()]
    if len(set(ends)) == 1:
        return ends[0]
    close = difflib.get_close_matches(slug.lower(), list(forms), n=1, cutoff=0.6)
    return forms[close[0]] if close else None


def unknown_model(
    noun: str, known: Iterable[str], more: str = "", shell: str | None = None
) -> ValueBiasError:
    """Say how a model that no table has is described."""
    after = f" {more}" if more else ""
    table = "a CSV or YAML file with the columns model, family, base, stage and n_params"
    names = did_you_mean(noun, known) if not more else f"Known: {few(known, limit=25)}."
    return ValueBiasError(
        f"{noun} is unknown.{after} Describe it: models=pandas.DataFrame({{'family': ['Gemma'], "
        "'base': ['google/gemma-2-2b-it'], 'stage': ['reward'], 'n_params': [2.6e9]}, "
        f"index=['<org>/<name>']), or {table}. {names}",
        in_shell=f"{noun} is unknown. {shell or ''} Describe it in the table given as --models, "
        f"{table}. {names}",
    )
