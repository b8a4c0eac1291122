"""How fast contrast sets are scored, beside transformers on padded batches of whole conversations.

    python tests/benchmarks/contrasts.py --out tests/benchmarks/contrasts.md   # 2,000 items
    python tests/benchmarks/contrasts.py --items 100

Items are made by rule: a question of some 200 tokens, and four answers to it. The model is
SmolLM2-135M-Instruct with a one-label head of random weights. Timed is `valuebias.score_contrasts`
from text to dataset, without loading the model. The peer runs every tenth item's conversations
(all of a small set), tokenised beforehand, before and after that, in the same process with the
same threads: 64 conversations of like length at a time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import valuebias
from valuebias.backends.torch_backend import TorchBackend

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions
from preloaded import Preloaded

BATCH = 64
PACKAGES = {"torch": "PyTorch", "transformers": "transformers"}
PLACES = ("the harbour", "the library", "the station", "the market", "the school", "the garden")
THINGS = ("crates of apples", "boxes of books", "bags of letters", "rolls of paper", "jars of oil")


def main() -> None:
    """Time both, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    reason = small_models.missing("smollm2")
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    contrasts = items(args.items)
    folder = small_models.reward_model("smollm2")
    peer = Padded(folder, contrasts, every=10 if args.items > 200 else 1)
    loaded = Preloaded(TorchBackend())
    model = valuebias.Model(str(folder), base="x")
    few = contrasts.select(items=contrasts.items[:4])
    valuebias.score_contrasts(model, few, backend=loaded, progress=False)
    before = peer.run()
    start = time.perf_counter()
    scores = valuebias.score_contrasts(model, contrasts, backend=loaded, progress=False)
    seconds = time.perf_counter() - start
    after = peer.run()
    plan = valuebias.plan(model, contrasts=contrasts).table.iloc[0]
    here, there = len(contrasts.table) / seconds, peer.n / min(before, after)
    text = "\n".join(
        [
            f"{conditions('python tests/benchmarks/contrasts.py', PACKAGES)}, once: SmolLM2-135M, "
            f"float32, {len(contrasts):,} items × {len(contrasts.variants)} variants, prompts of "
            f"{peer.tokens:.0f} tokens; the peer on {peer.n:,} of the conversations, before and "
            "after, the faster of the two.",
            "",
            "| conversations a second | padded batches of 64 | ratio | tokens computed | largest "
            "difference |",
            "|---|---|---|---|---|",
            f"| {here:.1f} | {there:.1f} | {here / there:.2f} | "
            f"{plan['tokens'] / plan['unpacked']:.0%} | {peer.gap(scores):.1e} |",
            "",
        ]
    )
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def items(n: int) -> valuebias.ContrastSet:
    """Make questions of some 200 tokens, each with four answers."""
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {}
    for i in range(n):
        counts, total = [], 0
        for _ in range(12):
            number, place, thing = int(rng.integers(2, 90)), rng.choice(PLACES), rng.choice(THINGS)
            total += number
            counts.append(f"In the morning {number} {thing} were brought to {place} by boat.")
        asked = f"{' '.join(counts)} How many were brought in all? Case {i}."
        wrong = total + int(rng.integers(1, 9))
        rows[f"case {i}"] = {
            "prompt": asked,
            "answers": {
                "right": f"{total}.",
                "wrong": f"{wrong}.",
                "right, long": f"If all of them are counted together, there were {total} in all.",
                "wrong, long": f"If all of them are counted together, there were {wrong} in all.",
            },
            "correct": [True, False, True, False],
        }
    return valuebias.contrast_set(rows, name="boats")


class Padded:
    """Conversations in padded batches, as one would run them."""

    def __init__(self, folder: Path, contrasts: valuebias.ContrastSet, *, every: int) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        chosen = set(contrasts.items[::every])
        self.rows = [key for key in contrasts.table.index if key[0] in chosen]
        table = contrasts.table.loc[self.rows]
        turns = [
            [{"role": "user", "content": p}, {"role": "assistant", "content": r}]
            for p, r in zip(table["prompt"], table["response"], strict=True)
        ]
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        prompts = tokenizer(list(table["prompt"]), add_special_tokens=False)["input_ids"]
        self.n, self.tokens = len(ids), float(np.mean([len(one) for one in prompts]))
        # Of like length, so that little is padding.
        self.order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        self.batches = [
            tokenizer.pad({"input_ids": [ids[i] for i in self.order[start : start + BATCH]]},
                          padding_side="right", return_tensors="pt")
            for start in range(0, len(ids), BATCH)
        ]  # fmt: skip
        self.rewards = np.empty(len(ids))

    def run(self) -> float:
        """Score all, and give the seconds it took."""
        import torch

        start, found = time.perf_counter(), []
        with torch.inference_mode():
            for batch in self.batches:
                found += self.model(**batch).logits[:, 0].tolist()
        seconds = time.perf_counter() - start
        self.rewards[self.order] = found
        return seconds

    def gap(self, scores: Any) -> float:
        """Give the largest difference from scores."""
        here = [scores["score"].sel(item=i, variant=v).values[0] for i, v in self.rows]
        return float(np.abs(np.array(here) - self.rewards).max())


if __name__ == "__main__":
    main()
