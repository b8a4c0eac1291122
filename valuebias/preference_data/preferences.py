"""Preferences of any form as one: a prompt, the chosen answer and the rejected one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import check_whole
from valuebias._core.notebooks import as_html
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias._core.text import visible
from valuebias.errors import ValueBiasError
from valuebias.instruments.lexicons import lexicon as as_lexicon
from valuebias.instruments.members import Lexicon
from valuebias.preference_data.filters import Leakage, PreferenceFilter
from valuebias.preference_data.formats import Message, form_of
from valuebias.preference_data.readers import rows_of

__all__ = ["Preferences", "check_disjoint", "preferences", "prompt_keys"]

_SHOWN_EVERY = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Preferences:
    """Pairs of answers to the same prompt, of which one is preferred.

    Attributes
    ----------
    name : str
        What the source is called.
    pairs : pandas.DataFrame
        Columns ``id`` (32 hexadecimal digits that depend on the three texts alone), ``prompt`` (the
        messages before the answers, as JSON), ``chosen`` and ``rejected`` (the answers' texts).
    report : pandas.DataFrame
        What each step kept and dropped, and why: columns step, kept, dropped, reason.
    leakage : pandas.DataFrame or None
        For each term of the lexicon, if one was given, in how many pairs it occurs in the prompt,
        the chosen and the rejected answer; counted before any are dropped for it.
    provenance : dict
        When and from which files they were read, and with which filters.
    sha256 : str
        Hash of the sorted ids: the same for the same pairs in any order, under any name.

    Examples
    --------
    >>> table = pd.DataFrame({"prompt": ["2 + 2?"], "chosen": ["4."], "rejected": ["5."]})
    >>> preferences(table, name="sums", progress=False)
    <Preferences 'sums': 1 pair, 1 prompt>
    """

    name: str
    pairs: pd.DataFrame
    report: pd.DataFrame
    leakage: pd.DataFrame | None
    provenance: Mapping[str, Any]
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        """Hash the ids."""
        content = "\n".join(sorted(self.pairs["id"]))
        object.__setattr__(self, "sha256", hashlib.sha256(content.encode("ascii")).hexdigest())

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pairs)

    def __repr__(self) -> str:
        """Show how many pairs and prompts there are."""
        counts = {"pair": len(self), "prompt": self.pairs["prompt"].nunique()}
        parts = ", ".join(f"{n:,} {noun}{'s' * (n != 1)}" for noun, n in counts.items())
        return f"<Preferences {visible(self.name)!r}: {parts}>"

    def _repr_html_(self) -> str:
        """Show how many pairs there are, and the report in a notebook."""
        return as_html(repr(self).strip("<>"), self.report, most=40)

    def conversations(self, side: str) -> list[list[Message]]:
        """Return whole conversations, to be put through a chat template.

        Parameters
        ----------
        side : {"chosen", "rejected"}
            Which answer they end with.

        Returns
        -------
        list of list of dict
            One conversation per pair, in the order of the pairs; messages have a role and a
            content.

        Raises
        ------
        ValueBiasError
            If `side` is neither.
        """
        if side not in ("chosen", "rejected"):
            raise ValueBiasError(f"side is {side!r}; expected 'chosen' or 'rejected'.")
        both = zip(self.pairs["prompt"], self.pairs[side], strict=True)
        return [
            [*json.loads(prompt), {"role": "assistant", "content": answer}]
            for prompt, answer in both
        ]

    def split(self, *, held_out: float, seed: int = 0) -> tuple[Preferences, Preferences]:
        """Hold some prompts out, with all their pairs.

        Parameters
        ----------
        held_out : int or float
            At least so many pairs: prompts are drawn until there are enough. Or, between 0 and 1,
            about this share of the prompts.
        seed : int, default 0
            Which drawing.

        Returns
        -------
        tuple of Preferences
            Those to train on and those held out. No prompt is on both sides; prompts that differ
            only in blanks and case count as one.

        Raises
        ------
        ValueBiasError
            If the number is none, or one side would have no pairs.

        Notes
        -----
        Prompts are drawn by a hash of their text and the seed. Given as a share, `held_out` puts a
        prompt on the same side whatever else is in the source, so that sources and subsets of any
        size may be split on their own. Given as a number it does not: split first, then take
        subsets of the training side.
        """
        check_whole(seed, "seed", least=0)
        rows = held_out_rows(self.pairs["prompt"], held_out, seed)
        return (
            self._only(~rows, "split", f"held out (held_out={held_out!r}, seed={seed})"),
            self._only(rows, "split", f"trained on (held_out={held_out!r}, seed={seed})"),
        )

    def subset(self, n_pairs: int, *, seed: int = 0) -> Preferences:
        """Draw some of the pairs.

        Parameters
        ----------
        n_pairs : int
            How many.
        seed : int, default 0
            Which drawing.

        Returns
        -------
        Preferences
            In the order in which they were drawn. A smaller subset of the same seed is the first
            part of a larger one.

        Raises
        ------
        ValueBiasError
            If there are fewer.

        Notes
        -----
        Pairs are put in the order of a hash of their id and the seed, so that a subset does not
        depend on the order of the source.
        """
        check_whole(n_pairs, "n_pairs", least=1)
        check_whole(seed, "seed", least=0)
        if n_pairs > len(self):
            raise ValueBiasError(
                f"n_pairs is {n_pairs}, and {self.name!r} has {len(self)} pairs. Ask for that many "
                "or fewer, or give a larger source."
            )
        order = np.lexsort(
            (self.pairs["id"].to_numpy(dtype=str), hash_order(self.pairs["id"], seed))
        )
        return self._only(order[:n_pairs], "subset", f"not drawn (n_pairs={n_pairs}, seed={seed})")

    def _only(self, rows: np.ndarray, step: str, reason: str) -> Preferences:
        kept = self.pairs[rows] if rows.dtype == np.bool_ else self.pairs.iloc[rows]
        line = pd.DataFrame(
            [(step, len(kept), len(self) - len(kept), reason)], columns=self.report.columns
        )
        return replace(
            self,
            pairs=kept.reset_index(drop=True),
            report=pd.concat([self.report, line], ignore_index=True),
        )


def preferences(
    source: str | os.PathLike[str] | pd.DataFrame | Any,
    *,
    name: str | None = None,
    split: str = "train",
    every: int = 1,
    max_chars: int | None = None,
    lexicon: str
    | os.PathLike[str]
    | Lexicon
    | pd.DataFrame
    | Mapping[str, Sequence[str]]
    | None = None,
    drop_leaks: bool = False,
    download: bool = True,
    progress: bool = True,
) -> Preferences:
    """Read preferences, check them, and count all that is left out.

    Parameters
    ----------
    source : str, path, DataFrame or datasets.Dataset
        A JSON-lines or Parquet file, or a folder of such files; a table; a dataset of the package
        datasets; or ``"hf://datasets/<owner>/<name>@<revision>"``, a dataset on the Hugging Face
        hub at a commit, and after it perhaps ``/<folder>`` or ``/<file>``. The columns are
        ``chosen`` and ``rejected``, conversations (lists of messages with a ``role`` and a
        ``content``) or texts, and ``prompt``, which texts need; or those of Unified-Feedback,
        ``conv_A``, ``conv_B``, ``conv_A_rating`` and ``conv_B_rating``.
    name : str, optional
        What to call the source.
    split : str, default "train"
        Of a folder or a dataset on the hub, which files to read, where their names tell.
    every : int, default 1
        Keep one of so many rows, after ties are dropped: the first, then every so many.
    max_chars : int, optional
        Drop pairs of which the prompt and an answer have more characters than this together.
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        Count the pairs in which its words occur, as :func:`valuebias.lexicon` takes it: words that
        are scored later should not have been trained on.
    drop_leaks : bool, default False
        Drop these pairs.
    download : bool, default True
        Whether files on the hub may be downloaded that its local cache lacks.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Preferences
        The pairs that are left, and a report of what was dropped.

    Raises
    ------
    ValueBiasError
        If the source cannot be read, is not UTF-8, has a line that is not JSON, lacks a column, or
        has cells that are not conversations; if nothing is left; or if a number is out of its
        range.

    Notes
    -----
    Dropped in any case, and counted: ties and rows without a rating; conversations that do not end
    with the assistant's answer, have nothing before it, or differ before it; empty answers; text
    that is not valid Unicode; answers that are the same; exact repetitions. A pair with the answers
    the other way round is not a repetition. Christian et al. (2026) train on
    Skywork-Reward-Preference-80K-v0.2 and on quantities of Unified-Feedback (folder ``all``), of
    which ties are dropped and then every k-th row is kept. The hub is read with
    ``pip install "valuebias[hub]"`` or ``"valuebias[train]"``.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "prompt": ["2 + 2?", "Best word?", "2 + 2?"],
    ...         "chosen": ["4.", "Love.", "Yes."],
    ...         "rejected": ["5.", "Table.", "Yes."],
    ...     }
    ... )
    >>> found = preferences(table, name="mine", lexicon="agency-communion", progress=False)
    >>> found
    <Preferences 'mine': 2 pairs, 2 prompts>
    >>> found.report.set_index("step")["dropped"].tail(3).to_dict()
    {'different': 1, 'unique': 0, 'lexicon': 0}
    >>> found.leakage.loc["love"].tolist()
    [0, 1, 0]
    """
    check_whole(every, "every", least=1)
    if max_chars is not None:
        check_whole(max_chars, "max_chars", least=1)
    words = None if lexicon is None else as_lexicon(lexicon)
    if drop_leaks and words is None:
        raise ValueBiasError("drop_leaks=True needs words to look for. Give lexicon= as well.")
    rows = rows_of(source, split=split, download=download)
    filtered = PreferenceFilter(
        form_of(rows.columns, rows.name),
        every,
        max_chars,
        None if words is None else words.name,
        None if words is None else Leakage(words),
        drop_leaks,
    )
    with progress_bar("Reading preferences", shown=progress) as advance:
        for done, (where, row) in enumerate(rows.read(filtered.row_format.columns), 1):
            filtered.add(where, row)
            if advance is not None and done % _SHOWN_EVERY == 0:
                advance(done, rows.n)
    filtered.check_some(name or rows.name)
    settings = {
        "every": every,
        "max_chars": max_chars,
        "lexicon": None if words is None else words.about(),
        "drop_leaks": drop_leaks,
    }
    return Preferences(
        name=name or rows.name,
        pairs=filtered.pairs(),
        report=filtered.report(),
        leakage=None if filtered.leakage is None else filtered.leakage.table(),
        provenance=record(files=rows.files, details={**rows.details, "filters": settings}),
    )


def check_disjoint(first: Preferences, second: Preferences) -> None:
    """Refuse two sets of preferences, such as train and held-out, that share a prompt.

    Parameters
    ----------
    first, second : Preferences
        The two.

    Raises
    ------
    ValueBiasError
        If a pair or a prompt is in both; prompts that differ only in blanks and case are the same.

    Examples
    --------
    >>> table = pd.DataFrame({"prompt": ["2 + 2?"], "chosen": ["4."], "rejected": ["5."]})
    >>> sums = preferences(table, name="sums", progress=False)
    >>> check_disjoint(sums, sums)
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: 'sums' and 'sums' share 1 pair and 1 prompt, so that ...
    """
    pairs = len(set(first.pairs["id"]) & set(second.pairs["id"]))
    keys = [set(prompt_keys(one.pairs["prompt"])) for one in (first, second)]
    prompts = len(keys[0] & keys[1])
    if prompts:
        counts = " and ".join(
            f"{n} {noun}{'s' * (n != 1)}" for n, noun in ((pairs, "pair"), (prompts, "prompt")) if n
        )
        raise ValueBiasError(
            f"{first.name!r} and {second.name!r} share {counts}, so that one cannot test what was "
            "learnt from the other. Take both from one split(), and subsets after it."
        )


def hash_order(keys: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """Hash keys to numbers in whose order they are drawn.

    Examples
    --------
    >>> bool(hash_order(["a", "b"], 1)[0] == hash_order(["a"], 1)[0] != hash_order(["a"], 2)[0])
    True
    """
    digests = (hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8] for key in keys)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def prompt_keys(prompts: Iterable[str]) -> list[str]:
    """Return the identity of a prompt: its text without regard to blanks and case.

    Examples
    --------
    >>> prompt_keys(['[{"role": "user", "content": " Hello  You"}]'])
    ['[["user", "hello you"]]']
    """

    def plain(text: str) -> str:
        return " ".join(text.split()).casefold()

    return [
        json.dumps(
            [[message["role"], plain(message["content"])] for message in json.loads(prompt)],
            ensure_ascii=False,
        )
        for prompt in prompts
    ]


def held_out_rows(prompts: pd.Series, held_out: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose whole prompts to hold out."""
    if isinstance(held_out, bool) or not isinstance(held_out, int | float | np.number):
        raise ValueBiasError(f"held_out is {held_out!r}; expected a number of pairs or a share.")
    keys = np.array(prompt_keys(prompts), dtype=object)
    if 0 < held_out < 1:
        held = hash_order(keys, seed) / 2.0**64 < held_out
    else:
        if not np.isfinite(held_out) or held_out != int(held_out) or held_out < 1:
            raise ValueBiasError(
                f"held_out is {held_out!r}; expected a whole number of pairs, or a share between 0 "
                "and 1."
            )
        held = _by_number(keys, int(held_out), seed)
    if held.all() or not held.any():
        side = "train on" if held.all() else "hold out"
        raise ValueBiasError(
            f"held_out={held_out!r} of {len(keys)} pairs leaves none to {side}. Choose another "
            "number."
        )
    return np.asarray(held, dtype=bool)


def _by_number(keys: npt.NDArray[np.object_], n_pairs: int, seed: int) -> npt.NDArray[np.bool_]:
    if n_pairs >= len(keys):
        return np.ones(len(keys), dtype=bool)
    drawn = hash_order(keys, seed)
    order = np.argsort(drawn, kind="stable")
    last = drawn[order[n_pairs - 1]]
    return np.asarray(drawn <= last, dtype=bool)
