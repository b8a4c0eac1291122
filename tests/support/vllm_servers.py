"""Run a command beside real vLLM servers of the two small models: used by ``make vllm``.

    python tests/support/vllm_servers.py PYTHON COMMAND...

PYTHON is that of an environment with vLLM. The command finds the servers in VALUEBIAS_VLLM, as
kind=address=folder, separated by spaces.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Run as a program, too, where Python is told to look in no folder by itself.
sys.path.insert(0, str(Path(__file__).parent))
from small_models import language_model, reward_model

__all__ = ["OPTIONS", "server"]

# Rewards have no log-probs. What is kept of earlier conversations would let scores depend on them.
OPTIONS = {
    "reward": ["--runner", "pooling"],
    "logprob": ["--max-logprobs", "-1", "--no-enable-prefix-caching"],
}
_START = 900.0  # seconds


@contextmanager
def server(python: str, kind: str, folder: Path) -> Iterator[str]:
    """Start a server for a model, and give its address once it answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "1024", *OPTIONS[kind]]
    quiet = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command], env=environment | quiet, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, address)
            yield address
        finally:
            process.terminate()
            process.wait(60)
            log.seek(0)
            if process.returncode not in (0, -15):
                sys.stderr.write(log.read().decode(errors="replace")[-4000:])


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    begin = time.monotonic()
    while time.monotonic() - begin < _START:
        if process.poll() is not None:
            raise SystemExit(f"the server stopped with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{address}/v1/models", timeout=5):  # noqa: S310 - our own
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(2)
    raise SystemExit(f"no server within {_START:.0f} s")


def main() -> int:
    """Start a server for rewards and one for log-probs, run the command, and stop them."""
    python, *command = sys.argv[1:]
    folders = {"reward": reward_model("smollm2"), "logprob": language_model("smollm2")}
    with (
        server(python, "reward", folders["reward"]) as rewards,
        server(python, "logprob", folders["logprob"]) as logprobs,
    ):
        found = {"reward": rewards, "logprob": logprobs}
        named = " ".join(f"{kind}={found[kind]}={folders[kind]}" for kind in found)
        return subprocess.run(
            command, env=os.environ | {"VALUEBIAS_VLLM": named}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
