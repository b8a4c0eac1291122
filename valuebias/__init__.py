"""Bayesian and classical statistics for value biases of reward and language models.

Everything public is reached from here and loaded on first use, so ``import valuebias`` is quick and
loads none of torch, onnxruntime, pymc or matplotlib. The names and their types stand in the stub
``__init__.pyi`` (SPEC 1).
"""

import lazy_loader as _lazy

from valuebias._core.notebooks import hush_tqdm as _hush_tqdm
from valuebias._core.telemetry import switch_off as _switch_off

# Before anything that is imported from here on can import what reports on its use,
# or in a notebook asks for widgets.
_switch_off()
_hush_tqdm()

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ = [*__all__, "__version__"]
