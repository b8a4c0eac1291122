"""Configuration of the documentation site."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version
from pathlib import Path

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

# A notebook keeps the outputs that it has: its models take minutes, and are not at hand everywhere.
nb_execution_excludepatterns = ["studies/*.ipynb"]

# The released scores may not be passed on, so their page is run only where they are at hand.
released = Path(os.environ.get("VALUEBIAS_DATA", ""))
if released.name:
    tags.add("released_data")  # type: ignore[name-defined]  # noqa: F821 (Sphinx provides it)
else:
    nb_execution_excludepatterns.append("studies/big-two.md")
# What humans prefer lies in that folder or beside it.
if released.name and any((folder / "elo").is_dir() for folder in (released, released.parent)):
    tags.add("elo_data")  # type: ignore[name-defined]  # noqa: F821
else:
    nb_execution_excludepatterns.append("studies/elo.md")

html_theme = "pydata_sphinx_theme"
html_title = "valuebias"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Pages without pages below them need no list of those.
html_sidebars = {page: [] for page in ("tutorial", "model", "changelog")}
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
