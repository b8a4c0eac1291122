"""The dataset contract: how scores are laid out, and the check that they are.

Everything in valuebias passes as one :class:`xarray.Dataset`:

===========================  =====================================  ===============================
name                         dims                                   what
===========================  =====================================  ===============================
``score``                    model, prompt, response                float32, NaN = not scored
``membership``               response, category                     bool, or float64 for weights
``family``                   model                                  str
``base``                     model                                  the checkpoint it was trained
                                                                    from, "" where unknown
``stage``                    model                                  pretrained, instruct or reward
``n_params``                 model                                  number of parameters, NaN
                                                                    where unknown
``text``                     prompt                                 str
``framing``                  prompt                                 positive, negative or neutral
===========================  =====================================  ===============================

The dims model, prompt, response and category carry their names as unique text. Further coords on
model, prompt or response are welcome, such as a word's ``frequency``; scores made here have
``n_tokens`` on response. Rewards made here have two more on model: ``read_at``, where in the
conversation the reward was read ("end of conversation", "end of answer", "by its own code", or how
many tokens before the end; after a semicolon for which answers it was elsewhere), and
``read_token``, the token there ("" where it is the answer's own, or is not known). Where a reward
model was scored by several labels of its head, each is a row: ``reward_model`` says of which model
and ``label`` which one, and a fit takes rows of one reward model for one model. Implicit rewards of
policies have ``reference``, the model that each was scored against, and ``beta``. Log-probs made
here have the variable ``token_logprob`` over model, prompt, response and token; those of a judge's
verdicts, of which scores of kind judged are made, have on token ``verdict`` and ``order``, and
:func:`mass_outside` and :func:`position_bias` read them. Attributes: ``schema`` ("valuebias/1"),
``kind`` (reward, logprob, implicit or judged), ``units`` ("1" for rewards, whose scale is
arbitrary, and for what judges say, else "nat") and ``provenance`` (JSON text).
"""

from __future__ import annotations

from valuebias.schema.building import build
from valuebias.schema.contract import (
    DIMS,
    FRAMINGS,
    KINDS,
    SCHEMA,
    STAGES,
    member_table,
    model_table,
    prompt_table,
    word_table,
)
from valuebias.schema.contrast_scores import build_contrasts
from valuebias.schema.joining import concat
from valuebias.schema.validation import validate
from valuebias.schema.verdicts import mass_outside, position_bias

__all__ = [
    "DIMS",
    "FRAMINGS",
    "KINDS",
    "SCHEMA",
    "STAGES",
    "build",
    "build_contrasts",
    "concat",
    "mass_outside",
    "member_table",
    "model_table",
    "position_bias",
    "prompt_table",
    "validate",
    "word_table",
]
