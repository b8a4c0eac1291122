"""Where rewards were read, if that differs between models, and so between families."""

from __future__ import annotations

import pandas as pd

from valuebias.analysis.notes import Note

__all__ = ["AT", "DIFFERENT", "TOKEN", "read_before_end", "reading_notes"]

AT, TOKEN = "read_at", "read_token"
"""The coords on model that say so; :func:`valuebias.score` makes them."""
DIFFERENT = "read at different places"
END = "end of conversation"
OWN_CODE = "by its own code"
_SAID = {END: "the end of the conversation", "end of answer": "the end of the answer"}


def reading_notes(models: pd.DataFrame) -> list[Note]:
    """Note where models are read at different positions of a conversation.

    Examples
    --------
    >>> places = ["end of answer", "end of conversation"]
    >>> models = pd.DataFrame({"family": ["Llama", "Qwen"], "read_at": places}, index=["a", "b"])
    >>> [note.headline for note in reading_notes(models)]
    ['Rewards are read at different places: those of Llama at the end of the answer, ...']
    """
    known = _known(models)
    if known.nunique() < 2:
        return []
    listed = "; ".join(
        f"{_at(position)}: {', '.join(map(str, known.index[known == position]))}"
        for position in dict.fromkeys(known)
    )
    text = (
        f"the rewards are read at different places of the conversation, {listed}. A difference "
        "between these models may be one between the places. valuebias.score of "
        "Model(..., reward_at='last') reads all at the end of the conversation, where heads that "
        "read elsewhere were never trained."
    )
    family = models.loc[known.index, "family"].astype(str)
    sets = {name: sorted(set(known[family == name])) for name in dict.fromkeys(family)}
    if len({tuple(positions) for positions in sets.values()}) < 2:
        return [Note(DIFFERENT, text)]
    said = ", ".join(
        f"of {name} at {' or '.join(_SAID.get(position, position) for position in positions)}"
        for name, positions in sets.items()
    )
    return [Note(DIFFERENT, text, f"Rewards are read at different places: those {said}.")]


def read_before_end(models: pd.DataFrame) -> str:
    """Name the token at which each model is read that is not read at the conversation's end."""
    if AT not in models:
        return ""
    read_early = []
    for name, row in models.iterrows():
        position = str(row[AT])
        if position in ("", END) or row[AT] != row[AT]:
            continue
        token = f", {row[TOKEN]}" if str(row.get(TOKEN, "") or "") else ""
        read_early.append(f"{name} {_at_in_full(position)}{token}")
    if not read_early:
        return ""
    rest = "" if len(read_early) == len(models) else "; the others at the end of the conversation"
    return f"Rewards were read at these places: {'; '.join(read_early)}{rest}."


def _known(models: pd.DataFrame) -> pd.Series[str]:
    if AT not in models:
        return pd.Series([], dtype=str)
    # The text after a semicolon is about single answers.
    positions = models[AT].fillna("").astype(str).str.partition(";")[0].astype(str)
    return positions[~positions.isin(["", OWN_CODE])]


def _at(position: str) -> str:
    return f"at {_SAID[position]}" if position in _SAID else position


def _at_in_full(position: str) -> str:
    first, _, rest = position.partition(";")
    where = "where its own code reads it" if first == OWN_CODE else _at(first)
    return f"{where} ({rest.strip()})" if rest else where
