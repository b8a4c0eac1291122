"""Fit by the workers of a Dask cluster, each fit by itself."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from valuebias.scoring.cluster_client import by_workers, check_client, dumped

if TYPE_CHECKING:
    from distributed import Client

    from valuebias.posterior.cluster_worker import Task

__all__ = ["check", "estimated"]

Key = TypeVar("Key")


def check(client: Client) -> None:
    """Refuse what cannot be worked with, before any work is done."""
    check_client(client, None)


def estimated(
    client: Client, task: Task, asked: Mapping[Key, Any], said: Mapping[Key, str]
) -> Generator[tuple[Key, dict[str, Any]]]:
    """Give the results of all that is asked, as they come; `said` names each in errors."""
    from valuebias.posterior.cluster_worker import FitPlugin, estimate

    plugin = FitPlugin(f"valuebias-{uuid.uuid4().hex}", dumped(task, "What the fits share"))
    yield from by_workers(client, plugin, estimate, asked, said.__getitem__, lambda: check(client))
