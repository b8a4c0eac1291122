from .bradley_terry import fit_head as fit_head
from .bradley_terry import fit_path as fit_path
from .head import Head as Head
from .preferences import Preferences as Preferences
from .preferences import check_disjoint as check_disjoint
