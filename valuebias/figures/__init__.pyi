from .logprobs import logprob_figure as logprob_figure
from .ranks import rank_figure as rank_figure
from .saving import save_figure as save_figure
from .tokens import TokenTable as TokenTable
from .tokens import token_table as token_table
from .words import word_figure as word_figure
