"""Instruments: the prompts asked, the words scored as their answers, and what judges are asked."""

from __future__ import annotations

from valuebias.instruments.bandits import BanditTask, bandit_task
from valuebias.instruments.batteries import battery, battery_names
from valuebias.instruments.contrast_sets import ContrastSet, contrast_set
from valuebias.instruments.factorial import Factorial
from valuebias.instruments.judges import Judge, judge
from valuebias.instruments.lexicons import lexicon, lexicon_names
from valuebias.instruments.members import Lexicon
from valuebias.instruments.prompts import PromptSet, prompts
from valuebias.instruments.questions import QuestionSet, question_names, questions

__all__ = [
    "BanditTask",
    "ContrastSet",
    "Factorial",
    "Judge",
    "Lexicon",
    "PromptSet",
    "QuestionSet",
    "bandit_task",
    "battery",
    "battery_names",
    "contrast_set",
    "judge",
    "lexicon",
    "lexicon_names",
    "prompts",
    "question_names",
    "questions",
]
