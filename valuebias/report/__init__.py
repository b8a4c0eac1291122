"""A report of a fit to hand to a colleague.

``write_report`` gathers the content once (:mod:`valuebias.report.content`) and renders it as HTML,
Markdown, LaTeX, a folder of CSV files, or saves the fit itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasError, did_you_mean, few

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior
    from valuebias.report.content import Content

__all__ = ["SUFFIXES", "write_report"]

SUFFIXES = (".html", ".md", ".tex", ".nc", ".csv")
"""What a report's path may end in; ``.csv``, nothing or a slash at the end make a folder."""


def write_report(
    fit: Posterior | AblationPosterior,
    path: str | os.PathLike[str],
    *,
    along: xr.Dataset | None = None,
    progress: bool = True,
) -> Path:
    """Write a report of a fit, whole or not at all.

    Parameters
    ----------
    fit : Fit or AblationFit
        What :func:`valuebias.fit` or :func:`valuebias.fit_ablation` returned.
    path : path
        ``.html``: one self-contained page with figures. ``.md``: text and tables. ``.tex``: a
        document with booktabs tables. ``.nc``: the fit itself, as its method ``save`` writes it. No
        suffix, ``.csv`` or a slash at the end: a folder with one CSV file per table.
    along : xarray.Dataset, optional
        Of a fit of a contrast set, the scores that were fitted, with rewards at every token: one
        answer is shown token by token, and in a table by sentences.
    progress : bool, default True
        Show a progress bar on standard error; the report of a :class:`Fit` refits the model three
        times.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    ValueBiasError
        If the suffix is unknown or the path cannot be written to; or if `along` has no rewards
        along the answers of this fit.

    Notes
    -----
    A section whose content cannot be computed for this fit says so. Texts that come from the data
    are shown as they are and stay inert: no script, no formula and no command in them runs.

    Examples
    --------
    >>> import pathlib, tempfile, valuebias
    >>> from valuebias.report import write_report
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> path = write_report(fit, pathlib.Path(tempfile.mkdtemp()) / "fit.nc")
    >>> path.name
    'fit.nc'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    folder = os.fspath(path).endswith(("/", os.sep)) or suffix in ("", ".csv")
    if not folder and suffix not in SUFFIXES:
        raise ValueBiasError(
            f"A report cannot be written as {suffix!r} ({str(target)!r}). "
            f"{did_you_mean(suffix, SUFFIXES)} No suffix makes a folder of CSV files."
        )
    if along is not None:
        from valuebias.report.along_texts import check_along

        check_along(along, fit)
    if suffix == ".nc" and not folder:
        if along is not None:
            raise ValueBiasError(
                f"{str(target)!r} would be the fit itself, which has no place for along=. Leave it "
                "out, or write a page, such as report.html."
            )
        return fit.save(target)
    if folder:
        check_report_folder(target)
    return _write(fit, target, ".csv" if folder else suffix, along, progress)


def check_report_folder(path: Path) -> None:
    """Refuse to replace a folder of files that no report wrote.

    Examples
    --------
    >>> check_report_folder(Path("nowhere"))
    """
    if not path.is_dir():
        return
    entries = {entry.name: entry for entry in path.iterdir()}
    others = [n for n, e in entries.items() if not (n.endswith(".csv") and e.is_file())]
    if entries and (others or "answer.csv" not in entries):
        raise ValueBiasError(
            f"{str(path)!r} is a folder with {few(others or list(entries))}, which no report "
            "wrote; it is left as it is. A report of CSV files makes a folder of its own: give "
            f"the path of a new one, such as {str(path / 'report')!r}, or that of a page, such as "
            f"{str(path / 'report.html')!r}."
        )


def _write(
    fit: Posterior | AblationPosterior,
    target: Path,
    form: str,
    along: xr.Dataset | None,
    progress: bool,
) -> Path:
    from valuebias._core.atomic import atomic_path
    from valuebias._core.progress import progress_bar
    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.report.gathering import gather, gather_ablation
    from valuebias.report.render import write_csv, write_html, write_markdown, write_tex

    writers: dict[str, Callable[[Content, Path], None]] = {
        ".html": write_html,
        ".md": write_markdown,
        ".tex": write_tex,
        ".csv": write_csv,
    }
    with atomic_path(target) as part, progress_bar("report", shown=progress) as advance:
        figures = form == ".html"
        if isinstance(fit, AblationPosterior):
            content = gather_ablation(fit, figures=figures, advance=advance)
        else:
            content = gather(fit, figures=figures, along=along, advance=advance)
        writers[form](content, part)
    return target
