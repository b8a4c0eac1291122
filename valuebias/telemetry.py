"""Libraries that report on their use are told not to, before they are imported."""

from __future__ import annotations

import os
import sys

__all__ = ["SWITCHES", "switch_off"]

SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
"""The environment variables of ONNX Runtime and of Hugging Face's libraries, TRL among them."""


def switch_off() -> None:
    """Switch off every report on use that has not been asked for.

    ONNX Runtime reads its variable when it is imported, writes down a number for this device there
    and then, and calls out seconds later; what its API can switch off comes after that. Hence the
    environment, which child processes get too. A variable that is set already is left as it is.
    """
    for name in SWITCHES:
        if name in os.environ:
            continue
        os.environ[name] = "1"
        _reach(name)


def _reach(name: str) -> None:
    """Tell a library that has been imported before us, and so has read the environment already."""
    if name.startswith("HF"):
        constants = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
    elif hasattr(runtime := sys.modules.get("onnxruntime"), "disable_telemetry_events"):
        runtime.disable_telemetry_events()  # type: ignore[union-attr]
