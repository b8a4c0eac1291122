"""The two pages of a reproduction: HTML for a browser, Markdown for a terminal or a forge."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from valuebias._core.markup import markdown
from valuebias._core.provenance import versions
from valuebias._core.text import visible
from valuebias.report.render import environment, style_sheet
from valuebias.reproduction.record import Entry, by_reason, write_if_changed

__all__ = ["INDEX", "write_pages"]

INDEX = "index.html"
_MARKDOWN = "reproduction.md"
_TITLE = "Reward models inherit value biases from pretraining: a reproduction"
_PAPER = (
    "Christian, B., Thompson, J. A. F., Yang, E. M., Adam, V., Kirk, H. R., Summerfield, C., & "
    "Dumbalska, T. (2026). Reward models inherit value biases from pretraining. International "
    "Conference on Learning Representations. arXiv:2601.20838."
)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure inside the page."""

    data: str
    alt: str


@dataclass(frozen=True, slots=True)
class _Text:
    """A text to show verbatim, with its name."""

    name: str
    text: str


def write_pages(folder: Path, entries: Sequence[Entry]) -> None:
    """Write ``index.html`` and ``reproduction.md``."""
    write_if_changed(folder / INDEX, _html(folder, entries))
    write_if_changed(folder / _MARKDOWN, _markdown(entries))


def _html(folder: Path, entries: Sequence[Entry]) -> str:
    return (
        environment("valuebias.reproduction")
        .get_template("index.html.j2")
        .render(
            title=_TITLE,
            paper=_PAPER,
            style=style_sheet(),
            version=versions().get("valuebias", "unknown version"),
            present=[entry for entry in entries if entry.state == "made"],
            absent=by_reason(entries),
            pictures={entry.name: _pictures(folder, entry) for entry in entries},
            texts={entry.name: _texts(folder, entry) for entry in entries},
            address=quote,
            plain=lambda name: name.rpartition("/")[2],
        )
    )


def _pictures(folder: Path, entry: Entry) -> list[_Picture]:
    return [
        _Picture(base64.b64encode((folder / name).read_bytes()).decode("ascii"), entry.title)
        for name in entry.files
        if name.endswith(".png")
    ]


def _texts(folder: Path, entry: Entry) -> list[_Text]:
    texts = []
    for name in entry.files:
        if name.endswith(".txt"):
            lines = (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")
            # Line by line: the page's filter would escape line breaks.
            text = Markup("\n").join(visible(line) for line in lines)
            texts.append(_Text(Path(name).name, text))
    return texts


def _markdown(entries: Sequence[Entry]) -> str:
    lines = [f"# {_TITLE}", "", markdown(_PAPER), "", "| item | what | files, or why not |"]
    lines.append("|---|---|---|")
    for entry in entries:
        links = ", ".join(f"[{markdown(Path(f).name)}]({quote(f)})" for f in entry.files)
        why = f"**{entry.state}**: {markdown(entry.reason)}"
        cell = links if entry.state == "made" else why
        lines.append(f"| {markdown(entry.name)} | {markdown(entry.title)} | {cell} |")
    for entry in (entry for entry in entries if entry.state == "made"):
        lines += ["", f"## {markdown(entry.name)}", ""]
        lines += [f"- {markdown(note)}" for note in entry.notes]
        lines.append(f"- Made {markdown(entry.date)} with {markdown(_with(entry))}.")
        lines += [f"- From {markdown(name)}: {markdown(sha)}" for name, sha in entry.inputs.items()]
    return "\n".join(lines) + "\n"


def _with(entry: Entry) -> str:
    numbers = [f"{name} = {value}" for name, value in entry.settings.items()]
    packages = [f"{name} {version}" for name, version in entry.packages.items()]
    return "; ".join(filter(None, [", ".join(numbers), ", ".join(packages)]))
