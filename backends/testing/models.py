"""What the contract suite hands to its tests: loaded models, and packs in several forms."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest

from valuebias.backends import memory
from valuebias.backends.base import Backend, Kind, LoadedModel, Pack, Source
from valuebias.backends.testing.reference import WholeConversations
from valuebias.backends.testing.samples import lay_out, random_conversations, write_model
from valuebias.errors import ValueBiasError

__all__ = [
    "BEGINNING",
    "ENDING",
    "PADDING",
    "VOCABULARY",
    "Models",
    "Settings",
    "contents",
    "pack_for",
    "padded",
    "read_rewards",
    "sample",
    "sealed",
]

VOCABULARY = 160
PADDING, BEGINNING, ENDING = 0, 1, 2

Conversations = Sequence[Sequence[int]]


class Settings(Protocol):
    """What a class of tests says of its backend."""

    @property
    def refused(self) -> Sequence[tuple[str, str]]:
        """Pairs of architecture and kind that are not supported."""

    def prepare(self, source: Source) -> Source:
        """Turn a model in transformers' format into what the backend loads."""


class Models:
    """Tiny models: written once, and loaded once by the backend and once by the reference."""

    def __init__(self, tests: Settings, engine: Backend, folder: Path) -> None:
        self.engine = engine
        self._tests = tests
        self._folder = folder
        self._loaded: dict[Source, LoadedModel] = {}
        self._references: dict[Path, WholeConversations] = {}

    def load(
        self,
        architecture: str,
        kind: Kind,
        *,
        labels: int = 1,
        label: int = 0,
        read_labels: tuple[int, ...] = (),
        head: str | Callable[[Any], Any] = "logits",
        dtype: str = "float32",
        vocabulary: int = VOCABULARY,
        padding: int | None = PADDING,
        as_own: bool = False,
        own_code: bool = False,
        broken: bool = False,
        skip: bool = True,
    ) -> LoadedModel:
        """Load a model with the backend; skip the test where that is not supported."""
        if kind not in self.engine.kinds:
            with pytest.raises(ValueBiasError):
                self.engine.load(Source(name="any", folder=self._folder, kind=kind))
            pytest.skip(f"the backend does not compute kind={kind!r}, and says so")
        if skip and (architecture, kind) in self._tests.refused:
            pytest.skip(f"the backend does not support {architecture} for kind={kind!r}")
        folder = self._write(architecture, kind, labels, vocabulary, padding, broken)
        source = Source(
            name=folder.name,
            folder=folder,
            kind=kind,
            head=head,
            as_own=as_own,
            own_code=own_code,
            label=label,
            read_labels=read_labels,
            dtype=dtype,
            weights_sha256=_digest(folder),
        )
        if source not in self._loaded:
            self._loaded[source] = self.engine.load(self._tests.prepare(source))
        return self._loaded[source]

    def reference(
        self,
        architecture: str,
        kind: Kind,
        *,
        labels: int = 1,
        vocabulary: int = VOCABULARY,
        padding: int | None = PADDING,
    ) -> WholeConversations:
        """Load a model with transformers."""
        folder = self._write(architecture, kind, labels, vocabulary, padding, broken=False)
        if folder not in self._references:
            self._references[folder] = WholeConversations(folder, kind)
        return self._references[folder]

    def close(self) -> None:
        """Close the backend's models."""
        with memory.set_aside():  # each collects garbage, and there are many
            for model in self._loaded.values():
                model.close()

    def _write(
        self,
        architecture: str,
        kind: Kind,
        labels: int,
        vocabulary: int,
        padding: int | None,
        broken: bool,
    ) -> Path:
        name = f"{architecture}-{kind}-{labels}-{vocabulary}{'-broken' * broken}"
        name += "" if padding == PADDING else f"-padding-{padding}"
        folder = self._folder / name
        if not folder.exists():
            write_model(
                folder,
                architecture,
                kind=kind,
                labels=labels,
                vocabulary=vocabulary,
                special={
                    "pad_token_id": padding,
                    "bos_token_id": BEGINNING,
                    "eos_token_id": ENDING,
                },
                # Where logits differ as much as trained models', small exponentials add up.
                spread=3.0 if vocabulary > VOCABULARY else 1.3,
                broken=broken,
            )
        return folder


def sample(
    *,
    seed: int,
    vocabulary: int = VOCABULARY,
    shared: Sequence[int] = (6, 4, 2),
    branches: int = 3,
) -> list[list[int]]:
    """Make conversations without the special tokens at their ends."""
    conversations = random_conversations(
        seed=seed, vocabulary=vocabulary - 10, shared=shared, branches=branches
    )
    return [[10 + id_ for id_ in ids] for ids in conversations]


def padded(conversations: list[list[int]]) -> list[list[int]]:
    """Put padding into some conversations: at the end, several times there, and elsewhere."""
    for ids, positions in zip(conversations, ([-1], [-1, -2, -3], [0], [3, -1]) * 3, strict=False):
        for position in positions:
            ids[position] = PADDING
    return conversations


def read_rewards(model: LoadedModel, conversations: Conversations) -> npt.NDArray[np.float32]:
    """Score conversations in one pack, in the order given."""
    pack, output = lay_out(conversations)
    return model.forward(pack)[output]


def pack_for(read: str, conversations: Conversations) -> Pack:
    """Lay conversations out to be read as rewards, as log-probs of tokens, or as whole rows."""
    first = [len(ids) - 1 for ids in conversations] if read == "targets" else None
    return lay_out(conversations, first=first)[0]


def contents(pack: Pack) -> dict[str, list[int] | None]:
    """Return what a pack holds, to compare with later."""
    arrays = {field.name: getattr(pack, field.name) for field in fields(pack)}
    return {name: None if array is None else array.tolist() for name, array in arrays.items()}


def sealed(pack: Pack) -> Pack:
    """Make writing into the pack's arrays an error."""
    for field in fields(pack):
        array = getattr(pack, field.name)
        if array is not None:
            array.setflags(write=False)
    return pack


def _digest(folder: Path) -> str:
    """Name the model by all that its scores depend on."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
