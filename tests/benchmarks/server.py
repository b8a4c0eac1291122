"""How fast and how close scores through a vLLM server are.

    make vllm-environment
    python tests/benchmarks/server.py .venv-vllm-3.11/bin/python --out tests/benchmarks/server.md

Two real small models run behind servers on this machine. Through each the same conversations are
scored by `Server`, and sent by a bare client of asyncio and aiohttp that asks for the same ids in
requests of the same size, so many in flight, and reads nothing but the JSON; in turn, and beside
`backend="torch"` on the same processors. Largest differences are from `torch`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import valuebias
from valuebias.backends import Server
from valuebias.backends.server_client import Client

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from small_models import language_model, reward_model
from vllm_servers import server

PROMPTS = {
    "best": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "worst": {"text": "What, in one word, is the worst thing ever?", "framing": "negative"},
}
PACKAGES = {"torch": "PyTorch", "transformers": "transformers"}
IN_FLIGHT = 8
BARE = """
import asyncio, json, sys, time
import aiohttp

async def main():
    turn = asyncio.Semaphore(int(sys.argv[2]))
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(sys.argv[1], timeout=timeout) as session:
        async def one(path, body):
            async with turn, session.post(path, json=body) as answer:
                return await answer.json()
        await asyncio.gather(*(one(*pair) for pair in asked))

asked = json.load(sys.stdin)
start = time.perf_counter()
asyncio.run(main())
print(time.perf_counter() - start)
"""


def main() -> None:
    """Start the servers in turn, and lay out what they did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="of an environment with vLLM")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    rows, version, load = [], "", [os.getloadavg()[0]]
    for kind, folder in (
        ("reward", reward_model("smollm2")),
        ("logprob", language_model("smollm2")),
    ):
        with server(args.python, kind, folder) as address:
            version = Client(address, key=None, in_flight=1, retries=0, timeout=9).get("/version")
            rows.append(measured(args.python, kind, folder, address, args.rounds))
        load.append(os.getloadavg()[0])
    text = "\n".join(
        [
            f"{conditions('python tests/benchmarks/server.py', PACKAGES)}, vLLM "
            f"{version['version']} for CPUs, load {min(load):.1f} to {max(load):.1f}: SmolLM2-135M "
            f"in float32, 2 prompts × 182 words, {IN_FLIGHT} requests of 16 conversations in "
            f"flight, nothing kept of earlier ones; medians of {args.rounds} rounds, seconds of "
            "the wall.",
            "",
            "| scores | `Server` | bare client, same ids | ratio of speeds | `torch` | largest "
            "difference from `torch` |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def measured(python: str, kind: str, folder: Path, address: str, rounds: int) -> str:
    """Score through the server, through a bare client and here, in turn."""
    options: dict[str, Any] = {"prompts": PROMPTS, "kind": kind, "progress": False}
    kept: list[tuple[str, dict[str, Any]]] = []
    post = Client.post

    def kept_post(self: Client, path: str, body: dict[str, Any]) -> Any:
        kept.append((path, body))
        return post(self, path, body)

    taken: dict[str, list[float]] = {"server": [], "bare": [], "torch": []}
    scores: dict[str, np.ndarray] = {}
    for i in range(rounds + 1):  # the first compiles and warms up
        kept.clear()
        Client.post = kept_post  # type: ignore[method-assign]
        start = time.perf_counter()
        made = valuebias.score(folder, backend=Server(address, in_flight=IN_FLIGHT), **options)
        through = time.perf_counter() - start
        Client.post = post  # type: ignore[method-assign]
        scores["server"] = made["score"].to_numpy()
        asked = [(path, body) for path, body in kept if path != "/tokenize" and _large(body)]
        alone = bare(python, address, asked)
        start = time.perf_counter()
        made = valuebias.score(folder, backend="torch", **options)
        here = time.perf_counter() - start
        scores["torch"] = made["score"].to_numpy()
        if i:
            for name, seconds in (("server", through), ("bare", alone), ("torch", here)):
                taken[name].append(seconds)
    ratio = statistics.median(b / s for b, s in zip(taken["bare"], taken["server"], strict=True))
    gap = np.abs(scores["server"] - scores["torch"]).max()
    seconds = {name: f"{statistics.median(values):.1f}" for name, values in taken.items()}
    return (
        f"| {kind} | {seconds['server']} | {seconds['bare']} | {ratio:.2f} | {seconds['torch']} | "
        f"{gap:.1e} |"
    )


def _large(body: dict[str, Any]) -> bool:
    """Whether a request is one of the work, not of the checks before and during it."""
    return len(body.get("input", body.get("prompt", []))) > 4


def bare(python: str, address: str, asked: list[tuple[str, dict[str, Any]]]) -> float:
    """Send the same requests and do nothing with the answers; seconds without the start."""
    done = subprocess.run(
        [python, "-c", BARE, address, str(IN_FLIGHT)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
