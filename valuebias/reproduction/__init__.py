"""Make what a paper shows, as far as the data at hand allow, and say what is missing and why.

===========================================  ====================================================
module                                       what
===========================================  ====================================================
:mod:`~valuebias.reproduction.run`           ``valuebias.reproduce``: item by item, none twice
:mod:`~valuebias.reproduction.items`         the figures, tables and statistics of the paper
:mod:`~valuebias.reproduction.logprob_items` those that are made from log-probs
:mod:`~valuebias.reproduction.sources`       the data, and how to get what is missing
:mod:`~valuebias.reproduction.settings`      numbers that may be chosen
:mod:`~valuebias.reproduction.record`        what each item was made from, written down
:mod:`~valuebias.reproduction.pages`         the pages that show everything
===========================================  ====================================================
"""
