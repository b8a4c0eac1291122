"""The ONNX Runtime backend keeps the contract."""

from __future__ import annotations

from typing import ClassVar

import pytest

from valuebias.backends.onnx_backend import OnnxBackend
from valuebias.backends.testing import BackendTests

pytest.importorskip("torch", reason="torch is not installed, and exporting needs it")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


class TestCpu(BackendTests):
    backend: ClassVar = OnnxBackend(device="cpu")
