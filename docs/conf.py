"""Configuration of the documentation site."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

project = "valuebias"
author = "The valuebias developers"
project_copyright = "2026, the valuebias developers"
release = version = installed_version("valuebias")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]

autosummary_generate = True
# Some file systems do not tell fit.html from Fit.html.
autosummary_filename_map = {
    f"valuebias.{name}": f"valuebias.{name}-class"
    for name in ("Audit", "Classical", "Fit", "Lexicon")
}
autodoc_typehints = "none"
# The class template lists the members; numpydoc would list them a second time.
numpydoc_show_class_members = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Pages with code are run when the site is built, so what they show is what the package does.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# Notebooks keep the outputs that they have: models take minutes, and are not at hand everywhere.
nb_execution_excludepatterns = [
    "studies/base-models.ipynb", "studies/bandits.ipynb", "studies/contrast-sets.ipynb"
]  # fmt: skip

# The released scores may not be passed on, so what they gave is kept; where they are at hand, the
# page is run.
released = Path(os.environ.get("VALUEBIAS_DATA", ""))
if not released.name:
    nb_execution_excludepatterns.append("studies/big-two.ipynb")
# What humans prefer lies in that folder or beside it.
if not any((folder / "elo").is_dir() for folder in (released, released.parent) if released.name):
    nb_execution_excludepatterns.append("studies/elo.ipynb")

html_theme = "pydata_sphinx_theme"
html_title = "valuebias"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Pages without pages below them need no list of those.
html_sidebars = {page: [] for page in ("tutorial", "gallery", "model", "changelog")}
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}


def say_what_ran(app: Any, exception: Exception | None) -> None:
    """Say which pages with code were run, and which show what they kept."""
    from myst_nb.sphinx_ import NbMetadataCollector

    if exception is not None or app.builder.name != "html":
        return
    ran = {name for name in app.env.found_docs if NbMetadataCollector.get_exec_data(app.env, name)}
    kept = sorted(
        Path(pattern).with_suffix("").as_posix() for pattern in nb_execution_excludepatterns
    )
    print(f"ran ({len(ran)}): {', '.join(sorted(ran))}")
    print(f"kept their outputs ({len(kept)}): {', '.join(kept)}")


def setup(app: Any) -> None:
    """Tell the builder of the site what to say at its end."""
    app.connect("build-finished", say_what_ran)
