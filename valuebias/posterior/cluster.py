"""Estimate the specifications of a multiverse by the workers of a Dask cluster."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from valuebias.errors import few
from valuebias.posterior.multiverse_fits import Task
from valuebias.scoring.cluster_client import answer, check_client, dumped, finished

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["estimated"]


def estimated(
    client: Client, task: Task, specs: Sequence[Mapping[str, str]], wanted: Sequence[int]
) -> Generator[tuple[int, dict[str, Any]]]:
    """Give the results of the specifications that are wanted, as they come."""
    from valuebias.posterior.multiverse_worker import FitPlugin, estimate

    name = f"valuebias-{uuid.uuid4().hex}"
    plugin = FitPlugin(name, dumped(task, "What the fits share"))
    client.register_plugin(plugin, name=name)
    futures: dict[Any, int] = {}
    try:
        for i in wanted:
            future = client.submit(estimate, name, specs[i], key=f"{name}-{i}", pure=False)
            futures[future] = i
        for future in finished(client, futures, lambda: check_client(client, None)):
            i = futures.pop(future)
            yield i, answer(future, f"the specification {few(list(specs[i].values()))}")
    finally:
        if client.status == "running":
            with suppress(OSError, TimeoutError):
                client.cancel(list(futures), force=True)
                client.unregister_worker_plugin(name)
