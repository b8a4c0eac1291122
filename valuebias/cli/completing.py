"""What the shell completes: names of what is bundled or installed, and files beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = [
    "backend_names",
    "battery_names",
    "data_names",
    "judge_names",
    "lexicon_names",
    "model_names",
    "named_data",
    "prompt_names",
    "question_names",
]


def named_data(incomplete: str) -> list[str]:
    """Complete the name of a data set."""
    from valuebias import datasets

    return _beginning(datasets.names(), incomplete)


def backend_names(incomplete: str) -> list[str]:
    """Complete the name of a backend."""
    from valuebias.backends import backend_names as known

    return _beginning(known(), incomplete)


def data_names(incomplete: str) -> list[str]:
    """Complete the name of a data set, or a path."""
    return [*named_data(incomplete), *_paths(incomplete)]


def _or_path(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [*_beginning(names(), incomplete), *_paths(incomplete)]

    return complete


def _lexicons() -> Iterable[str]:
    from valuebias.instruments import lexicon_names
    from valuebias.instruments.installed import packages, present

    inside = (f"{package}:{name}" for package in packages() for name in present(package)[1])
    return [*lexicon_names(), "vocabulary", *inside]


def _prompts() -> Iterable[str]:
    from valuebias.instruments.prompts import prompt_names

    return prompt_names()


def _judges() -> Iterable[str]:
    from valuebias.instruments.judges import judge_names

    return judge_names()


def _questions() -> Iterable[str]:
    from valuebias.instruments.made_questions import MADE

    return MADE


def battery_names(incomplete: str) -> list[str]:
    """Complete the name of a battery."""
    from valuebias.instruments import battery_names as known

    return _beginning(known(), incomplete)


def _models() -> Iterable[str]:
    from valuebias.models.spec import model_tables

    return model_tables()


lexicon_names = _or_path(_lexicons)
"""Complete the name of a lexicon, or a path."""
prompt_names = _or_path(_prompts)
"""Complete the name of a prompt set, or a path."""
question_names = _or_path(_questions)
"""Complete the name of a kind of questions, or a path."""
judge_names = _or_path(_judges)
"""Complete the name of a judge, or a path."""
model_names = _or_path(_models)
"""Complete the name of a table of models, or a path."""


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str) -> list[str]:
    """List the files and folders that begin so; a shell that asks us lists none itself."""
    folder, _, start = incomplete.rpartition("/")
    try:
        inside = sorted(Path(folder or ("/" if incomplete.startswith("/") else ".")).iterdir())
    except OSError:
        return []
    before = incomplete[: len(incomplete) - len(start)]
    return [
        f"{before}{one.name}{'/' if one.is_dir() and one.suffix != '.zarr' else ''}"
        for one in inside
        if one.name.startswith(start) and (start or not one.name.startswith("."))
    ]
