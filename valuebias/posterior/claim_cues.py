"""What words around a number of a text say that the number is."""

from __future__ import annotations

import re

from valuebias.posterior.claim_sentences import direction, says

__all__ = [
    "COUNTED",
    "CUES",
    "LABELLED",
    "NOUNS",
    "OUT_OF_REACH",
    "chance_columns",
    "column_of",
    "diagnostic_of",
]

OUT_OF_REACH = {
    "what was fitted with other priors, or without some data, is not computed again": re.compile(
        r"prior sensitivity|sensitivity (?:of|to|analys)|pareto|influence of|left out|leave-one-out"
        r"|(?:prior|scale)s?\b.{0,40}(?:halved|doubled)|without (?:the |each |one )?(?:model|base)"
    ),
    "predictive checks, placebos, audits and multiverses are not computed again": re.compile(
        r"replicat|predictive (?:check|p\b|densit)|placebo|multiverse|data audit|\belpd\b|\bloo\b"
    ),
    "a fit has no p-values or test statistics": re.compile(
        r"\bp\s?[<=≤]|p-value|permut|welch|bonferroni|degrees of freedom|\b(?:t|df|p) \|"
        r"|\bt\s?[(=]|the paper's (?:spec|mixed|average)"
    ),
    "advice": re.compile(r"\bask for\b"),
    "a list of works": re.compile(r"^#+ (?:references|bibliography)"),
}
"""Sentences whose numbers are not checked, by why."""
# What a word before a number says that the number is; the last that fits counts.
_FORMS = {
    ("rhat",): r"r-?hat",
    ("ess_bulk", "ess_tail"): r"effective|\bess\b",
    ("detectable",): r"would have been found|detect",
    ("rope", "rope_sd"): r"\brope\b|practical|outcome['’]s sd",
    ("wrong_signs",): r"false|wrong",
    ("lower", "upper", "lower_joint", "upper_joint"):
        r"interval|credible|confidence|\bcr?is?\b|\bhdi",
    ("p",): r"probab|\bp\s?[(>]|chance|certain|\bodds",
    ("sd",): r"standard (?:deviation|error)|\bsds? (?:of|is|was|=)|\bsds?$|\bsd\[|posterior sd",
    ("prior",): r"\bpriors?\b|normal\(|\blkj\(",
    ("seed",): r"\bseed",
    ("mean", "median"): r"\bleans?\b|differ|\bgap|\bmean|median|averag|estimat|effect|slope"
                        r"|contrast|correlat|spread|further|\bthan\b|−",
}  # fmt: skip
CUES = {columns: re.compile(form) for columns, form in _FORMS.items()}
"""By the columns that a number before which they stand is one of."""
NOUNS = {
    "model": "models?|rms?|lms?|checkpoints?", "prompt": "prompts?|paraphrases?",
    "word": "words?|terms|items|signs", "category": "categor(?:y|ies)", "family": "famil(?:y|ies)",
    "base": "bases?", "chain": "chains?", "draw": "draws?|iterations|samples",
    "tuning": "tun(?:ing|e)|warm-?up", "transition": "transitions", "divergence": "diverge[a-z]*",
    "score": "scores|cells|ratings|observations", "missing": "missing",
    "difference": "differences|joint intervals", "level": "levels",
}  # fmt: skip
_NOUN = "|".join(f"(?P<{noun}>{forms})" for noun, forms in NOUNS.items())
COUNTED = re.compile(
    r"[\s-]{1,2}(?:of\s)?(?:(?!(?:sd|ranks?|units?|for|in|over|and|than|under|after|on|with|is|are"
    r"|was|to|or|if|as|at|by|means?)\b)[A-Za-z'’/_-]+\d*\s){0,3}?(?:"
    + _NOUN + r")\b", re.IGNORECASE)  # fmt: skip
LABELLED = re.compile(
    r"\b(?:" + _NOUN + r")(?:\s?[|=:]\s?|\sof\s)$", re.IGNORECASE)  # fmt: skip
_SHORT = 20

_ENDS = {
    ("lower", "lower_joint"): re.compile(r"\blow(?:er)?\b|\blwr\b|\blcl\b|^lower_"),
    ("upper", "upper_joint"): re.compile(r"\bupp(?:er)?\b|\bupr\b|\bucl\b|^upper_"),
}
_NAMED = frozenset(
    ("mean", "median", "sd", "p_direction", "p_rope", "rhat", "ess_bulk", "ess_tail",
     "lower_joint", "upper_joint")
)  # fmt: skip


def column_of(heading: str) -> set[str]:
    """Return the columns that a heading names as the package's tables, or R's, do."""
    if heading in _NAMED:
        return {heading}
    named = [set(columns) for columns, form in _ENDS.items() if says(form, heading)]
    return named[0] if len(named) == 1 else set()


def diagnostic_of(clause: str) -> set[str]:
    """Return the diagnostic that a number's own clause names, of whatever it is one."""
    found = [(form.search(clause), columns) for columns, form in CUES.items()
             if columns in (("rhat",), ("ess_bulk", "ess_tail"))]  # fmt: skip
    ends = [(match.end(), columns) for match, columns in found if match]
    return set(max(ends)[1]) if ends else set()


def chance_columns(text: str) -> set[str]:
    """Return the columns of the probability that a sentence, or the head of a column, means."""
    asked = says("certain|or more|little doubt", text)
    out = {"p_limit"} if asked and not says("is (?:positive|negative)", text) else set()
    if says(r"rope|equivalence|too small|within ±|within \d", text):
        out |= {"p_rope", "p_outside"} if says("outside|beyond", text) else {"p_rope"}
    if says("rank|furthest|first|least", text):
        out |= {f"rank_{k}" for k in range(1, 30)}
    if says("would have been found|detect|power", text):
        out |= {"power"}
    said = direction(text)
    if says("positive|above|greater|>", said) and "negative" not in said:
        return out | {"p_positive"}
    if says("negative|below|less|<", said) and "positive" not in said:
        return out | {"p_negative"}
    # Under a heading of its own, the region is not a direction.
    return out if "in rope" in text and len(text) < _SHORT else out | {"p_direction"}
