"""From the log-probs of whole vocabularies to implicit rewards.

==========================================  ===================================================
module                                      what
==========================================  ===================================================
:mod:`~valuebias.logprobs.reading`          ``valuebias.read_logprobs``: the authors' CSV files
:mod:`~valuebias.logprobs.vocabularies`     one model's vocabulary: its texts, joined where alike
:mod:`~valuebias.logprobs.alignment`        ``valuebias.align``: several models, on shared texts
:mod:`~valuebias.logprobs.methods`          ways to read two models as one implicit reward model
:mod:`~valuebias.logprobs.pairs`            ``valuebias.implicit``: one dataset for many pairs
:mod:`~valuebias.logprobs.validation`       ``valuebias.validate_implicit``: finding known changes
:mod:`~valuebias.logprobs.measures`         how well a ranking finds what was raised
:mod:`~valuebias.logprobs.injection`        ``valuebias.inject_words``: words raised by fine-tuning
:mod:`~valuebias.logprobs.subjects`         the language model that is fine-tuned
:mod:`~valuebias.logprobs.candidates`       which words, and which prompts to train on
:mod:`~valuebias.logprobs.lora`             fine-tuning itself, and merging
:mod:`~valuebias.logprobs.injected`         ``valuebias.injection_report``: what fine-tuning changed
:mod:`~valuebias.logprobs.drawing`          figures of implicit rewards
==========================================  ===================================================
"""
