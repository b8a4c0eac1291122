"""The contract of the backends on one device, for `make gpu`: pytest collects this by its path.

VALUEBIAS_DEVICE names the device, such as "cuda" or "cpu".
"""

from __future__ import annotations

import os
from typing import ClassVar

import pytest

from valuebias.backends.onnx_backend import OnnxBackend
from valuebias.backends.testing import BackendTests
from valuebias.backends.torch_backend import TorchBackend

DEVICE = os.environ.get("VALUEBIAS_DEVICE", "cpu")
# An export takes a quarter of a minute.
QUICK = ("mistral", "gemma3_text")
_NO_TREE = (("recurrent_gemma", "logprob"),)


class TestTorch(BackendTests):
    backend: ClassVar = TorchBackend(device=DEVICE, attention="tree")
    refused: ClassVar = _NO_TREE


class TestTorchWhole(BackendTests):
    backend: ClassVar = TorchBackend(device=DEVICE, attention="whole")
    architectures = QUICK


@pytest.mark.skipif(
    DEVICE not in OnnxBackend().devices(), reason=f"ONNX Runtime has no {DEVICE} here"
)
class TestOnnx(BackendTests):
    backend: ClassVar = OnnxBackend(device=DEVICE)
    architectures = QUICK
    refused: ClassVar = _NO_TREE
