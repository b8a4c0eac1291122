"""Run study pages and keep what they show, for sites that are built without their data.

    VALUEBIAS_DATA=… python docs/keep_outputs.py docs/studies/big-two.ipynb

Tables, texts and figures are kept; what a run leaves besides, such as times, is not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

_KEPT = ("text/plain", "text/html", "image/png")


def main(paths: list[str]) -> None:
    """Run each notebook in its folder and write it with its outputs."""
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=900, resources={"metadata": {"path": path.parent}}
        ).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata.pop("execution", None)
                cell.outputs = [one for one in map(_plain, cell.outputs) if one is not None]
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        print(path)


def _plain(output: Any) -> Any:
    """Leave out messages of a run, and forms of an output that the site does not show."""
    if output.output_type == "stream" and output.name == "stderr":
        return None
    if "data" in output:
        output.data = {form: output.data[form] for form in _KEPT if form in output.data}
        output.metadata = {}
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
