"""What a tokenizer puts before and after every text, and what decides that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias.backends.gguf.files import read_gguf
from valuebias.errors import ValueBiasError
from valuebias.models.tokenizer_files import Loaded, settings_of

__all__ = ["NONE", "Start", "first_tokens", "last_tokens"]

_PROBES = ("a", "7")
_ASKS = "add_bos_token"
_ASKS_END = "add_eos_token"
_GGUF_END = "tokenizer.ggml.add_eos_token"
# The classes that have obeyed such requests whatever tokenizer.json says.
_OBEDIENT = ("Llama", "CodeLlama", "Gemma", "Cohere", "GPTNeoX")


@dataclass(frozen=True, slots=True)
class Added:
    """The tokens before every text, or after every whole one, that no chat template renders."""

    ids: tuple[int, ...]  # in their order; empty where a text has its own first, or last, token
    how: str  # what decided that, to follow a comma
    bare: bool = False  # whether there is only a vocabulary, so that no file decided it

    def before(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens to put before a text: those that it does not begin with."""
        for n in range(min(len(self.ids), len(ids)), 0, -1):
            if tuple(ids[:n]) == self.ids[-n:]:
                return self.ids[:-n]
        # A template that writes one of several means to write the whole beginning.
        return () if len(ids) and ids[0] in self.ids else self.ids

    def after(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens to put after a text: those that it does not end with."""
        return Added(self.ids[::-1], self.how).before(ids[::-1])[::-1]


NONE = Added((), "as the template writes its own")


@dataclass(frozen=True, slots=True)
class Start:
    """What a model's texts begin with."""

    # Names and numbers of the special tokens that all of them begin with, if any.
    tokens: tuple[str, ...]
    how: str  # what decided that, to follow a comma
    # The parts of the tokenizer's file that transformers would have changed.
    changed: tuple[str, ...] = ()
    stilled: tuple[str, ...] = ()  # the settings that would have cut texts at random, switched off
    # The tokens that the tokenizer puts after every conversation and what decided that, if any.
    end: str = ""

    def __str__(self) -> str:
        """Describe it in a sentence or two, to follow the model's name and a colon."""
        first = " ".join(self.tokens) or "no token of the tokenizer's own"
        end = f"; conversations end with {self.end}" if self.end else ""
        text = f"texts begin with {first}, {self.how}{end}."
        if self.changed:
            text += (
                " Left as tokenizer.json has them, where transformers would have changed them: "
                f"{', '.join(self.changed)}."
            )
        if self.stilled:
            text += (
                f" Switched off, because it cuts texts at random: {', '.join(self.stilled)} of the "
                "tokenizer's file."
            )
        return text


def first_tokens(loaded: Loaded, path: Path, name: str) -> Added:
    """Find the tokens that a tokenizer puts before every text, and what decides that."""
    tokenizer = loaded.tokenizer
    ids = _added(tokenizer, name)[0]
    settings = settings_of(path) if path.is_dir() else {}
    setting, bos = settings.get(_ASKS), tokenizer.bos_token_id
    if setting is True and bos is not None and not ids:
        return Added((int(bos),), f"for which tokenizer_config.json asks ({_ASKS}: true)")
    if setting is False and ids and ids == (bos,) and _obeys(settings):
        return Added((), f"as tokenizer_config.json asks ({_ASKS}: false)")
    if loaded.source == "tekken.json" and setting is None and not ids:
        bos = tokenizer.convert_tokens_to_ids("<s>")
        if bos is not None:
            how = "as Mistral's own library does where there is tekken.json alone"
            return Added((int(bos),), how, bare=True)
    if not loaded.is_vocabulary:
        return Added(ids, f"by {loaded.source}")
    if setting is not None:
        asks = f"({_ASKS}: {str(setting).lower()})"
        return Added(ids, f"as tokenizer_config.json asks {asks}")
    how = f"as {type(tokenizer).__name__} of transformers does: {loaded.source} does not say"
    return Added(ids, how, bare=not settings)


def last_tokens(loaded: Loaded, path: Path, name: str) -> Added:
    """Find the tokens put after every text: a reward model was trained to read there."""
    ids = _added(loaded.tokenizer, name)[1]
    eos = loaded.tokenizer.eos_token_id
    setting, by = _asks_end(path)
    if eos is not None and setting is True and not ids:
        return Added((int(eos),), f"for which {by} asks ({_ASKS_END}: true)")
    if setting is False and ids and ids == (eos,):
        return Added((), f"as {by} asks ({_ASKS_END}: false)")
    return Added(ids, f"by {loaded.source}")


def _asks_end(path: Path) -> tuple[object, str]:
    """Read whether settings ask for a last token, where transformers ever obeyed them."""
    if path.is_dir():
        settings = settings_of(path)
        return (settings.get(_ASKS_END) if _obeys(settings) else None), "tokenizer_config.json"
    if path.suffix.lower() == ".gguf":
        return read_gguf(path).fields.get(_GGUF_END), "the GGUF file"
    return None, ""


def _added(tokenizer: Any, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the tokens before and after those of a text itself."""
    around: set[tuple[tuple[int, ...], tuple[int, ...]] | None] = set()
    for text in _PROBES:
        whole = tokenizer(text, return_special_tokens_mask=True)
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        # Not by ids: the added token may be the one for unknown text.
        start = whole["special_tokens_mask"].index(0) if bare else 0
        ids = list(map(int, whole["input_ids"]))
        stop = start + len(bare)
        is_whole = ids[start:stop] == bare
        around.add((tuple(ids[:start]), tuple(ids[stop:])) if is_whole else None)
    (ends, *others) = around
    if ends is None or others:
        raise ValueBiasError(
            f"The tokenizer of {name!r} does not put the same tokens before and after every text. "
            "Give a chat template by template=, which writes its own, or another tokenizer by "
            "tokenizer=."
        )
    return ends


def _obeys(settings: dict[str, Any]) -> bool:
    stated = str(settings.get("tokenizer_class") or "")
    return stated.removesuffix("Fast").removesuffix("Tokenizer") in _OBEDIENT
