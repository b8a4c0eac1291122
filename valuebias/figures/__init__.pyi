from .ranks import rank_figure as rank_figure
from .tokens import TokenTable as TokenTable
from .tokens import token_table as token_table
