"""Train reward models by base, data source and data quantity, and ask what each does to values.

===========================================  ====================================================
module                                       what
===========================================  ====================================================
:mod:`~valuebias.ablation.study`             ``valuebias.ablation.Study``: the whole experiment
:mod:`~valuebias.ablation.plan`              what a study would do, counted
:mod:`~valuebias.ablation.run`               what a study does, cell by cell
:mod:`~valuebias.ablation.cells`             what all reward models of a study have in common
:mod:`~valuebias.ablation.head_cells`        those with a head on a frozen base
:mod:`~valuebias.ablation.features`          hidden states of frozen bases, kept on disk
:mod:`~valuebias.ablation.trained_cells`     those whose weights are trained
:mod:`~valuebias.ablation.trained_plan`      what training them would take, counted
:mod:`~valuebias.ablation.settings`          ``valuebias.ablation.TrainingSettings``: how
:mod:`~valuebias.ablation.schedule`          at which steps they are scored
:mod:`~valuebias.ablation.pair_tokens`       pairs as token ids
:mod:`~valuebias.ablation.trainer`           the training itself, by TRL
:mod:`~valuebias.ablation.preferences`       ``valuebias.preferences``: pairs of answers, one form
:mod:`~valuebias.ablation.rows`              the rows of files, tables and datasets
:mod:`~valuebias.ablation.forms`             the forms in which preferences are published
:mod:`~valuebias.ablation.filtering`         which rows are kept, counted
:mod:`~valuebias.ablation.leakage`           words of a lexicon in the data
:mod:`~valuebias.ablation.lots`              drawing pairs and prompts by lot
:mod:`~valuebias.ablation.synthetic`         preferences made by rule, for trying a study
:mod:`~valuebias.ablation.bradley_terry`     ``valuebias.ablation.fit_head``: the exact optimum
:mod:`~valuebias.ablation.head`              what that gives: weights, rewards, a file
:mod:`~valuebias.ablation.solving`           how that optimum is found
:mod:`~valuebias.ablation.fitting`           ``valuebias.fit_ablation``: what a study says
:mod:`~valuebias.ablation.result`            ``AblationFit``: what can be asked of a fit
:mod:`~valuebias.ablation.estimates`         gaps, slopes, shares left, closing points, trajectories
:mod:`~valuebias.ablation.framings`          the same under one framing, or all side by side
:mod:`~valuebias.ablation.saving`            save a fit and put it together again
:mod:`~valuebias.ablation.movers`            the words that moved most
:mod:`~valuebias.ablation.headline`          the answer in words
===========================================  ====================================================
"""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
