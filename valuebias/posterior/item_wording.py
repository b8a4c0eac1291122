"""What a fit of a contrast set calls things: its units are items, its categories variants.

The model is that of words in categories, and so are its texts; this puts them into the other's
words, around names, which stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.analysis.estimands.weights import Contrast, category_contrasts
from valuebias.errors import ValueBiasError

__all__ = ["contrasts_of", "in_items", "item_component", "word_component"]

_SAID: tuple[tuple[str, str], ...] = (
    (r",? under neutral prompts(?=,)", ""),
    (r",? under neutral prompts", ""),
    (r"the lexicon's mean", "the mean over items"),
    (r"[Tt]he words of this lexicon", "the items of this set"),
    (r"\bprompts, words and\b", "items and"),
    (r"\b(the )?words and (the )?prompts\b", r"\1items"),
    (r"\b(the )?prompts and (the )?words\b", r"\1items"),
    (r"\bprompts, words\b", "items"),
    (r"\bsingle words\b", "single items"),
    (r"\bwords\b", "items"),
    (r"\bWords\b", "Items"),
    (r"\ba word\b", "an item"),
    (r"\bword\b", "item"),
    (r"_word\b", "_item"),
    (r"\bcategory (×|and) framing\b", "variant"),
    (r" \(largest framing\)", ""),
    (r"\bcategories\b", "variants"),
    (r"\bCategories\b", "Variants"),
    (r"\bcategory\b", "variant"),
    (r"\bprompts\b", "items"),
    (r"\bprompt\b", "item"),
)
_RULES = tuple((re.compile(pattern), said) for pattern, said in _SAID)


def in_items(text: str, names: Iterable[str] = ()) -> str:
    """Say a text of words in categories of items and their variants, ``names`` as they are.

    Examples
    --------
    >>> in_items("how words differ for all models")
    'how items differ for all models'
    >>> in_items("Models of word-rm like words", ["word-rm"])
    'Models of word-rm like items'
    """
    known = sorted({name for name in names if name}, key=len, reverse=True)
    if not known:
        return _said(text)
    parts = re.split(rf"(?<!\w)({'|'.join(map(re.escape, known))})(?!\w)", text)
    return "".join(part if i % 2 else _said(part) for i, part in enumerate(parts))


def contrasts_of(crossing: Crossing, contrast: Contrast | None) -> dict[CategoryPair, Any]:
    """Give the weights on what is compared; of items, errors are about variants."""
    try:
        return category_contrasts(crossing.categories, contrast)
    except ValueBiasError as error:
        if not crossing.items:
            raise
        named = contrast if isinstance(contrast, Mapping | Sequence) else ()
        names = [*crossing.categories, *(name for name in named if isinstance(name, str))]
        raise ValueBiasError(in_items(str(error), names)) from None


def _said(text: str) -> str:
    for rule, said in _RULES:
        text = rule.sub(said, text)
    return text


def item_component(name: str) -> str:
    """Name a component as one of items.

    Examples
    --------
    >>> item_component("word:family"), item_component("model_word"), item_component("residual")
    ('item:family', 'model_item', 'residual')
    """
    if name == "word" or name.startswith("word:"):
        return f"item{name[4:]}"
    return f"{name[:-5]}_item" if name.endswith("_word") else name


def word_component(name: str) -> str:
    """Undo :func:`item_component`.

    Examples
    --------
    >>> word_component("item:family"), word_component("model_item")
    ('word:family', 'model_word')
    """
    if name == "item" or name.startswith("item:"):
        return f"word{name[4:]}"
    return f"{name[:-5]}_word" if name.endswith("_item") else name
