"""A laboratory with known truth: tiny models pretrained on text with a planted lean.

=======================================  ======================================================
module                                   what
=======================================  ======================================================
:mod:`~valuebias.lab.language`           the words and questions, and how much each is said
:mod:`~valuebias.lab.text`               ``valuebias.lab.generate_text``: text with a lean
:mod:`~valuebias.lab.tokens`             a tokenizer with one token a word
:mod:`~valuebias.lab.models`             ``valuebias.lab.pretrain``: language models
:mod:`~valuebias.lab.preferences`        ``valuebias.lab.generate_preferences``: pairs
:mod:`~valuebias.lab.rewards`            ``valuebias.lab.train_reward_model``
:mod:`~valuebias.lab.grid`               ``valuebias.lab.train_grid``: an ablation
:mod:`~valuebias.lab.training`           what all training shares
=======================================  ======================================================
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
