"""What is looked at before workers of a Dask cluster score: the client, and who its workers are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from valuebias._core.provenance import versions
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, few, shown
from valuebias.models.spec import Model, path_of
from valuebias.scoring.records import SCORE_PACKAGES

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "AGAIN",
    "PATIENCE",
    "absolute",
    "by_workers",
    "cancel",
    "check_client",
    "check_versions",
    "connected",
    "dumped",
    "told",
    "workers_of",
]

_CONNECT = 10.0
"""Seconds in which a scheduler must answer."""
_TRIES = 3
"""How often all workers are told something, should one of them be lost while it is told."""
_WAIT = 30.0
"""Seconds in which the first worker must have come."""
PATIENCE = 60.0
"""Seconds in which a worker must have come back, where all are gone."""
_FIT_PACKAGES = frozenset(("formulaic", "numba", "numpy", "nutpie", "pymc", "scipy", "valuebias"))
"""On which the draws of a fit may depend."""
AGAIN = "What was finished is kept in the store, if one was given; run the same call again."


def _client_class() -> type[Client]:
    try:
        import distributed
    except ImportError as error:
        raise ValueBiasError(
            f"Workers are those of Dask, which is not installed here ({error}). Install it with: "
            'pip install "valuebias[cluster]"'
        ) from error
    made: type[Client] = distributed.Client
    return made


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler at an address while the block runs."""
    make = _client_class()
    try:
        client = make(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueBiasError(
            f"No scheduler of Dask answers at {shown(address)} ({error}). Start one, `dask "
            "scheduler`, which says its address, such as tcp://10.0.0.1:8786; and workers, `dask "
            "worker ADDRESS`."
        ) from error
    with client:
        yield client


def check_client(client: Any, engine: Backend | None) -> None:
    """Refuse what cannot be worked with, before any work is done; `engine` scores, None fits."""
    if not isinstance(client, _client_class()):
        raise ValueBiasError(
            f"client is {shown(client)}; expected a distributed.Client. Make one: "
            'Client("tcp://HOST:8786") of a scheduler\'s address, Client(cluster) of a cluster.'
        )
    if client.asynchronous:
        raise ValueBiasError(
            "The client is asynchronous, and this call waits for its workers. Make it by "
            "Client(..., asynchronous=False), outside a coroutine."
        )
    if client.status != "running":
        raise ValueBiasError(
            f"The client is not connected to a scheduler (it is {client.status}). Make a new one, "
            "and leave its block (`with Client(...) as client:`) only after the call."
        )
    if engine is not None and not engine.weights_here:
        raise ValueBiasError(
            f"The backend {engine.name!r} sends its requests to a server, which does the work, so "
            "that workers would bring nothing. Score without client=; in_flight= says how many "
            "requests the server has at once.",
            in_shell=f"The backend {engine.name!r} sends its requests to a server, which does the "
            "work, so that workers would bring nothing. Leave --scheduler out.",
        )
    if engine is not None:
        dumped(engine, f"The backend {shown(engine)}")
    _wait_for_one(client)
    check_versions(client, engine, list(workers_of(client)))


def absolute(model: Model) -> tuple[Model, tuple[str, ...]]:
    """Write a model's paths so that they mean the same elsewhere; give those that must be there."""
    places = {key: getattr(model, key) for key in ("location", "adapter", "tokenizer")}
    paths: dict[str, Any] = {
        key: os.path.abspath(path_of(place))
        for key, place in places.items()
        if place is not None and path_of(place).exists()
    }
    return replace(model, **paths), tuple(paths.values())


def dumped(content: Any, what: str) -> bytes:
    """Make bytes of what workers are told."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(content))
    except Exception as error:
        raise ValueBiasError(
            f"{what} cannot be sent to workers ({type(error).__name__}: {error}). Give one that "
            "can be pickled: of numbers, texts and tensors, without open files, locks or "
            "connections."
        ) from error


@contextmanager
def told(client: Client, plugin: Any) -> Iterator[None]:
    """Tell all workers what they are to do, those to come included; in the end that it is over."""
    for left in reversed(range(_TRIES)):
        try:
            client.register_plugin(plugin, name=plugin.name)
            break
        except (OSError, TimeoutError):
            # A worker was lost just then, unless the scheduler was.
            workers_of(client)
            if not left:
                raise
    try:
        yield
    finally:
        if client.status == "running":
            # A worker that is about to join has not been told yet: a KeyError.
            with suppress(OSError, TimeoutError, KeyError):
                client.unregister_worker_plugin(plugin.name)


def workers_of(client: Client) -> dict[str, int]:
    """Name the workers that are there now, and their numbers of threads."""
    if client.status == "running":
        with suppress(OSError, TimeoutError):
            return dict(client.nthreads())
    raise ValueBiasError(f"The scheduler is gone (the client is {client.status}). {AGAIN}")


def _wait_for_one(client: Client) -> None:
    end = time.monotonic() + _WAIT
    while not workers_of(client):
        if time.monotonic() > end:
            address = client.scheduler.address
            raise ValueBiasError(
                f"The scheduler {address} has no workers, and none came in {_WAIT:.0f} s. Start "
                f"some: `dask worker {address}` on each machine, or cluster.scale(n). Where they "
                "have to queue, wait for them before: client.wait_for_workers(1)."
            )
        time.sleep(0.1)


def check_versions(client: Client, engine: Backend | None, workers: Sequence[str]) -> None:
    """Refuse workers on which the same model may give other numbers."""

    # Inside a function, so that it is sent as it is: a worker may lack valuebias.
    def of_worker() -> Any:
        try:
            from valuebias._core.provenance import versions
        except ImportError as error:
            return f"{type(error).__name__}: {error}"
        return versions()

    own = versions()
    answers = client.run(of_worker, workers=list(workers), on_error="return") if workers else {}
    for worker, found in answers.items():
        if isinstance(found, str):
            raise ValueBiasError(
                f"The worker {worker} cannot import valuebias ({found}). Install valuebias "
                f"{own.get('valuebias', '')} there, with the same extras."
            )
        if isinstance(found, Exception):
            # Gone in the meantime, as far as anybody can tell.
            continue
        names = [name for name in {**own, **found} if _matters(name, engine)]
        unlike = [name for name in names if own.get(name) != found.get(name)]
        if unlike:
            said = [f"{name} {found.get(name, '(none)')}" for name in unlike]
            here = [f"{name} {own.get(name, '(none)')}" for name in unlike]
            raise ValueBiasError(
                f"The worker {worker} has {few(said, quote=False)}; here it is "
                f"{few(here, quote=False)}. What one call computes is computed by one version: "
                "install the same on all workers, and start them again."
            )


def _matters(name: str, engine: Backend | None) -> bool:
    if engine is None:
        return name in _FIT_PACKAGES
    of_onnx = engine.extra in ("onnx", "optimum") or not name.startswith(("onnx", "optimum"))
    return name in SCORE_PACKAGES and of_onnx


def by_workers(
    client: Client,
    plugin: Any,
    do: Callable[[str, Any], Any],
    asked: Mapping[Any, Any],
    say: Callable[[Any], str],
    check: Callable[[], None],
) -> Generator[tuple[Any, Any]]:
    """Have workers that are told by a plugin do all that is asked; give each answer as it comes.

    `say` names what is under a key, for errors; `check` refuses workers that come later.
    """
    name, futures = plugin.name, dict[Any, Any]()
    with told(client, plugin):
        try:
            for i, (key, each) in enumerate(asked.items()):
                future = client.submit(do, name, each, key=f"{name}-{i}", pure=False)
                futures[future] = key
            for future in _finished(client, futures, check):
                key = futures.pop(future)
                yield key, _answer(future, say(key))
        finally:
            cancel(client, futures)


def _finished(
    client: Client, futures: Mapping[Any, Any], check: Callable[[], None]
) -> Iterator[Any]:
    """Give futures as they finish; check new workers, and give up where none is left.

    Each is taken out of `futures` by whoever gets it.
    """
    from distributed import wait

    known, seen = set(workers_of(client)), time.monotonic()
    while futures:
        done: set[Any] = set()
        with suppress(TimeoutError):
            done = wait(list(futures), timeout=1.0, return_when="FIRST_COMPLETED").done
        present = set(workers_of(client))
        if present - known:
            check()
        known = present
        if present:
            seen = time.monotonic()
        elif time.monotonic() - seen > PATIENCE:
            raise ValueBiasError(
                f"All workers are gone, and none came back in {PATIENCE:.0f} s. What is finished "
                "is kept: start workers, and run the same call again."
            )
        yield from [future for future in done if future.status in ("finished", "error")]


def _answer(future: Any, what: str) -> Any:
    """Give what a worker found, or raise what it raised."""
    from distributed import KilledWorker

    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        raise ValueBiasError(
            f"Worker after worker was lost with {what}, so that it is not tried again. The logs of "
            "the workers say why they ended; one with too little memory is killed by the system "
            "or by Dask. Give workers more memory, and run the same call again."
        ) from error
    if error is not None:
        raise error
    found = future.result()
    future.release()
    return found


def cancel(client: Client, futures: Iterable[Any]) -> None:
    """Cancel what is no longer wanted."""
    wanted = list(futures)
    if wanted and client.status == "running":
        with suppress(OSError, TimeoutError):
            client.cancel(wanted, force=True)
