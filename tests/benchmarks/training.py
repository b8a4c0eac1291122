"""A study's grid of reward heads, beside training each of its cells separately.

    python tests/benchmarks/training.py                 # some ten minutes on two quiet cores
    python tests/benchmarks/training.py --out tests/benchmarks/training.md        # for the docs

The grid is SmolLM2-135M-Instruct × 2 synthetic sources × 3 quantities × 3 seeds, scored on the 54
superlative prompts with the bundled lexicon; tests/support/small_models.py says where the model
comes from. Three ways to fill it:

(a) `Study.run` with the objective "head": hidden states once, then all heads;
(b) the same heads, each cell on its own, with nothing shared;
(c) as reward models are usually made: TRL's RewardTrainer with LoRA, the paper's settings, a run a
    cell, and scores by transformers in padded batches of whole conversations.

Of (b) and (c) one seed of three is run, and of the words that (c) scores a few batches: a further
seed is the same work. (b) reads the words once more for each cell, which (a) has timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import valuebias
from valuebias.ablation import Preferences, Study, fit_head, synthetic_preferences
from valuebias.backends import get_backend
from valuebias.training.features import Base, Conversation, features, find_base

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions

QUANTITIES, SEEDS = (16, 32, 64), (0, 1, 2)
KINDS = ("correct", "courteous")
N_PAIRS = 120
TEMPLATE = "User: {prompt}\nAssistant: {response}\n"
BATCH, BATCHES = 64, 4
PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "trl": "TRL", "peft": "peft"}


def main() -> None:
    """Fill the grid three ways, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    reason = small_models.missing("smollm2") or lacking()
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    sources = {kind: synthetic_preferences(kind, N_PAIRS) for kind in KINDS}
    study = Study([model()], sources, QUANTITIES, seeds=SEEDS)
    with tempfile.TemporaryDirectory() as scratch:
        rows = filled(study, Path(scratch))
    text = f"{head(study)}\n\n{table(rows)}\n"
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def lacking() -> str | None:
    """Say what the peer needs and is not installed."""
    absent = [name for name in ("trl", "peft") if importlib.util.find_spec(name) is None]
    return f"{absent[0]} is not installed" if absent else None


def model() -> valuebias.Model:
    """Give the base model."""
    folder = small_models.language_model("smollm2")
    return valuebias.Model(folder, name="SmolLM2 135M", family="SmolLM2", template=TEMPLATE)


def filled(study: Study, scratch: Path) -> dict[str, tuple[float, float]]:
    """Give the seconds of each way: of training, and of scoring."""
    base = find_base(model())
    asked = instrument()
    start = time.perf_counter()
    hidden(base, asked, scratch / "grid" / "features")
    words = time.perf_counter() - start
    study.run(scratch / "grid", progress=False)
    grid = time.perf_counter() - start - words
    cells = len(QUANTITIES) * len(SEEDS) * len(KINDS)
    alone = sum(head_alone(base, source, n, scratch) for source, n in one_seed(study))
    trained = sum(train_alone(base, source, n, scratch) for source, n in one_seed(study))
    scored = sum(len(one.answers) for one in asked) / padded_rate(base, asked)
    return {
        "(a) `Study.run`, objective `head`": (grid, words),
        "(b) the same heads, each cell on its own": (len(SEEDS) * alone, cells * words),
        "(c) TRL `RewardTrainer` with LoRA, padded batches": (len(SEEDS) * trained, cells * scored),
    }


def instrument() -> list[Conversation]:
    """Give every prompt with all words of the lexicon."""
    words = valuebias.lexicon().words
    return [Conversation.after(text, words) for text in valuebias.prompts().table["text"]]


def hidden(base: Base, conversations: list[Conversation], folder: Path) -> Any:
    """Compute hidden states."""
    return features(base, conversations, folder=folder, backend=get_backend("torch"))


def one_seed(study: Study) -> Iterator[tuple[Preferences, int]]:
    """Give what each cell of the first seed is trained on."""
    for source in study.preferences().values():
        train, _ = source.split(held_out=study.held_out)
        for n_pairs in QUANTITIES:
            yield train.subset(n_pairs, seed=SEEDS[0]), n_pairs


def turns(pairs: Preferences) -> list[Conversation]:
    """Give every prompt with its two answers."""
    columns = (pairs.pairs[key] for key in ("prompt", "chosen", "rejected"))
    return [Conversation(p, (c, r)) for p, c, r in zip(*columns, strict=True)]


def head_alone(base: Base, pairs: Preferences, n_pairs: int, scratch: Path) -> float:
    """Time one head with nothing shared, without the words."""
    start = time.perf_counter()
    values = hidden(base, turns(pairs), scratch / f"{pairs.name}-{n_pairs}")
    fit_head(values[:, 0], values[:, 1])
    return time.perf_counter() - start


# --- the peer -----------------------------------------------------------------------------------


def tokens(base: Base, conversations: list[Conversation]) -> list[list[list[int]]]:
    """Tokenise whole conversations, as the study does."""
    return [
        [list(map(int, ids)) for ids in base.tokenizer.rewards(one.messages(), one.answers)]
        for one in conversations
    ]


def classifier() -> Any:
    """Load the base with a fresh reward head."""
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = small_models.language_model("smollm2")
    return AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )


def train_alone(base: Base, pairs: Preferences, n_pairs: int, scratch: Path) -> float:
    """Time one run of the trainer with the paper's settings, its start included."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    start = time.perf_counter()
    rows = [{"chosen_ids": a, "rejected_ids": b} for a, b in tokens(base, turns(pairs))]
    settings = RewardConfig(
        output_dir=str(scratch / f"trl-{pairs.name}-{n_pairs}"), num_train_epochs=2,
        per_device_train_batch_size=16, learning_rate=1e-5, lr_scheduler_type="cosine",
        warmup_steps=round(0.03 * 2 * len(rows) / 16), max_length=1024, bf16=False, use_cpu=True,
        gradient_checkpointing=None, dataloader_pin_memory=False, report_to="none",
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    lora = LoraConfig(
        r=32, lora_alpha=64, lora_dropout=0.05, task_type="SEQ_CLS", modules_to_save=["score"],
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(small_models.language_model("smollm2"))
    RewardTrainer(
        model=classifier(), args=settings, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, peft_config=lora,
    ).train()  # fmt: skip
    return time.perf_counter() - start


def padded_rate(base: Base, asked: list[Conversation]) -> float:
    """Time a few padded batches of whole conversations, in answers a second."""
    import torch

    scorer = classifier().eval()
    scorer.config.pad_token_id = 2
    rows = [ids for one in asked[:: len(asked) // BATCHES][:BATCHES] for ids in tokens(base, [one])]
    batches = [row[:BATCH] for row in rows]
    with torch.inference_mode():
        padded(scorer, batches[0])
        start = time.perf_counter()
        for batch in batches:
            padded(scorer, batch)
    return sum(map(len, batches)) / (time.perf_counter() - start)


def padded(scorer: Any, batch: list[list[int]]) -> Any:
    """Score a batch, padded on the right."""
    import torch

    lengths = torch.tensor([len(ids) for ids in batch])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, 2)
    ids[mask] = torch.tensor([token for row in batch for token in row])
    return scorer(ids, attention_mask=mask.long()).logits


# --- the table ----------------------------------------------------------------------------------


def head(study: Study) -> str:
    """Say what was done, on what, with what."""
    cells = len(study.runs())
    return (
        f"{conditions('python tests/benchmarks/training.py', PACKAGES)}: SmolLM2-135M-Instruct, "
        f"{cells} reward models ({len(KINDS)} sources × {json.dumps(list(QUANTITIES))} pairs × "
        f"{len(SEEDS)} seeds), 54 prompts × {len(valuebias.lexicon().words)} words. Of (b) and (c) "
        f"one seed of {len(SEEDS)} was run, and {BATCH * BATCHES} of the words that (c) scores."
    )


def table(rows: dict[str, tuple[float, float]]) -> str:
    """Lay the seconds out as Markdown."""
    lines = ["| way | training, s | scoring, s | together, s | ratio |", "|---|---|---|---|---|"]
    ours = sum(next(iter(rows.values())))
    for name, (training, scoring) in rows.items():
        total = training + scoring
        lines.append(
            f"| {name} | {training:,.0f} | {scoring:,.0f} | {total:,.0f} | {total / ours:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
