"""A server with vLLM's routes that runs a real model with plain transformers, one by one.

It answers in the form of exchanges with vLLM 0.32, and wrongly where it is told to.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["Loopback", "serving"]

Answer = Callable[[str, dict[str, Any], dict[str, Any]], Any]


@dataclass
class Loopback:
    """A model behind a port, and what was asked of it."""

    folder: Path
    kind: str
    name: str = "served"
    url: str = ""
    # Of each request its path, headers and body; how many are being answered, and were at most.
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    # What is made of a right answer: path, question, answer; an integer is a status, an exception
    # breaks the connection.
    twist: Answer = lambda path, body, answer: answer

    def __post_init__(self) -> None:
        import torch
        from transformers import (
            AutoModelForCausalLM,
            AutoModelForSequenceClassification,
            AutoTokenizer,
        )

        cls = AutoModelForSequenceClassification if self.kind == "reward" else AutoModelForCausalLM
        self._torch = torch
        self._model = cls.from_pretrained(self.folder, dtype=torch.float32).eval()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(self.folder)
        except (OSError, ValueError):
            self._tokenizer = None
        self._lock = threading.Lock()

    @property
    def vocabulary(self) -> int:
        """How many token ids there are."""
        return int(self._model.config.get_text_config().vocab_size)

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """Answer a question as vLLM does."""
        if path == "/version":
            return {"version": "0.32.0"}
        if path == "/metrics":
            return 'vllm:cache_config_info{block_size="16",enable_prefix_caching="True"} 1.0\n'
        if path == "/v1/models":
            row = {"id": self.name, "object": "model", "owned_by": "vllm", "max_model_len": 512}
            return {"object": "list", "data": [row | {"root": str(self.folder)}]}
        if path == "/tokenize" and self._tokenizer is not None:
            ids = self._tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]
            return {"count": len(ids), "max_model_len": 512, "tokens": ids}
        routes = {
            "/classify": (self._classify, "input"),
            "/v1/completions": (self._complete, "prompt"),
        }
        if path not in routes or (path == "/classify") != (self.kind == "reward"):
            return 404, {"detail": "Not Found"}
        route, name = routes[path]
        for ids in body[name]:
            if max(ids) >= self.vocabulary:
                message = f"Token id {max(ids)} is out of vocabulary"
                return 400, {"error": {"message": message, "type": "BadRequestError", "code": 400}}
        with self._lock:
            return route(body)

    def _logits(self, ids: list[int]) -> Any:
        with self._torch.no_grad():
            return self._model(self._torch.tensor([ids])).logits[0]

    def _classify(self, body: dict[str, Any]) -> dict[str, Any]:
        rows = []
        for i, ids in enumerate(body["input"]):
            logits = self._logits(ids)
            if body.get("use_activation", True):
                one = len(logits) == 1
                logits = logits.sigmoid() if one else logits.softmax(-1)
            probs = [float(x) for x in logits]
            rows.append({"index": i, "label": "LABEL_0", "probs": probs, "num_classes": len(probs)})
        sent = sum(map(len, body["input"]))
        usage = {"prompt_tokens": sent, "total_tokens": sent, "completion_tokens": 0}
        return {
            "id": "classify-1",
            "object": "list",
            "model": self.name,
            "data": rows,
            "usage": usage,
        }

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = []
        for i, ids in enumerate(body["prompt"]):
            logprobs = self._logits(ids).log_softmax(-1)
            choice: dict[str, Any] = {"index": i, "text": "x", "finish_reason": "length"}
            if body.get("prompt_logprobs") is not None:
                rated = [
                    {str(t): {"logprob": float(logprobs[p, t]), "rank": 1, "decoded_token": "x"}}
                    for p, t in enumerate(ids[1:])
                ]
                choice["prompt_logprobs"] = [None, *rated]
            if body.get("logprobs") is not None:
                top = {f"token_id:{t}": float(x) for t, x in enumerate(logprobs[-1])}
                choice["logprobs"] = {"top_logprobs": [top]}
            choices.append(choice)
        return {"id": "cmpl-1", "object": "text_completion", "model": self.name, "choices": choices}


@contextmanager
def serving(loopback: Loopback) -> Iterator[Loopback]:
    """Run the server for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            self._answer(json.loads(self.rfile.read(length)))

        def _answer(self, body: dict[str, Any]) -> None:
            loopback.asked.append((self.path, dict(self.headers), body))
            loopback.busy += 1
            loopback.most_busy = max(loopback.most_busy, loopback.busy)
            try:
                answer = loopback.twist(self.path, body, loopback.answer(self.path, body))
                time.sleep(0.001)
            except ConnectionError:
                self.close_connection = True
                self.connection.close()
                return
            finally:
                loopback.busy -= 1
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            kind = "text/plain" if isinstance(content, str) else "application/json"
            text = content if isinstance(content, str) else json.dumps(content, default=str)
            data = content if isinstance(content, bytes) else text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    loopback.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield loopback
    finally:
        server.shutdown()
        server.server_close()
