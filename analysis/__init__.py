"""The statistics: outcomes, the hierarchical model and its engine, and the paper's own analysis.

Each module has one job and loads on first use. Most users need only what `valuebias` itself offers:
`valuebias.fit`, `valuebias.classical` and `valuebias.audit`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
