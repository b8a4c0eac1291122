"""What a tokenizer puts before every text, and what decides that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias.errors import ValueBiasError
from valuebias.scoring.tokenizer_files import Loaded, settings_of

__all__ = ["NO_TOKENS", "FirstTokens", "Start", "first_tokens"]

_PROBES = ("a", "7")
_ASKS = "add_bos_token"
# The classes that have obeyed a request for no first token whatever tokenizer.json says.
_OBEDIENT = ("Llama", "CodeLlama", "Gemma", "Cohere", "GPTNeoX")


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """The tokens before every text that no chat template renders.

    Attributes
    ----------
    ids : tuple of int
        In their order; empty where a text begins with its own first token.
    how : str
        What decided that, to follow a comma.
    bare : bool
        Whether there is nothing but a vocabulary, so that no file decided it.
    """

    ids: tuple[int, ...]
    how: str
    bare: bool = False

    def before(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Give those that are to be put before a text: the ones that it does not begin with.

        Parameters
        ----------
        ids : sequence of int
            The text's own tokens.

        Returns
        -------
        tuple of int
            All of them, or those before the ones that the text writes itself.
        """
        for written in range(min(len(self.ids), len(ids)), 0, -1):
            if tuple(ids[:written]) == self.ids[-written:]:
                return self.ids[:-written]
        # Whoever writes one of several means to write the beginning.
        return () if len(ids) and ids[0] in self.ids else self.ids


NO_TOKENS = FirstTokens((), "as the template writes its own")


@dataclass(frozen=True, slots=True)
class Start:
    """What a model's texts begin with.

    Attributes
    ----------
    tokens : tuple of str
        Names and numbers of the special tokens that all of them begin with, if any.
    how : str
        What decided that, to follow a comma.
    changed : tuple of str
        The tokenizer's parts that transformers would have had otherwise than its file.
    """

    tokens: tuple[str, ...]
    how: str
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a sentence or two, to follow the model's name and a colon."""
        first = " ".join(self.tokens) or "no token of the tokenizer's own"
        said = f"texts begin with {first}, {self.how}."
        if self.changed:
            said += (
                " Left as tokenizer.json has them, where transformers would have changed them: "
                f"{', '.join(self.changed)}."
            )
        return said


def first_tokens(loaded: Loaded, path: Path, name: str) -> FirstTokens:
    """Find what a tokenizer puts before every text.

    Parameters
    ----------
    loaded : Loaded
        The tokenizer.
    path : pathlib.Path
        Its folder or GGUF file.
    name : str
        What to call the model in errors.

    Returns
    -------
    FirstTokens
        What its file puts there. Where that is nothing and tokenizer_config.json asks for a first
        token, that token; where it asks for none and names a class that obeys, none.

    Raises
    ------
    ValueBiasError
        If the tokenizer does not put the same tokens before every text.
    """
    tokenizer = loaded.tokenizer
    found = _put(tokenizer, name)
    settings = settings_of(path) if path.is_dir() else {}
    asked, bos = settings.get(_ASKS), tokenizer.bos_token_id
    if asked is True and bos is not None and not found:
        return FirstTokens((int(bos),), f"for which tokenizer_config.json asks ({_ASKS}: true)")
    if asked is False and found and found == (bos,) and _obeys(settings):
        return FirstTokens((), f"as tokenizer_config.json asks ({_ASKS}: false)")
    if loaded.source == "tekken.json" and asked is None and not found:
        bos = tokenizer.convert_tokens_to_ids("<s>")
        if bos is not None:
            how = "as Mistral's own library does where there is tekken.json alone"
            return FirstTokens((int(bos),), how, bare=True)
    bare = loaded.source.endswith(".model") and not settings
    if bare:
        how = f"as {type(tokenizer).__name__} of transformers does: {loaded.source} does not say"
        return FirstTokens(found, how, bare=True)
    return FirstTokens(found, f"by {loaded.source}")


def _put(tokenizer: Any, name: str) -> tuple[int, ...]:
    """See what stands before the tokens of a text."""
    found: set[tuple[int, ...] | None] = set()
    for text in _PROBES:
        whole = tokenizer(text, return_special_tokens_mask=True)
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        # The ids do not tell: what the tokenizer puts there may be its token for the unknown.
        start = whole["special_tokens_mask"].index(0) if own else 0
        ids = whole["input_ids"]
        is_whole = ids[start : start + len(own)] == own
        found.add(tuple(map(int, ids[:start])) if is_whole else None)
    (put, *others) = found
    if put is None or others:
        raise ValueBiasError(
            f"The tokenizer of {name!r} does not put the same tokens before every text. Give a "
            "chat template by template=, which writes its own first tokens, or another tokenizer "
            "by tokenizer=."
        )
    return put


def _obeys(settings: dict[str, Any]) -> bool:
    stated = str(settings.get("tokenizer_class") or "")
    return stated.removesuffix("Fast").removesuffix("Tokenizer") in _OBEDIENT
