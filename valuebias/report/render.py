"""Turn the content of a report into files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from valuebias._core import text
from valuebias._core.markup import markdown, tex
from valuebias._core.text import visible
from valuebias.analysis.estimands.plain_names import plain_names
from valuebias.plots.theme import FAINT, GREY, INK, PAPER, house_style, styled

if TYPE_CHECKING:
    from valuebias.report.content import Column, Content, Picture

__all__ = ["environment", "style_sheet", "write_csv", "write_html", "write_markdown", "write_tex"]

# Characters on a line of a LaTeX table, and in a column that is never broken.
_LINE, _NARROW = 98, 18
# Matplotlib's metadata change with every run.
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_READERS_COLOURS = {
    INK: "currentColor",
    GREY: "var(--muted)",
    FAINT: "var(--rule)",
    PAPER: "var(--paper)",
    "#0072b2": "var(--blue)",  # too dark on a dark ground
}


def write_html(content: Content, path: Path) -> None:
    """Write one self-contained page."""
    template = environment("valuebias.report").get_template("report.html.j2")
    page = template.render(content=content, style=style_sheet(), svg=_svg)
    path.write_text(page, encoding="utf-8")


def write_markdown(content: Content, path: Path) -> None:
    """Write text and tables for GitHub and its like."""
    env = environment("valuebias.report", markdown)
    page = env.get_template("report.md.j2").render(content=content, fenced=_fenced)
    path.write_text(page, encoding="utf-8")


def write_tex(content: Content, path: Path) -> None:
    """Write a LaTeX document with booktabs tables."""
    env = environment(
        "valuebias.report",
        tex,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    page = env.get_template("report.tex.j2").render(
        content=content, typewriter=_typewriter, widths=_widths
    )
    path.write_text(page, encoding="utf-8")


def write_csv(content: Content, path: Path) -> None:
    """Write a folder with one CSV file per table, all rows and columns in full precision."""
    path.mkdir()
    answer = [("title", content.title), ("answer", content.answer)]
    answer += [("not converged", alarm) for alarm in content.alarms]
    answer += [("missing", f"{s.title}: {s.missing}") for s in content.sections if s.missing]
    frames = {"answer": pd.DataFrame(answer, columns=["what", "text"])}
    frames |= {table.name: table.frame for s in content.sections for table in s.tables}
    for name, frame in frames.items():
        safe = plain_names(frame).map(_cell).rename(columns=lambda label: _cell(str(label)))
        safe.to_csv(path / f"{name}.csv", index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    """Keep a text from running in a spreadsheet and from breaking the encoding."""
    return text.neutralise(text.escape(value)) if isinstance(value, str) else value


def environment(
    package: str, escaped: Callable[[object], str] | None = None, **delimiters: str
) -> Environment:
    """Open a package's templates; what is not HTML is ``escaped``, except text in its language."""
    # Every value passes through `finalize`: autoescaping leaves lone surrogates and controls.
    write = escaped or visible
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=escaped is None,  # noqa: S701
        finalize=lambda value: value if isinstance(value, Markup) else write(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **delimiters,  # type: ignore[arg-type]
    )


def style_sheet() -> Markup:
    """Give the style sheet of all pages."""
    text = environment("valuebias.report").get_template("report.css").render()
    return Markup(text)  # noqa: S704 - our own style sheet


def _fenced(code: str) -> Markup:
    """Put code in a Markdown fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = "\n".join(visible(line) for line in code.strip().split("\n"))
    return Markup(f"{fence}python\n{lines}\n{fence}")  # noqa: S704 - not HTML


def _typewriter(code: str) -> Markup:
    """Set code in LaTeX line by line; the code itself could close a verbatim block."""
    lines = (tex(line).replace(" ", "~") for line in code.strip().split("\n"))
    body = "\\\\\n".join(rf"\texttt{{{line or '~'}}}" for line in lines)
    return Markup(body)  # noqa: S704 - not HTML


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Markup:
    """Give the LaTeX columns: as wide as needed, or paragraphs where that is too wide."""
    longest = [
        max(len(column.label), *(len(row[i]) for row in cells)) for i, column in enumerate(columns)
    ]
    wide = [
        not column.numeric and length > _NARROW
        for column, length in zip(columns, longest, strict=True)
    ]
    room = _LINE - sum(n + 2 for n, is_wide in zip(longest, wide, strict=True) if not is_wide)
    needed = sum(n for n, is_wide in zip(longest, wide, strict=True) if is_wide)
    formats = []
    for column, length, is_wide in zip(columns, longest, wide, strict=True):
        if not is_wide or needed <= room:
            formats.append("r" if column.numeric else "l")
        else:
            share = max(room * min(length / needed, 1.0), 12) / _LINE
            formats.append(rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}")
    return Markup("".join(formats))  # noqa: S704 - not HTML


def _svg(picture: Picture) -> Markup:
    """Draw a figure as part of a page, in the page's colours."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, figure = io.StringIO(), picture.figure
    # It is laid out already, which takes longer than to draw it. ``savefig`` would still go over
    # all of it once more to find out how large it is.
    figure.set_layout_engine("none")
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    figure.set_dpi(130)
    with house_style(), styled(), mpl.rc_context({"svg.hashsalt": picture.name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=_NO_METADATA)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.DOTALL)
    for ours, readers in _READERS_COLOURS.items():
        drawn = drawn.replace(ours, readers)
    # Figures on one page must not share names, and the style of each applies to it alone.
    drawn = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{picture.name}-", drawn)
    drawn = drawn.replace(">*{", f">#figure-{picture.name} *{{")
    label = escape(visible(picture.alt))
    opening = rf'<svg id="figure-{picture.name}" role="img" aria-label="{label}"'
    wide = re.search(r'width="([\d.]+)pt"', drawn)
    width = float(wide[1]) if wide else 518.0
    drawn = re.sub(r' (width|height)="[\d.]+pt"', "", drawn, count=2)
    pixels = width / 72 * 110
    opening += f' style="width: {pixels:.0f}px; min-width: {0.7 * pixels:.0f}px"'
    return Markup(drawn.replace("<svg", opening, 1))  # noqa: S704 - made above, texts are outlines
