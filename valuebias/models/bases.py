"""Bases: the checkpoints that models were trained from, as far as their files say.

Models that were trained from one checkpoint agree with one another more than others do, so an
analysis must know which those are.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias._core.foreign import read_json, reading
from valuebias._core.opening.yaml_text import LONGEST, parse_yaml
from valuebias.backends.gguf.files import read_gguf
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.models.spec import path_of

__all__ = [
    "NOWHERE",
    "Origin",
    "followed",
    "is_checkpoint",
    "local_base",
    "nothing_known",
    "stated",
    "stated_base",
    "warn",
]

_CARD = "README.md"
_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# Folders have these names, owners of models hardly ever.
_FOLDERS = re.compile(
    "(checkpoint|ckpt|exp|experiment|llm|log|model|output|result|run|save)s?"
    "|data|home|mnt|out|pretrained|saved|scratch|tmp|work|workspace"
)
_STEPS = re.compile(r"(checkpoint|step|epoch|global_step)[-_]?\d+|final|merged|last|best")
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Origin:
    """What a model was trained from."""

    base: str = ""  # the checkpoint, as a rule a hub id; empty where no file names one
    said_by: str = ""  # what names it, such as "README.md"; empty where nothing does


NOWHERE = Origin()


def stated_base(folder: Path, file: str | None = None, *, ids: Collection[str] = ()) -> Origin:
    """Read from a model's files what it was trained from.

    The files are, in this order: an adapter's configuration, a GGUF file's metadata, the
    model card's front matter, and the name under which the model was loaded before it was trained
    on. A path, or the model's own name, is not a base; nor is one of several, as in merged models.
    """
    names = {name.rpartition("/")[2].casefold() for name in (*ids, folder.name)}
    for said_by, text in _claims(folder, file):
        base = text.strip()
        if is_checkpoint(base) and base.rpartition("/")[2].casefold() not in names:
            return Origin(base, said_by)
    return NOWHERE


def local_base(name: str, beside: Path | None = None) -> Origin:
    """Read what a model was trained from, without downloading anything."""
    for candidate in (path_of(name), *([beside / name] if beside is not None else [])):
        if os.path.isdir(candidate):
            return stated_base(candidate.resolve(), ids=(name,))
    folder = _cached(name)
    return NOWHERE if folder is None else stated_base(folder, ids=(name,))


def followed(base: str, known: Mapping[str, str]) -> str:
    """Follow bases that are themselves models with a known base down to the last one.

    A reward model may be trained from another reward model, and both then have one base.

    Examples
    --------
    >>> followed("org/rm", {"org/rm": "org/lm-instruct", "org/other": "org/lm"})
    'org/lm-instruct'
    """
    seen = {base}
    while known.get(base) and known[base] not in seen:
        base = known[base]
        seen.add(base)
    return base


def nothing_known(bases: Mapping[str, str]) -> str:
    """Name the models without a base, and how to give one; empty where all have one."""
    lacking = [name for name, base in bases.items() if not base]
    if not lacking or len(bases) < 2:
        return ""
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    return (
        f"No base is known for {len(lacking)} of {len(bases)} models: "
        f"{', '.join(map(repr, lacking[:_SHOWN]))}{more}. Models that were trained from one "
        "checkpoint are not independent, and without it each counts as standing on its own. Name "
        "the checkpoint, size and version included: in a column 'base' of the models table, or as "
        "Model(..., base='google/gemma-2-2b-it')."
    )


def stated(coords: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Give the base of every model, of which several labels are one."""
    return {
        str(said.get("reward_model") or name): str(said.get("base", ""))
        for name, said in coords.items()
    }


def warn(bases: Mapping[str, str], *, stacklevel: int) -> None:
    """Warn once of all models without a base."""
    message = nothing_known(bases)
    if message:
        warnings.warn(message, ValueBiasWarning, stacklevel=stacklevel + 1)


def _claims(folder: Path, file: str | None) -> Iterator[tuple[str, str]]:
    yield "adapter_config.json", _stated(folder / "adapter_config.json", _ADAPTER)
    if file is not None and file.lower().endswith(".gguf"):
        yield "the GGUF file", _of_gguf(folder / file)
        yield _CARD, _of_card(folder / _CARD)
        return
    yield _CARD, _of_card(folder / _CARD)
    yield "config.json", _stated(folder / "config.json", _ADAPTER)
    yield "config.json", _stated(folder / "config.json", "_name_or_path")


_ADAPTER = "base_model_name_or_path"


def is_checkpoint(text: str) -> bool:
    """Whether a name is a hub id, not a path; both may be two names with a slash between."""
    owner, _, name = text.partition("/")
    return (
        _ID.fullmatch(text) is not None
        and _FOLDERS.fullmatch(owner.lower()) is None
        and _STEPS.fullmatch(name.lower()) is None
    )


def _stated(file: Path, key: str) -> str:
    # Whether a configuration is sound is checked where it is needed.
    try:
        content = read_json(file, advice="")
    except ValueBiasError:
        return ""
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, str) else ""


def _of_card(path: Path) -> str:
    try:
        with reading(path, advice=""):
            with path.open(encoding="utf-8") as file:
                lines = file.read(LONGEST).lstrip("\ufeff").splitlines()
            end = lines.index("---", 1) if lines[:1] == ["---"] else 0
            front = parse_yaml("\n".join(lines[1:end]), path.name)
    except ValueBiasError:
        return ""
    stated = front.get("base_model") if isinstance(front, Mapping) else None
    if isinstance(stated, list):
        stated = stated[0] if len(stated) == 1 else None
    return stated if isinstance(stated, str) else ""


def _of_gguf(path: Path) -> str:
    try:
        fields = read_gguf(path).fields
    except ValueBiasError:
        return ""
    field = fields.get
    if field("general.base_model.count") != 1:
        return ""
    address = str(field("general.base_model.0.repo_url") or "").rstrip("/")
    owner, name = field("general.base_model.0.organization"), field("general.base_model.0.name")
    if address:
        return "/".join(address.split("/")[-2:])
    # Both are written with blanks for hyphens.
    return "/".join(str(part).replace(" ", "-") for part in (owner, name)) if owner and name else ""


def _cached(name: str) -> Path | None:
    """Find a hub id's snapshot in the local cache."""
    if _ID.fullmatch(name) is None:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    for file in ("adapter_config.json", _CARD, "config.json"):
        try:
            path = try_to_load_from_cache(name, file)
        except HFValidationError:
            return None
        if isinstance(path, str):
            return Path(path).parent
    return None
