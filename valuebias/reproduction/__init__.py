"""Reproduce a paper as far as the available data allow, and say what is missing and why.

===========================================  ====================================================
module                                       what
===========================================  ====================================================
:mod:`~valuebias.reproduction.run`           ``valuebias.reproduce``: item by item, each once
:mod:`~valuebias.reproduction.items`         the figures, tables and statistics of the paper
:mod:`~valuebias.reproduction.sources`       the data, how to get missing data, and settings
:mod:`~valuebias.reproduction.record`        the record of what each item was made from
:mod:`~valuebias.reproduction.pages`         the pages that show everything
===========================================  ====================================================
"""
