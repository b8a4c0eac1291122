from .bradley_terry import fit_head as fit_head
from .bradley_terry import fit_path as fit_path
from .head import Head as Head
from .plan import Plan as Plan
from .preferences import Preferences as Preferences
from .preferences import check_disjoint as check_disjoint
from .study import Study as Study
from .synthetic import synthetic_preferences as synthetic_preferences
