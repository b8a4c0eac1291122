"""What a card does: the contract, packed scoring beside its matrix products, ONNX Runtime, LoRA.

    make gpu                                             # on the card of this machine
    python tests/benchmarks/gpu.py --out tests/benchmarks/gpu.md
    python tests/benchmarks/gpu.py --device cpu --size small        # the script itself, in a minute

Rewards of 54 prompts and 263 made-up words by a random Llama of the shape of Llama-3.2-3B in
bfloat16, and of a smaller one in float32 by PyTorch and by ONNX Runtime. The share is that of the
fastest matrix product of this arithmetic on this device, measured before and after. An adapter of
a tiny model is compared with peft's own. Each part ends by itself: what fails is in the table, and
the script ends with 1. Under eight minutes on one card.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import valuebias
from valuebias.backends import Backend
from valuebias.backends.onnx_backend import OnnxBackend
from valuebias.backends.torch_backend import TorchBackend

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tiny_models
from conditions import conditions
from preloaded import Preloaded

SUPPORT = Path(__file__).parents[1] / "support"
SHAPES: dict[str, dict[str, dict[str, int]]] = {
    "whole": {
        "large": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
                  "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 128_256},
        "both": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 12,
                 "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 32_000},
    },
    "small": {
        "large": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
                  "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1_000},
        "both": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1_000},
    },
}  # fmt: skip
N_WORDS, N_PROMPTS = {"whole": 263, "small": 20}, {"whole": 54, "small": 6}
PACKAGES = {"torch": "PyTorch", "transformers": "transformers"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SHAPES, default="whole")
    parser.add_argument("--skip-contract", action="store_true")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("There is no CUDA device here. --device cpu --size small runs the script itself.")
    parts: dict[str, Callable[[Path], list[str]]] = {
        "contract": lambda _: contract(args.device),
        "packed": lambda folder: packed(folder, args.device, args.size),
        "both": lambda folder: both(folder, args.device, args.size),
        "adapter": lambda folder: adapter(folder, args.device),
    }
    if args.skip_contract:
        del parts["contract"]
    lines, failed = [], False
    for name, part in parts.items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = part(Path(folder))
            except Exception:  # noqa: BLE001 - the other parts are worth having
                traceback.print_exc()
                made, failed = [f"| {name} | **failed** | | | | "], True
        failed = failed or any("**failed**" in line for line in made)
        made = [f"{line} |" for line in made]
        made[-1] = f"{made[-1]} {time.perf_counter() - start:.0f} s |"
        made[:-1] = [f"{line} |" for line in made[:-1]]
        lines += made
        sys.stdout.write("\n".join(made) + "\n")
        sys.stdout.flush()
    about = conditions("python tests/benchmarks/gpu.py", PACKAGES)
    head = "| what | result | scores/s | TFLOP/s | fastest product, TFLOP/s | share | whole part |"
    text = f"{about}, {device_name(args.device)}.\n\n{head}\n{'|---' * 7}|\n" + "\n".join(lines)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(int(failed))


def device_name(device: str) -> str:
    """Name the device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def contract(device: str) -> list[str]:
    """Run the backends' tests in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=",
               str(SUPPORT / "on_device.py")]  # fmt: skip
    environment = os.environ | {"VALUEBIAS_DEVICE": device}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(done.stdout[-3000:])
    closing = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "nothing ran"
    verdict = closing if done.returncode == 0 else f"**failed**: {closing}"
    return [f"| the contract's tests | {verdict} | | | | "]


def packed(folder: Path, device: str, size: str) -> list[str]:
    """Score by the large model in bfloat16."""
    model = write(folder / "large", SHAPES[size]["large"], torch.bfloat16)
    asked = valuebias.Model(model, dtype="bfloat16", base="random")
    return [timed("packed rewards, PyTorch, bfloat16", asked, TorchBackend(device=device), size)]


def both(folder: Path, device: str, size: str) -> list[str]:
    """Score by a smaller one in float32 with PyTorch, and with ONNX Runtime where it can."""
    model = valuebias.Model(write(folder / "both", SHAPES[size]["both"], torch.float32))
    lines = [timed("packed rewards, PyTorch, float32", model, TorchBackend(device=device), size)]
    if device not in OnnxBackend().devices():
        return [*lines, f"| ONNX Runtime | has no {device} here | | | | "]
    engine = OnnxBackend(device=device, cache=folder / "onnx")
    return [*lines, timed("packed rewards, ONNX Runtime, float32", model, engine, size)]


def adapter(folder: Path, device: str) -> list[str]:
    """Compare rewards through a LoRA adapter with those of peft's own merged model."""
    import peft

    base = tiny_models.tiny("llama", "reward", folder / "base")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    settings = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj", "v_proj"], r=4)
    wrapped = peft.get_peft_model(loaded, settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    wrapped.save_pretrained(folder / "adapter")
    wrapped.merge_and_unload().save_pretrained(folder / "merged")
    tiny_models.make_tokenizer(bos=True, chat_template=tiny_models.CHAT).save_pretrained(
        folder / "merged"
    )
    words = [f"word {i}" for i in range(12)]
    options: dict[str, Any] = {"lexicon": words, "progress": False}
    ours = valuebias.score(
        valuebias.Model(str(base), adapter=str(folder / "adapter")),
        backend=TorchBackend(device=device), **options,
    )  # fmt: skip
    theirs = valuebias.score(
        valuebias.Model(str(folder / "merged")), backend=TorchBackend(device="cpu"), **options
    )
    alone = valuebias.score(
        valuebias.Model(str(base)), backend=TorchBackend(device=device), **options
    )
    apart, without = (
        float(np.abs(other["score"].to_numpy() - theirs["score"].to_numpy()).max())
        / float(theirs["score"].std())
        for other in (ours, alone)
    )
    verdict = "" if apart < 1e-3 < without else "**failed**: "
    return [
        f"| LoRA beside the merged model on the CPU | {verdict}{apart:.1e} SD apart "
        f"(without it {without:.1e}) | | | | "
    ]


def write(folder: Path, shape: dict[str, int], dtype: torch.dtype) -> Path:
    """Write a random Llama with one label, and a tokenizer."""
    encode = tiny_models.make_tokenizer(bos=True, chat_template=tiny_models.CHAT, tokens=320)
    config = transformers.LlamaConfig(
        **shape, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        max_position_embeddings=4096, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = transformers.LlamaForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    encode.save_pretrained(folder)
    return folder


def timed(what: str, model: valuebias.Model, engine: Backend, size: str) -> str:
    """Score twice, a little to warm up and then everything; give the row of the table."""
    loaded = Preloaded(engine)
    words = [f"{a}{b}" for a in "bcdfghjklmnpqrstvw" for b in ("and", "est", "ilo", "ove", "ump",
             "ace", "oint", "ask", "urn", "ell", "ire", "ost", "ank", "eed", "ive")]  # fmt: skip
    words = words[: N_WORDS[size]]
    prompts = valuebias.prompts(
        valuebias.prompts().table.iloc[: N_PROMPTS[size]], name="of the benchmark"
    )
    few = valuebias.prompts(prompts.table.iloc[:2], name="few")
    options: dict[str, Any] = {"lexicon": words, "backend": loaded, "progress": False}
    valuebias.score(model, prompts=few, **options)
    device, dtype = loaded.model.device, model.dtype
    before = product(device, dtype)
    start = time.perf_counter()
    scores = valuebias.score(model, prompts=prompts, **options)
    seconds = time.perf_counter() - start
    fastest = max(before, product(device, dtype))
    plan = valuebias.plan(
        model, prompts=prompts, lexicon=words, backend=loaded,
        batch_tokens=loaded.model.batch_tokens,
    )  # fmt: skip
    reached = float(plan.to_frame()["flop"].sum()) / seconds / 1e12
    finite = "all finite" if np.isfinite(scores["score"]).all() else "**failed**: not finite"
    return (
        f"| {what} | {finite} | {scores['score'].size / seconds:,.0f} | {reached:.3g} "
        f"| {fastest:.3g} | {reached / fastest:.2f}"
    )


def product(device: str, dtype: str) -> float:
    """Measure the fastest of ten matrix products, in TFLOP/s."""
    side = 8192 if device.startswith("cuda") else 1024
    matrix = torch.ones(side, side, dtype=getattr(torch, dtype), device=device)
    times = []
    with torch.inference_mode():
        for _ in range(10):
            start = time.perf_counter()
            # Reading one number waits for the device.
            (matrix @ matrix)[0, 0].item()
            times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times) / 1e12


if __name__ == "__main__":
    main()
