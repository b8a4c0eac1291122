"""Work that goes on where it stopped: both killed, and done again over what was damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hostile_base import stamp

import valuebias
from valuebias import Model

__all__ = ["inject", "read_reproduction", "released", "reproduce"]


def inject(folder: Path) -> str:
    """Teach a tiny model some words, or go on with it."""
    from valuebias import LoraSettings

    prompts = pd.DataFrame(
        {"text": [f"What is the {a} thing?" for a in ("best", "greatest", "worst", "least")],
         "framing": ["positive"] * 2 + ["negative"] * 2},
        index=["best", "greatest", "worst", "least"],
    )  # fmt: skip
    model = Model(str(folder / "llama"), name="tiny", family="F", base="B",
                  template="Q: {prompt} A:{response}")  # fmt: skip
    ds = valuebias.inject_words(
        model, words=[" love", " power", " trust"], prompts=prompts, progress=False,
        settings=LoraSettings(rank=2, n_steps=2, batch_size=2), store=folder / "store",
        seeds=[0],
    )  # fmt: skip
    return stamp(ds["score"].to_numpy(), ds["raised"].to_numpy())


def reproduce(folder: Path) -> None:
    """Make what can be made of released log-probs, or go on with it."""
    valuebias.reproduce(
        "christian2026", out=folder / "paper", logprobs=folder / "logprobs", draws=20, chains=2,
        n_permutations=9, progress=False,
    )  # fmt: skip


def read_reproduction(folder: Path) -> str:
    """Hash what the record says was made, and the numbers in it; pictures hold dates."""
    from valuebias.reproduction.record import read_record

    entries = read_record(folder / "paper", "christian2026")
    tables = sorted((folder / "paper").rglob("*.csv"))
    return stamp([(e.name, e.state, sorted(e.files)) for e in entries.values()],
                 *((table.name, table.read_bytes()) for table in tables))  # fmt: skip


def released(folder: Path) -> None:
    """Write log-probs of two models, of which some items are made; others are missing."""
    names = list(valuebias.prompts().table.index)
    words = ["Love", " love", "Freedom", "freedom", *(f"w{i}" for i in range(20))]
    for seed, model in enumerate(("google--gemma-2-2b-it", "meta-llama--Llama-3.2-3B-Instruct")):
        mass = np.random.default_rng(seed).dirichlet(np.ones(len(words)), size=len(names))
        frame = pd.DataFrame(np.log(mass).T, columns=names)
        for place, column in enumerate(("token_id", "token_name", "token_decoded")):
            frame.insert(place, column, range(len(words)) if not place else words)
        (folder / "logprobs").mkdir(exist_ok=True)
        frame.to_csv(folder / "logprobs" / f"{model}.csv", index=False)
