"""Which implicit reward finds words that were raised: by arithmetic, and by real fine-tuning.

    python tests/benchmarks/injection.py                   # three seeds, some ten minutes on a core
    python tests/benchmarks/injection.py --seeds 5         # more
    python tests/benchmarks/injection.py --out tests/benchmarks/injection.md    # for docs

The model is SmolLM2-135M-Instruct, asked the 54 prompts as plain text; where it comes from is said
in tests/support/small_models.py. Fine-tuning is `valuebias.inject_words` with its default settings.
Arithmetic is `valuebias.validate_implicit` with 20 seeds on the same model's log-probs of its whole
vocabulary, with a boost of what fine-tuning raises the words by, beyond all others. Words are drawn
among the likeliest tenth (the default), and for fine-tuning once more among all words. With --store
what was trained is kept, an interrupted run goes on, and the seconds are those of the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import pandas as pd
import xarray as xr

import valuebias
from valuebias import LoraSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import processor

NOISE = (1.0, 2.0)
SHARES = {0.1: "the likeliest tenth", 1.0: "all words"}
TOP = 500
PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "trl": "TRL", "peft": "peft"}


def main() -> None:
    """Raise words both ways, and print which method finds them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many models are fine-tuned")
    parser.add_argument("--store", type=Path, help="where adapters and scores are kept")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    args = parser.parse_args()
    reason = small_models.missing("smollm2") or lacking()
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        likely, anyhow = (
            fine_tuned(args.store or Path(scratch), args.seeds, share) for share in SHARES
        )
        seconds = (time.perf_counter() - start) / (len(SHARES) * args.seeds)
    text = "\n\n".join(
        [conditions(likely, seconds), changes([likely, anyhow]), methods(likely, anyhow)]
    )
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def lacking() -> str | None:
    """Say what fine-tuning needs and is not installed."""
    absent = [name for name in ("trl", "peft") if importlib.util.find_spec(name) is None]
    return f"{absent[0]} is not installed" if absent else None


def fine_tuned(store: Path, n_seeds: int, likeliest: float) -> xr.Dataset:
    """Fine-tune and score."""
    model = valuebias.Model(
        str(small_models.language_model("smollm2")),
        name="SmolLM2-135M-Instruct",
        family="SmolLM",
        stage="instruct",
        template="plain",
    )
    return valuebias.inject_words(model, seeds=range(n_seeds), likeliest=likeliest, store=store)


def conditions(injected: xr.Dataset, seconds: float) -> str:
    """Say what was done, on what, with what."""
    versions = ", ".join(f"{name} {metadata.version(key)}" for key, name in PACKAGES.items())
    settings, n_seeds = LoraSettings(), injected.sizes["model"] - 1
    words = int(injected["raised"].to_numpy()[1].sum())
    return (
        f"`python tests/benchmarks/injection.py` with {threads()} on {processor()}, Python "
        f"{platform.python_version()}, {versions}, {time.strftime('%Y-%m-%d')}: "
        f"SmolLM2-135M-Instruct, {injected.sizes['response']:,} texts, {words} words, {n_seeds} "
        f"seeds, {seconds:.0f} s each. LoRA of rank {settings.rank}, learning rate "
        f"{settings.learning_rate}, {settings.n_steps} steps of {settings.batch_size} answers, of "
        f"which {settings.replay:.0%} are the model's own; 27 prompts trained on, 27 held out. "
        f"Arithmetic: a boost of {boost_of(injected)} nats, 20 seeds. 90 % bootstrap intervals."
    )


def threads() -> str:
    """Say how many threads PyTorch has."""
    import torch

    count = torch.get_num_threads()
    return "one thread" if count == 1 else f"{count} threads"


def changes(each: list[xr.Dataset]) -> str:
    """Lay out what fine-tuning changed."""
    head = (
        "| words drawn from | seed | raised words, nats | all others, nats | mass before | after | "
        "KL, nats | KL among the others |\n|---|---|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {drawn} | {row['seed']:.0f} | {row['change']:+.2f} | {row['rest_change']:+.2f} | "
        f"{row['mass_before']:.4f} | {row['mass_after']:.3f} | {row['kl']:.2f} | "
        f"{row['rest_kl']:.2f} |"
        for drawn, injected in zip(SHARES.values(), each, strict=True)
        for _, row in valuebias.injection_report(injected).iterrows()
    ]
    return head + "\n".join(rows)


def methods(likely: xr.Dataset, anyhow: xr.Dataset) -> str:
    """Lay out how well each method finds the words."""
    made = valuebias.validate_implicit(
        likely.isel(model=[0]).drop_vars("raised"),
        boost=boost_of(likely),
        n_words=int(likely["raised"].to_numpy()[1].sum()),
        noise=NOISE,
        vocabulary=likely.sizes["response"],
    ).summary()
    sums = {f"noise {noise:g}": rows.set_index("method") for noise, rows in made.groupby("noise")}
    trained = {
        drawn: valuebias.validate_implicit(injected, k=TOP).summary().set_index("method")
        for drawn, injected in zip(SHARES.values(), (likely, anyhow), strict=True)
    }
    return "\n\n".join(
        [
            laid_out("arithmetic", sums, {"auc": "AUC", "recall": "recall"}),
            laid_out(
                "fine-tuning",
                trained,
                {"auc": "AUC", "recall": "recall", f"recall@{TOP}": f"recall at {TOP}"},
            ),
        ]
    )


def laid_out(what: str, parts: dict[str, pd.DataFrame], measures: dict[str, str]) -> str:
    """Lay summaries out side by side, the best method of the first one first."""
    head = [what, *(f"{part}: {title}" for part in parts for title in measures.values())]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in next(iter(parts.values())).index:
        cells = [cell(rows.loc[name], measure) for rows in parts.values() for measure in measures]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def boost_of(injected: xr.Dataset) -> float:
    """Say by how many nats fine-tuning raises the words beyond all others."""
    report = valuebias.injection_report(injected)
    return round(float((report["change"] - report["rest_change"]).mean()), 1)


def cell(row: pd.Series, measure: str) -> str:
    """Write a mean with its interval."""
    return f"{row[measure]:.2f} ({row[f'{measure}_lower']:.2f}–{row[f'{measure}_upper']:.2f})"


if __name__ == "__main__":
    main()
