"""Labels of a classification head that are scored beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from valuebias.backends.base import STEPS
from valuebias.errors import ValueBiasError
from valuebias.models.resolve import Resolved
from valuebias.models.spec import ALL_LABELS, Model

__all__ = ["asks_several", "label_coords", "one_a_label"]


def asks_several(model: Model) -> bool:
    """Whether several labels of a model are asked for, or all."""
    return model.label == ALL_LABELS or isinstance(model.label, tuple)


def one_a_label(model: Model, resolved: Resolved) -> list[Model]:
    """Give a model for each label that is asked for; :func:`asks_several`."""
    names = _names(resolved)
    if model.label == ALL_LABELS:
        if not names:
            raise ValueBiasError(
                f"The model {model.name!r} has label='all', and neither its weights nor its "
                "config.json say how many labels it has. Give them: label=[0, 1, 2], by their "
                "numbers."
            )
        chosen: Sequence[int | str] = range(len(names))
    else:
        chosen = model.label if isinstance(model.label, tuple) else ()
    if len(names) == 1 and model.label == ALL_LABELS:
        return [replace(model, label=0)]
    return [replace(model, name=f"{model.name}: {_name(one, names)}", label=one) for one in chosen]


def label_coords(resolved: Resolved, place: str) -> dict[str, str]:
    """Say which label of which model a row is; nothing where a model has one label.

    Rows of one reward model are no models of their own, and a fit has to know.
    """
    source, label = resolved.source, resolved.model.label
    if source.kind != "reward" or label is None or source.labels == 1:
        return {}
    if source.head not in ("logits", "rewards", STEPS):
        return {}
    return {"reward_model": place, "label": _name(source.label, _names(resolved))}


def _names(resolved: Resolved) -> tuple[str, ...]:
    """Name a head's labels; empty where only running the model would tell how many there are."""
    names, source = resolved.model_config.labels, resolved.source
    # What transformers fills in where a configuration says nothing.
    filled_in = names == ("LABEL_0", "LABEL_1")
    # An encoder of transformers has as many labels as that; code of its own whatever it likes.
    own_code = source.own_code and (source.trust_remote_code or not source.pair)
    unsure = own_code or source.head not in ("logits", STEPS)
    return () if unsure and filled_in else names


def _name(label: int | str, names: Sequence[str]) -> str:
    if isinstance(label, str):
        return label
    return names[label] if label < len(names) else str(label)
