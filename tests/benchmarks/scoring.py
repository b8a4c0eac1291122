"""How fast models are scored, beside transformers on padded batches of whole conversations.

    python tests/benchmarks/scoring.py                    # everything, about half an hour
    python tests/benchmarks/scoring.py --only torch       # one case (repeatable)
    python tests/benchmarks/scoring.py --out tests/benchmarks/scoring.md    # for README and docs

The model is SmolLM2-135M-Instruct with a one-label head of random weights, or as it is for
log-probs; tests/support/small_models.py says where it comes from. The words are the 263 nouns of
the paper's Big Two scores (set VALUEBIAS_DATA or be online), the prompts its 54. A case times
`valuebias.score` from text to dataset, without loading the model. The peer is timed on a sample of
the same pairs in the same process with the same threads, tokenised beforehand. The speed of float32
matrix products is measured in that process, too, before and after.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import valuebias
from valuebias.backends import Backend, prepacked

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from preloaded import Preloaded

BATCH = 64
CASES = {
    "torch": "rewards, torch, float32",
    "onnx": "rewards, ONNX Runtime, float32",
    "bfloat16": "rewards, torch, bfloat16 autocast",
    "rows": "log-probs of the whole vocabulary, torch",
    "words": "log-probs of the nouns, torch",
    "vocabulary": "rewards of the whole vocabulary, one prompt, torch",
}
PRODUCTS = {"torch_mm": "torch.mm", "onednn": "oneDNN", "numpy": "NumPy"}
PEERS = {
    "torch": "padded batches of 64",
    "onnx": "padded batches of 64",
    "bfloat16": "padded batches of 64, float32",
    "rows": "one prompt at a time, logits everywhere",
    "words": "padded batches of 64",
    "vocabulary": "–",
}


def main() -> None:
    """Run the cases asked for, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    reason = small_models.missing("smollm2")
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    if args.case:
        sys.stdout.write(json.dumps(RUN[args.case]()) + "\n")
        return
    results = {name: in_own_process(name) for name in args.only or CASES}
    text = f"{conditions(results)}\n\n{table(results)}"
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def in_own_process(name: str) -> dict[str, float]:
    """Run one case in a fresh interpreter."""
    command = [sys.executable, __file__, "--case", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def conditions(results: dict[str, dict[str, float]]) -> str:
    """Say what the numbers were measured on."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    from valuebias._core.provenance import versions

    shown = {"torch": "PyTorch", "transformers": "transformers", "onnxruntime-gpu": "ONNX Runtime"}
    found = versions()
    packages = [f"{name} {found[key]}" for key, name in shown.items() if key in found]
    peaks = {key: [r[key] for r in results.values() if key in r] for key in PRODUCTS}
    products = [f"{name} {max(peaks[key]):.0f}" for key, name in PRODUCTS.items() if peaks[key]]
    return (
        f"`python tests/benchmarks/scoring.py` on {os.cpu_count()} cores of an {cpu}, Python "
        f"{platform.python_version()}, {', '.join(packages)},\n"
        f"{time.strftime('%Y-%m-%d')}, each case once: SmolLM2-135M, 54 prompts, 263 nouns or the "
        "whole vocabulary. The peers are\ntimed on a sample of the same pairs. Fastest float32 "
        f"matrix products, in GFLOP/s: {', '.join(products)}."
    )


# --- ours ---------------------------------------------------------------------------------------


@dataclass
class Timed:
    """Scores, and how they were made."""

    scores: np.ndarray
    seconds: float
    flop: float
    peaks: dict[str, float]

    def numbers(self, peer: Callable[[], float]) -> dict[str, float]:
        """Give the row of the table; `peer` gives pairs a second."""
        rate, speed = self.scores.size / self.seconds, self.flop / self.seconds / 1e9
        theirs = peer()
        shares = {
            "share_torch": speed / self.peaks["torch_mm"],
            "share_fastest": speed / max(self.peaks.values()),
        }
        return {"rate": rate, "peer": theirs, "ratio": rate / theirs} | shares | self.peaks


def timed(
    model: valuebias.Model, words: Sequence[str] | str, engine: Backend, kind: str = "reward"
) -> Timed:
    """Score twice, a little to warm up and then everything."""
    loaded = Preloaded(engine)
    few = valuebias.prompts(valuebias.prompts().table.iloc[:2], name="few")
    options: dict[str, Any] = {"kind": kind, "backend": loaded, "progress": False}
    valuebias.score(model, prompts=few, lexicon=words, **options)
    before = products()
    start = time.perf_counter()
    made = valuebias.score(model, lexicon=words, **options)
    seconds = time.perf_counter() - start
    scores = made if words != "vocabulary" else next(iter(made.children.values()))
    assert loaded.model is not None
    batch_tokens = loaded.model.batch_tokens
    plan = valuebias.plan(
        model, lexicon=words, kind=kind, backend=loaded, batch_tokens=batch_tokens
    )
    flop = float(plan.to_frame()["flop"].sum())
    after = products()
    peaks = {name: max(before[name], after[name]) for name in before}
    return Timed(scores["score"].to_numpy().copy(), seconds, flop, peaks)


def products() -> dict[str, float]:
    """Measure float32 matrix products in GFLOP/s, each the best of ten.

    PyTorch multiplies by MKL, which on some processors uses half of what they can do; so the other
    libraries at hand are measured as well.
    """
    import torch

    size = 2048
    matrix = torch.ones(size, size)
    array = matrix.numpy()
    ways: dict[str, Callable[[], object]] = {
        "torch_mm": lambda: torch.mm(matrix, matrix),
        "numpy": lambda: array @ array,
    }
    if prepacked.possible(torch.float32):
        layer = prepacked.Linear(torch.nn.Linear(size, size, bias=False), torch.float32)
        ways["onednn"] = lambda: layer(matrix)
    found = {}
    with torch.inference_mode():
        for name, multiply in ways.items():
            times = []
            for _ in range(10):
                start = time.perf_counter()
                multiply()
                times.append(time.perf_counter() - start)
            found[name] = 2 * size**3 / min(times) / 1e9
    return found


def nouns() -> list[str]:
    """Give the nouns of the paper's released scores."""
    ds = valuebias.datasets.load("christian2026-big2")
    inside = ds["membership"].any("category").to_numpy()
    return [str(word) for word in ds["response"].to_numpy()[inside]]


def reward_model() -> valuebias.Model:
    """Give the model with a head."""
    return valuebias.Model(small_models.reward_model("smollm2"))


def language_model() -> valuebias.Model:
    """Give the model as it is."""
    return valuebias.Model(small_models.language_model("smollm2"))


# --- the peer -----------------------------------------------------------------------------------


def sample(words: Sequence[str], *, n_prompts: int = 5, batches: int = 2) -> list[list[list[int]]]:
    """Give batches of tokenised conversations of a prompt each, as one would run them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_models.reward_model("smollm2"))
    texts = valuebias.prompts().table["text"].tolist()
    found = []
    for text in texts[:: len(texts) // n_prompts][:n_prompts]:
        for start in range(0, batches * BATCH, BATCH):
            turns = [
                [{"role": "user", "content": text}, {"role": "assistant", "content": word}]
                for word in words[start : start + BATCH]
            ]
            rendered = tokenizer.apply_chat_template(turns, tokenize=False)
            found.append(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    return found


def padded(batch: Sequence[Sequence[int]]) -> tuple[Any, Any, Any]:
    """Give ids, attention mask and lengths of a batch, padded on the right."""
    import torch

    lengths = torch.tensor([len(ids) for ids in batch])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, 2)
    ids[mask] = torch.tensor([token for row in batch for token in row])
    return ids, mask.long(), lengths


def peer_rate(
    folder: Path, name: str, compute: Callable[[Any, Any], Any], words: list[str]
) -> float:
    """Time the peer on the sample, after a batch to warm up."""
    import torch
    import transformers

    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    batches = sample(words)
    with torch.inference_mode():
        compute(model, batches[0])
        start = time.perf_counter()
        for batch in batches:
            compute(model, batch)
    return sum(map(len, batches)) / (time.perf_counter() - start)


def peer_rewards(words: list[str]) -> float:
    """Score padded batches of whole conversations."""

    def compute(model: Any, batch: Any) -> Any:
        ids, mask, _ = padded(batch)
        return model(ids, attention_mask=mask).logits

    return peer_rate(
        small_models.reward_model("smollm2"), "AutoModelForSequenceClassification", compute, words
    )


def peer_words(words: list[str]) -> float:
    """Give log-probs of every token of padded batches of whole conversations."""
    import torch

    def compute(model: Any, batch: Any) -> Any:
        ids, mask, _ = padded(batch)
        logits = model(ids, attention_mask=mask).logits[:, :-1]
        picked = logits.gather(2, ids[:, 1:, None])[..., 0]
        return picked - torch.logsumexp(logits, dim=-1)

    return peer_rate(small_models.language_model("smollm2"), "AutoModelForCausalLM", compute, words)


def peer_rows() -> float:
    """Give log-probs of the vocabulary one prompt at a time, with logits at every position."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = small_models.language_model("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )["input_ids"]
        for text in valuebias.prompts().table["text"]
    ]
    with torch.inference_mode():
        model(prompts[0])
        start = time.perf_counter()
        for ids in prompts:
            torch.log_softmax(model(ids).logits[0], dim=-1)[-1].numpy()
    return len(prompts) * model.config.vocab_size / (time.perf_counter() - start)


# --- the cases ----------------------------------------------------------------------------------


def run_torch() -> dict[str, float]:
    """Time the PyTorch backend."""
    from valuebias.backends.torch_backend import TorchBackend

    words = nouns()
    return timed(reward_model(), words, TorchBackend()).numbers(lambda: peer_rewards(words))


def run_onnx() -> dict[str, float]:
    """Time the ONNX Runtime backend."""
    if importlib.util.find_spec("onnxruntime") is None:
        return {}
    from valuebias.backends.onnx_backend import OnnxBackend

    words = nouns()
    engine = OnnxBackend(cache=small_models.folder() / "onnx")
    return timed(reward_model(), words, engine).numbers(lambda: peer_rewards(words))


def run_bfloat16() -> dict[str, float]:
    """Time bfloat16 products, and measure what they cost in accuracy."""
    from valuebias.backends.torch_backend import TorchBackend

    words = nouns()
    made = timed(reward_model(), words, TorchBackend(autocast=True))
    few = valuebias.prompts(valuebias.prompts().table.iloc[::9], name="few")
    exact = valuebias.score(reward_model(), prompts=few, lexicon=words, progress=False)
    truth = exact["score"].to_numpy()
    error = made.scores[:, ::9] - truth
    numbers = made.numbers(lambda: peer_rewards(words))
    # The share of float32 products says nothing here.
    share = dict.fromkeys(("share_torch", "share_fastest"), float("nan"))
    return numbers | share | {"error": float(error.std() / truth.std())}


def run_rows() -> dict[str, float]:
    """Time the read-out of whole vocabularies."""
    from valuebias.backends.torch_backend import TorchBackend

    return timed(language_model(), "vocabulary", TorchBackend(), "logprob").numbers(peer_rows)


def run_words() -> dict[str, float]:
    """Time log-probs of words."""
    from valuebias.backends.torch_backend import TorchBackend

    words = nouns()
    made = timed(language_model(), words, TorchBackend(), "logprob")
    return made.numbers(lambda: peer_words(words))


def run_vocabulary() -> dict[str, float]:
    """Score every token as an answer to one prompt, and look at the memory."""
    folder = small_models.reward_model("smollm2")
    one = valuebias.prompts(valuebias.prompts().table.iloc[:1], name="one")
    start = time.perf_counter()
    tree = valuebias.score(
        valuebias.Model(folder), prompts=one, lexicon="vocabulary", progress=False
    )
    seconds = time.perf_counter() - start
    (scores,) = tree.children.values()
    model = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "rate": scores["score"].size / seconds,
        "seconds": seconds,
        "rss_above_model_gb": (rss - model) / 1e9,
    }


RUN = {
    "torch": run_torch,
    "onnx": run_onnx,
    "bfloat16": run_bfloat16,
    "rows": run_rows,
    "words": run_words,
    "vocabulary": run_vocabulary,
}


def table(results: dict[str, dict[str, float]]) -> str:
    """Lay the results out as Markdown."""
    lines = [
        "| case | scores/s | peer | scores/s | ratio | share of `torch.mm` | of the fastest | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        cells = [CASES[name], _number(result.get("rate")), PEERS[name]]
        numbers = ("peer", "ratio", "share_torch", "share_fastest")
        cells += [*(_number(result.get(key)) for key in numbers), _remark(result)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    if value is None or np.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _remark(result: dict[str, float]) -> str:
    if "error" in result:
        return f"error SD {result['error']:.1%} of score SD"
    if "rss_above_model_gb" in result:
        return (
            f"{result['seconds']:.0f} s, peak memory {result['rss_above_model_gb']:.2f} GB "
            "above the model's"
        )
    return "" if result else "not installed"


if __name__ == "__main__":
    main()
