"""A model that a server runs: what is asked of it, and how its answers are read.

Each answer is doubted: it must be about the model, the conversations and the tokens that were asked
about, and some conversations are asked for twice.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.text import visible
from valuebias.backends.base import LoadedModel, Pack, Source, conversations
from valuebias.backends.server_client import Client, Refused, chunks
from valuebias.errors import ValueBiasError

__all__ = ["ServedModel", "short_name"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_PREFIX_CACHE = re.compile(
    r'^vllm:cache_config_info\{.*enable_prefix_caching="(\w+)"', re.MULTILINE
)
# The same number, but for how it was written: what a server answers that does not do as it is told.
_SAME = 1e-7
_LARGEST = float(np.finfo(np.float32).max)
_ROUNDED = 1e-3  # above zero, where rounding may leave a log-prob


class ServedModel(LoadedModel):
    """A model on a server."""

    def __init__(
        self,
        source: Source,
        client: Client,
        about: Mapping[str, Any],
        vocabulary: int,
        *,
        batch: int,
        again: float,
        drift: float,
    ) -> None:
        self.device, self.dtype, self.vocabulary = "server", "as served", vocabulary
        self.batch_tokens = 2**14
        self._source, self._client, self._about = source, client, about
        self._batch, self._again, self._drift = batch, again, drift
        self._model = str(about["id"])
        self._first = True  # whether nothing was asked for again yet

    def check(self) -> None:
        """See whether the server does what is asked of it, before hours of work."""
        ask = self._rewards if self._source.kind == "reward" else self._logprobs
        known = [np.array([self.vocabulary - 1, 0], dtype=np.int64)]
        try:
            ask(known)
        except Refused as error:
            if error.status != 400:
                raise
            raise ValueBiasError(
                f"The server at {self._client.url!r} refuses the token {self.vocabulary - 1}, the "
                f"last that the configuration of {self._source.name!r} has ({error}) It runs "
                "another model; give the files of that one."
            ) from error
        try:
            ask([np.array([self.vocabulary, 0], dtype=np.int64)])
        except Refused as error:
            if error.status != 400:
                raise
        else:
            raise ValueBiasError(
                f"The server at {self._client.url!r} knows the token {self.vocabulary}; the "
                f"configuration of {self._source.name!r} has the tokens 0 to "
                f"{self.vocabulary - 1}. It runs another model; give the files of that one."
            )
        if self._source.kind != "reward":
            return
        plain, activated = (self._rewards(known, activation=on)[0] for on in (False, True))
        alike = np.abs(plain - activated) < _SAME
        if (alike & (plain >= 0.0) & (plain <= 1.0)).all():
            raise ValueBiasError(
                f"The server at {self._client.url!r} answers {plain[0]:.6g} with and without "
                "use_activation: it takes no notice of that, and the reward may be squeezed "
                "between 0 and 1. Update the server (vLLM 0.32 takes notice), or score with "
                'backend="torch".'
            )

    def forward(self, pack: Pack) -> npt.NDArray[np.float32]:
        """Compute a pack; see :meth:`LoadedModel.forward`."""
        paths, which, position = conversations(pack)
        whole = [pack.ids[path] for path in paths]
        before = [whole[w][: p + 1] for w, p in zip(which.tolist(), position.tolist(), strict=True)]
        if self._source.kind == "reward":
            read = np.array(self._twice(before, self._rewards), dtype=np.float32)
            return read if self._source.read_labels else read[:, 0]
        if pack.target is None or pack.row is None:
            return np.stack(self._twice(before, self._vocabularies)).astype(np.float32)
        targets = [
            np.append(before[row], target)
            for row, target in zip(pack.row.tolist(), pack.target.tolist(), strict=True)
        ]
        # What continues another has its log-probs, too: those of a word's earlier tokens.
        longest, place = _longest(targets)
        values = self._twice(longest, self._logprobs)
        rated = [values[i][len(t) - 1] for i, t in zip(place, targets, strict=True)]
        return np.array(rated, dtype=np.float32)

    def details(self) -> dict[str, Any]:
        """Say what the server is, and how far it agreed with itself."""
        version = self._client.get("/version")
        metrics = self._client.get("/metrics")
        cache = _PREFIX_CACHE.search(metrics) if isinstance(metrics, str) else None
        return {
            "server": self._client.url,
            "version": version.get("version") if isinstance(version, dict) else None,
            "model": short_name(self._model),
            "max_model_len": self._about.get("max_model_len"),
            "prefix caching": cache[1] == "True" if cache else None,
            "allowed drift": self._drift,
        }

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _twice(
        self, sequences: Sequence[Integers], ask: Callable[[Sequence[Integers]], list[Any]]
    ) -> list[Any]:
        """Score sequences, and some of them once more in another order."""
        values = ask(sequences)
        seed = zlib.crc32(b"".join(ids.tobytes() for ids in sequences))
        drawn = np.random.default_rng(seed).random(len(sequences)) < self._again
        chosen = np.flatnonzero(drawn)[::-1]
        if self._first and self._again > 0 and not len(chosen):
            chosen = np.array([len(sequences) - 1])
        self._first = False
        for i, value in zip(chosen, ask([sequences[i] for i in chosen]), strict=True):
            first, second = np.atleast_1d(values[i]), np.atleast_1d(value)
            gaps = np.abs(first - second)
            at = int(np.nanargmax(gaps))  # a prompt's first token has no log-prob
            if gaps[at] > self._drift:
                raise ValueBiasError(
                    f"The server at {self._client.url!r} gave {first[at]:.6g} for a conversation "
                    f"and, asked again, {second[at]:.6g}: more than "
                    f"drift={self._drift:g} apart. Start it with --dtype float32 and "
                    "--no-enable-prefix-caching, or allow for more: Server(drift=...)."
                )
        return values

    def _post(
        self, path: str, body: dict[str, Any], name: str, sequences: Sequence[Integers], size: int,
        read: Callable[[dict[str, Any], Any], list[Any]],
    ) -> list[Any]:  # fmt: skip
        """Ask about sequences, so many a request; ``name`` is what the route calls them."""
        bodies = [
            {"model": self._model, **body, name: [ids.tolist() for ids in part]}
            for part in chunks(sequences, size)
        ]
        return [value for part in self._client.post_all(path, bodies, read) for value in part]

    def _rewards(self, sequences: Sequence[Integers], *, activation: bool = False) -> list[Doubles]:
        """Ask for the rewards that are read, each sequence's, shape (label,)."""
        body = {"use_activation": activation}
        return self._post("/classify", body, "input", sequences, self._batch, self._read_rewards)

    def _logprobs(self, sequences: Sequence[Integers]) -> list[Doubles]:
        """Ask for the log-prob of each token given those before."""
        body = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        return self._post(
            "/v1/completions", body, "prompt", sequences, self._batch, self._read_logprobs
        )

    def _vocabularies(self, sequences: Sequence[Integers]) -> list[Doubles]:
        """Ask for the log-prob of every token that may come next."""
        # By the tokens' texts some would share a key, and all but one of them would be lost.
        body = {
            "max_tokens": 1, "temperature": 0.0, "logprobs": -1, "return_tokens_as_token_ids": True,
        }  # fmt: skip
        return self._post("/v1/completions", body, "prompt", sequences, 1, self._read_vocabularies)

    def _read_rewards(self, body: dict[str, Any], answer: Any) -> list[Doubles]:
        asked = body["input"]
        rows = self._rows(answer, "data", len(asked))
        usage = answer.get("usage")
        counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        sent = sum(map(len, asked))
        if counted is not None and counted != sent:
            raise self._wrong(f"it counts {counted} tokens where {sent} were sent")
        return [self._read_reward(row.get("probs")) for row in rows]

    def _read_reward(self, logits: Any) -> Doubles:
        if not isinstance(logits, list) or not all(isinstance(x, int | float) for x in logits):
            raise self._wrong("an answer has no list of logits ('probs')")
        known = self._source.labels
        if known is None and len(logits) > 1:
            raise self._wrong(
                f"it has {len(logits)} labels, and the config.json of {self._source.name!r} says "
                "nothing of labels. Write num_labels into it, and give label="
            )
        if len(logits) != (known or 1):
            raise self._wrong(f"it has {len(logits)} labels, and the model {known or 1}")
        values = [logits[k] for k in self._source.read_labels or (self._source.label,)]
        for value in values:
            # A whole number of JSON may be larger than any float.
            if not -_LARGEST <= value <= _LARGEST:
                raise self._wrong(f"a reward is {str(value)[:20]}")
        return np.array(values, dtype=np.float64)

    def _read_logprobs(self, body: dict[str, Any], answer: Any) -> list[Doubles]:
        rows = self._rows(answer, "choices", len(body["prompt"]))
        values = []
        for ids, row in zip(body["prompt"], rows, strict=True):
            rated = row.get("prompt_logprobs")
            if not isinstance(rated, list) or len(rated) != len(ids):
                n = len(rated) if isinstance(rated, list) else "no"
                raise self._wrong(f"it has {n} log-probs for {len(ids)} tokens ('prompt_logprobs')")
            try:
                found = [
                    entry[str(t)]["logprob"] for t, entry in zip(ids[1:], rated[1:], strict=True)
                ]
            except (KeyError, TypeError) as error:
                raise self._wrong("a log-prob is not that of the token that was sent") from error
            values.append(np.array([np.nan, *self._checked(found)]))
        return values

    def _read_vocabularies(self, body: dict[str, Any], answer: Any) -> list[Doubles]:
        values = []
        for row in self._rows(answer, "choices", len(body["prompt"])):
            try:
                found = row["logprobs"]["top_logprobs"][0]
                ids = np.array([int(key.removeprefix("token_id:")) for key in found])
            except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
                raise self._wrong(
                    "it has no log-probs by token id ('top_logprobs'). Start it with "
                    "--max-logprobs -1"
                ) from error
            # The token that was drawn comes again where others are cut off.
            if len(ids) != self.vocabulary or ids.min() != 0 or ids.max() != self.vocabulary - 1:
                raise self._wrong(
                    f"it has log-probs of {len(ids)} tokens, and the model "
                    f"{self.vocabulary}. Start it with --max-logprobs -1"
                )
            whole = np.empty(self.vocabulary)
            whole[ids] = self._checked(list(found.values()))
            values.append(whole)
        return values

    def _rows(self, answer: Any, name: str, n: int) -> list[dict[str, Any]]:
        """Give the answers of one request, in the order of its questions."""
        rows = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._wrong(f"it has no list {name!r}")
        if len(rows) != n:
            raise self._wrong(f"it has {len(rows)} answers to {n} questions")
        named = answer.get("model", self._model)
        if named != self._model:
            raise self._wrong(f"it is that of the model {named!r}")
        by_index = {i: row for row in rows if isinstance(i := row.get("index"), int)}
        if set(by_index) != set(range(n)):
            raise self._wrong("it does not say which answer is to which question ('index')")
        return [by_index[i] for i in range(n)]

    def _checked(self, values: list[Any]) -> list[float]:
        """Refuse what no log-prob is."""
        for value in values:
            if not isinstance(value, int | float) or not -1e30 < value <= _ROUNDED:
                raise self._wrong(f"a log-prob is {value!r}")
        return values

    def _wrong(self, what: str) -> ValueBiasError:
        return ValueBiasError(
            f"The answer of the server at {self._client.url!r} about the model {self._model!r} is "
            f"not what was asked for: {visible(what)}. Nothing of it is kept; see which server and "
            "version answers, then run the same call again."
        )


def _longest(sequences: Sequence[Integers]) -> tuple[list[Integers], list[int]]:
    """Leave out sequences that others begin with; say for each which of the others it lies in."""
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].tolist(), reverse=True)
    longest: list[Integers] = []
    place = [0] * len(sequences)
    for i in order:
        ids = sequences[i]
        # In falling order what continues a sequence stands right before it.
        if not longest or not np.array_equal(longest[-1][: len(ids)], ids):
            longest.append(ids)
        place[i] = len(longest) - 1
    return longest, place


def short_name(name: object) -> str:
    """Give a model's name, of a path only the end, which does not reveal the user."""
    text = str(name)
    return PurePath(text).name if text.startswith(("/", "~")) else text
