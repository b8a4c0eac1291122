"""Instruments: the prompts asked, the words scored as their answers, and what judges are asked."""

from __future__ import annotations

from valuebias.instruments.bandits import BanditTask, bandit_task
from valuebias.instruments.factorial import Factorial
from valuebias.instruments.judges import Judge, judge
from valuebias.instruments.lexicons import lexicon, lexicon_names
from valuebias.instruments.members import Lexicon
from valuebias.instruments.prompts import PromptSet, prompts

__all__ = [
    "BanditTask",
    "Factorial",
    "Judge",
    "Lexicon",
    "PromptSet",
    "bandit_task",
    "judge",
    "lexicon",
    "lexicon_names",
    "prompts",
]
