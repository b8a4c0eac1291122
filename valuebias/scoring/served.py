"""Two models of a table, and a server that answers for both by the one that it runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.models.spec import Model
from valuebias.scoring.store import Entry

__all__ = ["check_served_apart", "warn_served_alike"]


def check_served_apart(served: str | None, model: Model, running: dict[str, Model]) -> None:
    """Refuse a server's model for a second one of a request; `running` has those before."""
    if served is None:
        return
    first = running.setdefault(served, model)
    if (first.location, first.revision) != (model.location, model.revision):
        raise ValueBiasError(
            f"The server would be asked for the model {model.name!r}, and runs {served!r}, which "
            f"it would be asked for {first.name!r} as well: both would get the scores of one. Give "
            "the model that it runs alone; start a server for the other, and score it by another "
            "call. A store takes both, one after the other."
        )


def warn_served_alike(
    entries: Sequence[Entry], stored: Sequence[Mapping[str, Any]], *, stacklevel: int
) -> None:
    """Warn where a server calls a new model as it called another one of the store."""
    begun = {entry["name"] for entry in stored if entry["runs"]}
    before = {
        entry["settings"].get("model served"): entry for entry in stored if entry["name"] in begun
    }
    for entry in (one for one in entries if one.name not in begun):
        served = entry.settings.get("model served")
        other = None if served is None else before.get(served)
        if other is not None and other["source"] != entry.source:
            warnings.warn(
                f"The server calls {served!r} what is scored as {entry.name!r} now and was scored "
                f"as {other['name']!r} before. Unless it runs another model since, both get the "
                "scores of one: then score again, in another store, with a server that runs "
                f"{entry.name!r}.",
                ValueBiasWarning,
                stacklevel=stacklevel + 1,
            )
