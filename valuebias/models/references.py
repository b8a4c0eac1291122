"""References of policies: the models that they were held to in training."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields, replace

from valuebias.errors import ValueBiasError
from valuebias.models.spec import Model, path_of

__all__ = ["reference_of", "references_of"]

# A policy's conversations are its reference's as well, so that these cannot differ as a rule.
_SHARED = ("template", "prefix", "dtype", "tokenizer")
_DEFAULTS = {field.name: field.default for field in fields(Model)}


def reference_of(policy: Model) -> Model:
    """Make a policy's reference a model by itself; what it leaves open is the policy's.

    Examples
    --------
    >>> policy = Model("org/dpo", reference="org/sft@0a1b2c3", template="plain", beta=0.1)
    >>> reference = reference_of(policy)
    >>> reference.location, reference.revision, reference.template
    ('org/sft', '0a1b2c3', 'plain')
    """
    given = policy.reference
    if given is None:
        raise ValueBiasError(f"The model {policy.name!r} has no reference. Give reference=.")
    if isinstance(given, str):
        location, at, revision = given.rpartition("@")
        pinned = bool(at and location and revision) and not os.path.exists(path_of(given))
        given = Model(location, revision=revision) if pinned else Model(given)
    left_open = [field for field in _SHARED if getattr(given, field) == _DEFAULTS[field]]
    return replace(given, **{field: getattr(policy, field) for field in left_open})


def references_of(policies: Iterable[Model]) -> dict[str, Model]:
    """Give the reference of each policy, by the policy's name; equal ones are one model."""
    references: dict[str, Model] = {}
    known: dict[str, tuple[str, Model]] = {}
    for policy in policies:
        reference = reference_of(policy)
        other, first = known.setdefault(reference.name, (policy.name, reference))
        if first != reference:
            differing = [k for k in _DEFAULTS if getattr(reference, k) != getattr(first, k)]
            raise ValueBiasError(
                f"The references of {other!r} and {policy.name!r} are both called "
                f"{reference.name!r} and differ in {', '.join(differing)}. Give them alike, "
                "or one as a mapping of its fields with a 'name' of its own."
            )
        references[policy.name] = first
    return references
