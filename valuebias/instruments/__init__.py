"""Instruments: the prompts asked and the words scored as their answers."""

from __future__ import annotations

from valuebias.instruments.factorial import Factorial
from valuebias.instruments.lexicons import lexicon, lexicon_names
from valuebias.instruments.members import Lexicon
from valuebias.instruments.prompts import PromptSet, prompts

__all__ = ["Factorial", "Lexicon", "PromptSet", "lexicon", "lexicon_names", "prompts"]
