"""Inference plug-ins that turn a model and packed token ids into scores.

The contract stands in `valuebias.backends.base`, the registry that finds plug-ins in
`valuebias.backends.registry`, and `valuebias.backends.testing` tests whether a plug-in keeps the
contract. Nothing here loads torch, transformers or onnxruntime before a model is loaded.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
