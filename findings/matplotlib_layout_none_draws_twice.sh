#!/usr/bin/env bash
# A figure that was laid out once is told set_layout_engine("none"), so that saving it takes no more time for the
# layout. In matplotlib 3.10.9 that leaves a placeholder engine behind, and Figure.savefig draws everything once more
# to find out how large it is, with drawing switched off, before it draws: every artist's draw() is called twice, as
# with the layout engine itself. A figure that never had an engine is drawn once. The two files are the same to the
# byte. In a report of eight figures with dozens of axes the first passes took a third of the time of all SVGs.
# FigureCanvasSVG(figure).print_svg(file) draws once, whatever engine the figure has had.
# Needs Python 3.11 or newer and pip; installs pinned packages in a temporary folder. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check 'matplotlib==3.10.9' 'numpy==2.4.6'
cd "$folder"
MPLBACKEND=svg env/bin/python - <<'PYTHON'
import io

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

matplotlib.rcParams["svg.hashsalt"] = "x"
calls = 0


class Counted(Line2D):
    def draw(self, renderer):
        global calls
        calls += 1
        super().draw(renderer)


def make(layout):
    figure = Figure(layout=layout)
    axes = figure.subplots()
    axes.add_line(Counted([0, 1], [0, 1]))
    if layout is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def count(write, figure):
    global calls
    calls, file = 0, io.StringIO()
    write(figure, file)
    return calls, file.getvalue()


def saved(figure, file):
    figure.savefig(file, format="svg", metadata={"Date": None})


def printed(figure, file):
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})


plain, _ = count(saved, make(None))
placed, by_savefig = count(saved, make("constrained"))
direct, by_canvas = count(printed, make("constrained"))
print("matplotlib", matplotlib.__version__)
print("never an engine:", plain, '; engine "none":', placed, "; print_svg:", direct)
print("engine left behind:", type(make("constrained").get_layout_engine()).__name__)
assert (plain, placed, direct) == (1, 2, 1)
assert by_savefig == by_canvas
PYTHON
echo "as described: savefig draws a figure twice after set_layout_engine('none')"
