"""Models behind a port: a server such as vLLM's, which is sent token ids and never text.

The server holds the weights, so that nothing here is loaded: the tokenizer and the configuration
lie on this machine, and that the server means the same by its token ids is looked into before any
work is done.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias.backends.base import Backend, LoadedModel, Source
from valuebias.backends.configuration import stated_class
from valuebias.backends.server_client import Client, Refused, shown
from valuebias.backends.server_model import ServedModel, short_name
from valuebias.errors import ValueBiasError

__all__ = ["Server"]

Integers = npt.NDArray[np.int64]

_ADDRESS = "http://127.0.0.1:8000"
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
    several_labels: ClassVar[bool] = True
    suits: ClassVar[str] = (
        "a server runs the model already, has the cards, or the model is too large for this machine"
    )

    address: str | None = None
    model: str | None = None
    key: str | None = None
    in_flight: int = 8
    batch: int = 16
    retries: int = 5
    timeout: float = 600.0
    again: float = 0.01
    drift: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what no request could be sent with, or would be waited for without end."""
        for name in ("address", "model", "key"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ValueBiasError(
                    f"{name} of a server is of type {type(value).__name__}; expected text."
                )
        check_whole(self.in_flight, "in_flight", least=1)
        check_whole(self.batch, "batch", least=1)
        check_whole(self.retries, "retries", least=0)
        seconds = "a number of seconds above 0, a day at most"
        check_number(self.timeout, "timeout", seconds, least=0, above=True, most=86_400)
        check_number(self.again, "again", "a share between 0 and 1", least=0, most=1)
        check_number(self.drift, "drift", "a number of at least 0", least=0)

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

    def refuses(self, source: Source) -> str | None:
        """Say why it cannot score a model; see :meth:`Backend.refuses`.

        Parameters
        ----------
        source : Source
            What is known of the model.

        Returns
        -------
        str or None
            Why a server gives no such scores; None where it may.
        """
        if source.kind == "reward" and source.head != "logits":
            return (
                f"{source.name}: found head={source.head!r}, but a server gives the logits of its "
                'classification head and nothing else. Use backend="torch" for other heads.'
            )
        if source.own_code:
            return (
                f"{source.name}: its reward is what its own code makes of a whole conversation, "
                'which a server does not promise to run. Use backend="torch".'
            )
        try:
            _vocabulary(source)
        except ValueBiasError as error:
            return str(error)
        named = stated_class(source.folder)
        if source.kind == "reward" and named.endswith("ForCausalLM"):
            return (
                f"{source.name}: its config.json says that it is a language model ({named}), "
                "of which a server gives no rewards. Score it with kind='logprob'. If the server "
                "was told that it is a classifier, write its class into config.json, as "
                "'architectures'."
            )
        return None

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        """Say how to start a server that scores a model; see :meth:`Backend.needs`.

        Parameters
        ----------
        source : Source
            What is known of the model.
        location : str
            Where it is, as the user gave it.
        revision : str, optional
            Of the hub's repository.

        Returns
        -------
        tuple of str
            The command, and what vLLM itself takes.
        """
        rewards = ("--runner", "pooling")
        logprobs = ("--max-logprobs", "-1", "--no-enable-prefix-caching")
        words = (
            *("python", "-m", "vllm.entrypoints.openai.api_server", "--model", location),
            *(("--revision", revision) if revision else ()),
            *(rewards if source.kind == "reward" else logprobs),
            *("--dtype", source.dtype),
        )
        return (
            f"A server that runs the model: {shlex.join(words)}",
            "vLLM is installed where the server runs, in an environment of its own, best with a "
            "CUDA card, which holds the weights.",
        )

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
        name, root = short_name(about["id"]), short_name(about.get("root") or about["id"])
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
        self.check(source)
        vocabulary = _vocabulary(source)
        client = self._client()
        try:
            about = _find(client, source, self.model)
            served = ServedModel(
                source,
                client,
                about,
                vocabulary,
                batch=self.batch,
                again=self.again,
                drift=self.drift,
            )
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
