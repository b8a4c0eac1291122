"""What messages advise to do, in the words of a shell: options where Python has arguments."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import fields
from importlib import import_module

__all__ = ["spoken"]

_CALLS = (
    ("valuebias.score(...)", "'valuebias score'"),
    ("valuebias.fit_ablation(dataset)", "'valuebias fit --ablation'"),
    ("valuebias.plan downloads", "'valuebias plan' downloads"),
    ("Look at fit.plot('trace'), and give", "Give"),
    ("dataset.assign_coords(base=('model', [...])), or the column 'base'", "a column 'base'"),
    (", where the scales of fit.prior are 1 if not named", ""),
)
"""Calls that have a command of their own, or none."""
_VARIANTS_BY = re.compile(
    r"(?<![\w.])by=(?='[^']*' (?:is unknown|is of items|groups the variants)| out\b)"
)
# Code is left as it is; so are options that have names of their own behind them.
_CODE = re.compile(r"[\w.\]]+\((?:[^()]|\([^()]*\))*\)|--[\w-]+ \S+")
_VALUE = r"'[^']*'|\"[^\"]*\"|\{.*?\}\}|\[\.\.\.\]|\((?:'[^']*'(?:, )?)+\)|[\w+-]+(?:\.\d+)?|"
_ARGUMENT = re.compile(rf"(?<![\w.=\-'\"/])([a-z]\w*)=({_VALUE})(?![\w=])")


def spoken(text: str, options: Collection[str], command: str = "") -> str:
    """Say in a shell's words what a message advises; `options` are the parameters of the command.

    Examples
    --------
    >>> spoken("Sample longer (tune=, draws=), or ask for draws=420.", ("tune", "draws"))
    'Sample longer (--tune, --draws), or ask for --draws 420.'
    >>> spoken('Give template="plain".', ("kind",), "score")
    "Give 'template: plain'. Fields of a model stand in a table of models, in YAML or CSV."
    """
    for call, said_so in _CALLS:
        text = text.replace(call, said_so)
    if "variants_by" in options:
        # The option --by asks a fit, once there is one.
        text = _VARIANTS_BY.sub("--variants-by ", text).replace("-by  out", "-by out")
    in_files, where = _of_file(command)
    in_file = False

    def said(found: re.Match[str]) -> str:
        nonlocal in_file
        name, value = found.groups()
        plain = value.strip("'\"")
        if value == "None" and f"no_{name}" in options:
            return f"--no-{_dashed(name)}"
        if name == "categories" and "category" in options:
            return "--category"
        if name in options:
            return _option(name, value)
        if name in in_files:
            in_file = True
            return f"'{name}: {plain}'" if plain else f"'{name}'"
        return found.group()

    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_ARGUMENT.sub(said, text[end : code.start()]), code.group()]
        end = code.end()
    whole = "".join([*parts, _ARGUMENT.sub(said, text[end:])])
    return f"{whole} {where}" if in_file else whole


def _option(name: str, value: str) -> str:
    """Write an argument of Python as an option and its values."""
    option = f"--{_dashed(name)}"
    if value in ("", "True", "[...]"):
        return option
    if value == "False":
        return f"--no-{_dashed(name)}"
    if value.startswith("{"):
        component, scale = re.findall(r"'(\w+)': ([\d.]+)", value)[-1]
        return f"{option} sd.{component}={scale}"
    if value.startswith("("):
        return f"{option} {' '.join(value.strip('()').split(', '))}"
    plain = value.strip("'\"")
    return f"{option} {value if ' ' in plain else plain}"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _of_file(command: str) -> tuple[Collection[str], str]:
    """Say which arguments a command reads out of a file, and of which."""
    if command in ("score", "plan", "explain"):
        where = "Fields of a model stand in a table of models, in YAML or CSV."
        return _fields("valuebias.models.spec", "Model"), where
    if command == "ablate":
        settings = _fields("valuebias.training.settings", "TrainingSettings")
        return (
            settings | _fields("valuebias.models.spec", "Model")
            | _fields("valuebias.ablation.study", "Study"),
            "Settings of a study and of its models stand in the file of the study.",
        )  # fmt: skip
    return (), ""


def _fields(module: str, name: str) -> frozenset[str]:
    return frozenset(one.name for one in fields(getattr(import_module(module), name)))
