"""Train reward models by base, data source and number of pairs, to compare their values."""

from __future__ import annotations

from valuebias.ablation.plan import StudyPlan
from valuebias.ablation.study import Study
from valuebias.preference_data.preferences import Preferences, check_disjoint
from valuebias.preference_data.synthetic import synthetic_preferences
from valuebias.training.answer_states import answer_states
from valuebias.training.bradley_terry import fit_head, fit_path
from valuebias.training.coherence import TemporalCoherence, temporal_coherence
from valuebias.training.frozen import reward_model
from valuebias.training.head import Head
from valuebias.training.objective import Objective
from valuebias.training.settings import TrainingSettings, checkpoint_steps

__all__ = [
    "Head",
    "Objective",
    "Preferences",
    "Study",
    "StudyPlan",
    "TemporalCoherence",
    "TrainingSettings",
    "answer_states",
    "check_disjoint",
    "checkpoint_steps",
    "fit_head",
    "fit_path",
    "reward_model",
    "synthetic_preferences",
    "temporal_coherence",
]
