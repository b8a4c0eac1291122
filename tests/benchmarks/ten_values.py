"""Schwartz's ten values in two languages, asked of two small language models.

    python tests/benchmarks/ten_values.py                                             # five minutes
    python tests/benchmarks/ten_values.py --out tests/benchmarks/ten_values.md        # for docs

The study of the guide on ten values, on Gemma 3 270M and SmolLM2 135M: the words of pyvalues in
English and German, six prompts in each language, log-probs, a fit each. The table has each model's
lean towards each value against the mean of the other nine, with 90% intervals. Needs pyvalues,
PyTorch and the models' packages (see tests/support/small_models.py).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions

import valuebias
from valuebias._core.numbers import signed
from valuebias.instruments.installed import present

LANGUAGES = {"en": "English", "de": "German"}
MODELS = {"gemma3": ("Gemma 3 270M", "Gemma"), "smollm2": ("SmolLM2 135M", "SmolLM2")}
HIGHER = {"Universalism": 0.5, "Benevolence": 0.5, "Power": -0.5, "Achievement": -0.5}
PACKAGES = {"torch": "PyTorch", "numpy": "numpy"}


def main() -> None:
    """Score, fit and print a table and the headlines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
    version, _ = present("pyvalues")
    lacking = [reason for name in MODELS if (reason := small_models.missing(name))]
    if version is None or lacking:
        sys.stdout.write(f"skipped: {lacking[0] if lacking else 'pyvalues is not installed'}\n")
        return
    models = [
        valuebias.Model(
            str(small_models.language_model(key)), name=name, family=family,
            template="Q: {prompt}\nA:{response}",
        )
        for key, (name, family) in MODELS.items()
    ]  # fmt: skip
    fits = {}
    with tempfile.TemporaryDirectory() as folder:
        for language in LANGUAGES:
            scores = valuebias.score(
                models, kind="logprob", prompts=valuebias.prompts(questions(language)),
                lexicon=f"pyvalues:schwartz-{language}", store=Path(folder) / f"{language}.zarr",
                progress=False,
            )  # fmt: skip
            fits[language] = valuebias.fit(
                scores, words="~ n_tokens", contrast=HIGHER, sampler="nutpie", tune=2000, seed=1,
                progress=False,
            )  # fmt: skip
    text = "\n\n".join([head(version), table(fits), *map(said, fits.items())])
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def questions(language: str) -> valuebias.Factorial:
    """Ask for what matters most and least, in a language."""
    words = {
        "en": (
            {"most": "most", "least": "least"},
            {"life": "in life", "world": "in the world", "you": "to you"},
            "In one word, what matters {adverb} {place}?",
        ),
        "de": (
            {"most": "am meisten", "least": "am wenigsten"},
            {"life": "im Leben", "world": "auf der Welt", "you": "für dich"},
            "Was zählt {place} {adverb}, in einem Wort?",
        ),
    }
    adverbs, places, template = words[language]
    return valuebias.Factorial(
        factors={"adverb": adverbs, "place": places},
        template=template,
        framing={"most": "positive", "least": "negative"},
        framing_by="adverb",
    )


def head(version: str) -> str:
    """Say of what, on what, and with what."""
    return (
        f"{conditions('python tests/benchmarks/ten_values.py', PACKAGES)}, pyvalues {version}. "
        "Leans in SD of the log-probs within a model and prompt, signed by framing, adjusted for "
        "the number of tokens, with 90% intervals; in bold where the interval is off zero."
    )


def table(fits: dict[str, valuebias.Fit]) -> str:
    """Lay out the leans towards each value against the others', by model and language."""
    columns: dict[str, dict[str, str]] = {}
    for language, fit in fits.items():
        values = fit.data["category"].to_numpy().tolist()
        for value in values:
            others = -1 / (len(values) - 1)
            weights = {name: 1.0 if name == value else others for name in values}
            leans = fit.focused(contrast=weights).models().query("framing == 'signed'")
            for row in leans.to_dict("records"):
                named = f"{row['name']}, {LANGUAGES[language]}"
                columns.setdefault(named, {})[value] = cell(row)
    laid = pd.DataFrame(columns)
    lines = [f"| {' | '.join(['value', *laid])} |", f"|{'---|' * (1 + laid.shape[1])}"]
    lines += [f"| {' | '.join([str(row.Index), *row[1:]])} |" for row in laid.itertuples()]
    return "\n".join(lines)


def cell(row: dict[str, float]) -> str:
    """Write an estimate and its interval."""
    text = f"{signed(row['mean'])} ({signed(row['lower'])} to {signed(row['upper'])})"
    return f"**{text}**" if row["lower"] * row["upper"] > 0 else text


def said(item: tuple[str, valuebias.Fit]) -> str:
    """Quote a fit's headline."""
    language, fit = item
    return f"{LANGUAGES[language]}, {fit.data.sizes['response']:,} words: “{fit.headline()}”"


if __name__ == "__main__":
    main()
