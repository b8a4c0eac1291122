"""Models behind a port: a server such as vLLM's, which is sent token ids and never text.

The server holds the weights, so that nothing here is loaded: the tokenizer and the configuration
lie on this machine, and that the server means the same by its token ids is looked into before any
work is done. What it answers is doubted: a share of the conversations is asked for again in another
order, and an answer that is not of the form that was asked for stops the run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_known
from valuebias._core.text import visible
from valuebias.backends.base import Backend, LoadedModel, Pack, Source, conversations
from valuebias.backends.server_client import Client, Refused, chunks, shown
from valuebias.errors import ValueBiasError

__all__ = ["Server"]

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_ADDRESS = "http://127.0.0.1:8000"
_PREFIX_CACHE = re.compile(
    r'^vllm:cache_config_info\{.*enable_prefix_caching="(\w+)"', re.MULTILINE
)
# The same number, but for how it was written: what a server answers that does not do as it is told.
_SAME = 1e-7
_ROUNDED = 1e-3  # above zero, where rounding may leave a log-prob
_ADVICE = (
    "Start one, such as `python -m vllm.entrypoints.openai.api_server --model FOLDER "
    "--dtype float32`, or give the address of another."
)


@dataclass(frozen=True)
class Server(Backend):
    """Score with a model that a server runs: vLLM, or another that has the same routes.

    Rewards are the raw logits of ``/classify``, log-probs those of the prompt's own tokens from
    ``/v1/completions``. The model's configuration and tokenizer must lie on this machine (or on the
    hub), its weights need not.

    Parameters
    ----------
    address : str, optional
        Where the server is; the variable ``VALUEBIAS_SERVER``, or port 8000 of this machine, if not
        given. A user and a password in it are sent to the server and shown nowhere.
    model : str, optional
        What the server calls the model; needed where it serves several, none of which has the
        model's own name.
    key : str, optional
        The server's API key; the variable ``VALUEBIAS_SERVER_KEY`` if not given.
    in_flight : int, default 8
        How many requests may wait for their answers at once.
    batch : int, default 16
        How many conversations one request has.
    retries : int, default 5
        How often a request is sent again where the server is busy or the connection breaks, after a
        while that doubles each time.
    timeout : float, default 600
        How many seconds an answer may take.
    again : float, default 0.01
        Share of the conversations that are scored once more, in another order ...
    drift : float, default 0.01
        ... and how far the two scores may be apart, in the unit of the reward or in nats.

    Notes
    -----
    vLLM must be started with ``--max-logprobs -1`` for log-probs of whole vocabularies. Where it
    keeps the beginnings of conversations (prefix caching), log-probs may depend on what was asked
    before; ``--no-enable-prefix-caching`` prevents that.

    Examples
    --------
    >>> Server("http://me:secret@127.0.0.1:8000")
    Server('http://127.0.0.1:8000')
    >>> import valuebias
    >>> scores = valuebias.score(
    ...     "models/my-rm", backend=Server("http://127.0.0.1:8000")
    ... )  # doctest: +SKIP
    """

    name: ClassVar[str] = "vllm"
    description: ClassVar[str] = "models behind a port: vLLM, or a server with the same routes"
    url: ClassVar[str] = "https://docs.vllm.ai"
    packed: ClassVar[bool] = False
    weights_here: ClassVar[bool] = False

    address: str | None = None
    model: str | None = None
    key: str | None = None
    in_flight: int = 8
    batch: int = 16
    retries: int = 5
    timeout: float = 600.0
    again: float = 0.01
    drift: float = 0.01

    def __repr__(self) -> str:
        """Name the server, without what only it may know."""
        return f"Server({shown(self._where)!r})"

    @property
    def _where(self) -> str:
        return self.address or os.environ.get("VALUEBIAS_SERVER") or _ADDRESS

    def _client(self) -> Client:
        return Client(
            self._where,
            key=self.key or os.environ.get("VALUEBIAS_SERVER_KEY"),
            in_flight=self.in_flight,
            retries=self.retries,
            timeout=self.timeout,
        )

    @property
    def extra(self) -> str:  # type: ignore[override]
        """Name the extra to install; nothing where only a server is missing."""
        return "" if _can_ask() else "vllm"

    def available(self) -> str | None:
        """Return why this backend cannot run here.

        Returns
        -------
        str or None
            None where a server answers.
        """
        if not _can_ask():
            return "urllib3 is not installed"
        client = self._client()
        try:
            client.get("/v1/models", retries=0, timeout=2.0)
        except Refused:
            return None  # somebody is there; what is wrong is said on loading
        except ValueBiasError:
            return f"no server answers at {client.url!r}. {_ADVICE}"
        finally:
            client.close()
        return None

    def devices(self) -> tuple[str, ...]:
        """Name the devices.

        Returns
        -------
        tuple of str
            The server's own, whatever it is.
        """
        return ("server",)

    def dtypes(self) -> tuple[str, ...]:
        """Name the arithmetic.

        Returns
        -------
        tuple of str
            Whatever the server was started with.
        """
        return ("as served",)

    def served(self, source: Source) -> str:
        """Find what the server calls a model.

        Parameters
        ----------
        source : Source
            What is known of it here.

        Returns
        -------
        str
            Its name there; of a path only the end.

        Raises
        ------
        ValueBiasError
            If no server answers, or it runs no such model.
        """
        client = self._client()
        try:
            about = _find(client, source, self.model)
        finally:
            client.close()
        name, root = _short(about["id"]), _short(about.get("root") or about["id"])
        return name if root == name else f"{name} ({root})"

    def check_tokens(self, source: Source, samples: Mapping[str, Integers]) -> None:
        """Compare token ids with the server's, where it can be asked for them.

        Parameters
        ----------
        source : Source
            What is known of the model here.
        samples : mapping of str to numpy.ndarray of int64
            Texts, and their tokens by the tokenizer here, without any that it puts around them.

        Raises
        ------
        ValueBiasError
            If the server has other ids for them.
        """
        client = self._client()
        try:
            name = _find(client, source, self.model)["id"]
            for text, ids in samples.items():
                asked = {"model": name, "prompt": text, "add_special_tokens": False}
                try:
                    answer = client.post("/tokenize", asked)
                except Refused as error:
                    if error.status in (404, 405):
                        return  # other servers have no such route
                    raise
                theirs = answer.get("tokens") if isinstance(answer, dict) else None
                if theirs != ids.tolist():
                    raise ValueBiasError(
                        f"The server at {client.url!r} takes {text!r} for the tokens {theirs}, the "
                        f"tokenizer of {source.name!r} for {ids.tolist()}: it runs another model, "
                        "or one with another tokenizer. Give the model that it runs, or its "
                        "tokenizer by tokenizer=."
                    )
        finally:
            client.close()

    def load(self, source: Source) -> LoadedModel:
        """Look into what a server runs.

        Parameters
        ----------
        source : Source
            Where the model's configuration is, and what to compute.

        Returns
        -------
        LoadedModel
            Ready to be asked.

        Raises
        ------
        ValueBiasError
            If the server runs another model, answers rewards squeezed between 0 and 1, or cannot
            compute what is wanted.
        """
        if source.kind == "reward" and source.head != "logits":
            raise ValueBiasError(
                f"{source.name}: found head={source.head!r}, but a server gives the logits of its "
                'classification head and nothing else. Use backend="torch" for other heads.'
            )
        if source.own_code:
            raise ValueBiasError(
                f"{source.name}: its reward is what its own code makes of a whole conversation, "
                'which a server does not promise to run. Use backend="torch".'
            )
        vocabulary = _vocabulary(source)
        client = self._client()
        try:
            about = _find(client, source, self.model)
            served = _Served(self, source, client, about, vocabulary)
            served.check()
        except BaseException:
            client.close()
            raise
        return served


def _can_ask() -> bool:
    return importlib.util.find_spec("urllib3") is not None


def _find(client: Client, source: Source, wanted: str | None) -> dict[str, Any]:
    """Find a model among those that a server runs: by name, or as the only one."""
    answer = client.get("/v1/models")
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "id" in r for r in rows):
        raise ValueBiasError(
            f"GET /v1/models at {client.url!r} did not answer a list of models. Expected a server "
            f"such as vLLM's. {_ADVICE}"
        )
    by_name = {str(row["id"]): row for row in rows}
    if wanted is not None:
        check_known(wanted, by_name, f"The server at {client.url!r} runs no model {wanted!r}.")
        return dict(by_name[wanted])
    if len(rows) == 1:
        return dict(rows[0])
    alike = [row for name, row in by_name.items() if PurePath(name).name == source.name]
    if len(alike) == 1:
        return dict(alike[0])
    raise ValueBiasError(
        f"The server at {client.url!r} runs {', '.join(map(repr, by_name)) or 'no model'}, none of "
        f"which is called {source.name!r}. Say which: Server(model=...)."
    )


def _short(name: object) -> str:
    """Give a model's name, of a path only the end, which does not reveal the user."""
    text = str(name)
    return PurePath(text).name if text.startswith(("/", "~")) else text


def _vocabulary(source: Source) -> int:
    """Read how many token ids there are from the model's configuration."""
    path = source.folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
        size = config.get("vocab_size") or config["text_config"]["vocab_size"]
        return int(size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueBiasError(
            f"{source.name}: its config.json does not say how many tokens there are (vocab_size): "
            f"{type(error).__name__}. A server needs the files of a model in transformers' format, "
            "but for its weights; give the folder or the hub id of these."
        ) from error


class _Served(LoadedModel):
    """A model on a server."""

    def __init__(
        self,
        options: Server,
        source: Source,
        client: Client,
        about: Mapping[str, Any],
        vocabulary: int,
    ) -> None:
        self.device, self.dtype, self.vocabulary = "server", "as served", vocabulary
        self.batch_tokens = 2**14
        self._options, self._source, self._client, self._about = options, source, client, about
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
        except Refused:
            pass
        else:
            raise ValueBiasError(
                f"The server at {self._client.url!r} knows the token {self.vocabulary}; the "
                f"configuration of {self._source.name!r} has the tokens 0 to "
                f"{self.vocabulary - 1}. It runs another model; give the files of that one."
            )
        if self._source.kind != "reward":
            return
        plain, activated = (self._rewards(known, activation=on)[0] for on in (False, True))
        if abs(plain - activated) < _SAME and 0.0 <= plain <= 1.0:
            raise ValueBiasError(
                f"The server at {self._client.url!r} answers {plain:.6g} with and without "
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
            return np.array(self._twice(before, self._rewards), dtype=np.float32)
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
            "model": _short(self._model),
            "max_model_len": self._about.get("max_model_len"),
            "prefix caching": cache[1] == "True" if cache else None,
            "allowed drift": self._options.drift,
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
        drawn = np.random.default_rng(seed).random(len(sequences)) < self._options.again
        chosen = np.flatnonzero(drawn)[::-1]
        if self._first and self._options.again > 0 and not len(chosen):
            chosen = np.array([len(sequences) - 1])
        self._first = False
        for i, value in zip(chosen, ask([sequences[i] for i in chosen]), strict=True):
            first, second = np.atleast_1d(values[i]), np.atleast_1d(value)
            gaps = np.abs(first - second)
            at = int(np.nanargmax(gaps))  # a prompt's first token has no log-prob
            if gaps[at] > self._options.drift:
                raise ValueBiasError(
                    f"The server at {self._client.url!r} gave {first[at]:.6g} for a conversation "
                    f"and, asked again, {second[at]:.6g}: more than "
                    f"drift={self._options.drift:g} apart. Start it with --dtype float32 and "
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

    def _rewards(self, sequences: Sequence[Integers], *, activation: bool = False) -> list[float]:
        body = {"use_activation": activation}
        return self._post(
            "/classify", body, "input", sequences, self._options.batch, self._read_rewards
        )

    def _logprobs(self, sequences: Sequence[Integers]) -> list[Doubles]:
        """Ask for the log-prob of each token given those before."""
        body = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        return self._post(
            "/v1/completions", body, "prompt", sequences, self._options.batch, self._read_logprobs
        )

    def _vocabularies(self, sequences: Sequence[Integers]) -> list[Doubles]:
        """Ask for the log-prob of every token that may come next."""
        # By the tokens' texts some would share a key, and all but one of them would be lost.
        body = {
            "max_tokens": 1, "temperature": 0.0, "logprobs": -1, "return_tokens_as_token_ids": True,
        }  # fmt: skip
        return self._post("/v1/completions", body, "prompt", sequences, 1, self._read_vocabularies)

    def _read_rewards(self, body: dict[str, Any], answer: Any) -> list[float]:
        asked = body["input"]
        rows = self._rows(answer, "data", len(asked))
        usage = answer.get("usage")
        counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        sent = sum(map(len, asked))
        if counted is not None and counted != sent:
            raise self._wrong(f"it counts {counted} tokens where {sent} were sent")
        return [self._read_reward(row.get("probs")) for row in rows]

    def _read_reward(self, logits: Any) -> float:
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
        value = float(logits[self._source.label])
        if not np.isfinite(value):
            raise self._wrong(f"a reward is {value}")
        return value

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
        by_index = {row.get("index"): row for row in rows}
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
