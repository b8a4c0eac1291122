"""From models, prompts and words to scores.

=========================================  ====================================================
module                                     what
=========================================  ====================================================
:mod:`~valuebias.scoring.models`           which models, and how each is read
:mod:`~valuebias.scoring.resolve`          their files, and what their configurations say
:mod:`~valuebias.scoring.tokenise`         whole conversations as token ids
:mod:`~valuebias.scoring.trie`             packs, in which what is shared is there once
:mod:`~valuebias.scoring.plan`             what is scored, and in which blocks
:mod:`~valuebias.scoring.run`              ``valuebias.score``: the way through all of these
:mod:`~valuebias.scoring.store`            stores that are filled block by block
:mod:`~valuebias.scoring.explain`          ``valuebias.explain``: what scoring will take
=========================================  ====================================================
"""
