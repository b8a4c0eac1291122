"""Requests to a server: bounded, tried again where that helps, without its address's secrets."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from valuebias._core.text import visible
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    import urllib3

__all__ = ["Client", "Refused", "chunks", "shown"]

_BUSY = (429, 500, 502, 503, 504)
_HIDDEN = "…"
_LONGEST = 300  # characters of an answer that a message repeats


class Refused(ValueBiasError):
    """The server answered that it will not do what was asked.

    Parameters
    ----------
    message : str
        What was asked and what came.
    status : int
        The status of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def shown(url: str) -> str:
    """Give an address without a user, a password and whatever follows its path.

    Nothing is shown of one in which it cannot be told what is secret.

    Examples
    --------
    >>> shown("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    >>> shown("https://me:sec/ret@host:8000")
    '…'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return _HIDDEN
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return _HIDDEN
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Client:
    """Asks one server, with so many requests at once as it may have in flight.

    Answers that a server is busy, and connections that break, are tried again after a while that
    doubles each time.
    """

    def __init__(
        self, url: str, *, key: str | None, in_flight: int, retries: int, timeout: float
    ) -> None:
        import urllib3

        parts = _parts(url)
        self.url = shown(url).rstrip("/").removesuffix("/v1")
        self._in_flight = in_flight
        self._retries = retries
        headers = {"content-type": "application/json"}
        if parts.username is not None:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        # Of a file, or of a shell, a key often has a line break at its end.
        key = (key or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueBiasError(
                "The key of the server has a line break in it, or a character beyond ASCII, which "
                "cannot be sent. Copy it once more: into VALUEBIAS_SERVER_KEY, or key=."
            )
        if key:
            headers["authorization"] = f"Bearer {key}"
        self._pool = urllib3.PoolManager(
            maxsize=in_flight,
            block=True,
            headers=headers,
            timeout=urllib3.Timeout(connect=10.0, read=timeout),
        )

    def get(self, path: str, *, retries: int | None = None, timeout: float | None = None) -> Any:
        """Ask for what stands at a path; None where there is nothing."""
        try:
            return self._ask("GET", path, None, retries=retries, timeout=timeout)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a question and give the answer, read as JSON."""
        return self._ask("POST", path, body)

    def post_all(
        self,
        path: str,
        bodies: Sequence[dict[str, Any]],
        read: Callable[[dict[str, Any], Any], Any],
    ) -> list[Any]:
        """Send many, some at a time; give what ``read`` makes of each question and its answer."""

        def one(body: dict[str, Any]) -> Any:
            return read(body, self.post(path, body))

        executor = ThreadPoolExecutor(self._in_flight)
        try:
            return list(executor.map(one, bodies))
        finally:
            # After an error or an interrupt nobody waits for answers that are on their way.
            executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        import urllib3

        what = f"{method} {path} at {self.url!r}"
        extra: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=None if body is None else json.dumps(body),
                retries=_retry(self._retries if retries is None else retries),
                **extra,
            )
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            late = isinstance(reason, urllib3.exceptions.ReadTimeoutError)
            raise ValueBiasError(
                f"{what} has no answer: {'it took too long' if late else type(reason).__name__}. "
                "Start the server, or see whether it still runs; then run the same call again."
            ) from error
        if answer.status >= 400:
            raise Refused(
                f"{what} answered {answer.status}: {_message(answer.data)}. Expected an answer "
                "with status 200.",
                answer.status,
            )
        return _parsed(answer, what)


def _parts(url: str) -> SplitResult:
    """Take an address apart; refuse what is none."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or shown(url) == _HIDDEN:
        raise ValueBiasError(
            f"The address of a server is {shown(url)!r}; expected one such as "
            "'http://127.0.0.1:8000'. In a user or a password write '/', '?', '#' and '@' as %2F, "
            "%3F, %23 and %40."
        )
    return parts


def _retry(times: int) -> urllib3.Retry:
    import urllib3

    return urllib3.Retry(
        total=times,
        status_forcelist=_BUSY,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_max=30,
        raise_on_status=False,
    )


def _parsed(answer: Any, what: str) -> Any:
    kind = str(answer.headers.get("content-type", ""))
    try:
        return json.loads(answer.data) if "json" in kind else answer.data.decode()
    except (ValueError, RecursionError) as error:
        raise ValueBiasError(
            f"{what} answered what is not JSON: {_message(answer.data)}. Expected the answer of a "
            "server such as vLLM's; see whether something else answers at that address."
        ) from error


def _message(content: bytes) -> str:
    """Give the beginning of what a server said, which may be anything."""
    text = content.decode(errors="replace")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, dict):
        inner = read.get("error", read)
        text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    text = visible(" ".join(text.split()))
    return text[:_LONGEST] + "…" if len(text) > _LONGEST else text.rstrip(".") or "nothing"


def chunks(items: Iterable[Any], size: int) -> list[list[Any]]:
    """Cut a sequence into lists of some length."""
    whole = list(items)
    return [whole[start : start + size] for start in range(0, len(whole), size)]
