"""A laboratory with known truth: tiny models pretrained on text with a planted lean."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
