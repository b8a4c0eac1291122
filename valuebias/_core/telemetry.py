"""What leaves the machine: nothing on its use, and no question where ``VALUEBIAS_OFFLINE`` is set.

The libraries that would are told before they are imported.
"""

from __future__ import annotations

import os
import sys

__all__ = ["OFFLINE", "SWITCHES", "offline", "switch_off"]

OFFLINE = "VALUEBIAS_OFFLINE"
"""The environment variable that forbids all downloads, those from the hub among them."""
_HUB_OFFLINE = "HF_HUB_OFFLINE"
_NO = ("", "0", "false", "no", "off")

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
    if offline():
        # Not left as it is: of two switches the one that forbids decides.
        os.environ[_HUB_OFFLINE] = "1"
        _reach(_HUB_OFFLINE)


def offline() -> bool:
    """Say whether nothing may be downloaded."""
    return os.environ.get(OFFLINE, "").strip().lower() not in _NO


def _reach(name: str) -> None:
    """Tell a library that has been imported before us, and so has read the environment already."""
    if name.startswith("HF"):
        constants = sys.modules.get("huggingface_hub.constants")
        if constants is not None:
            setattr(constants, name, True)
    elif hasattr(runtime := sys.modules.get("onnxruntime"), "disable_telemetry_events"):
        runtime.disable_telemetry_events()  # type: ignore[union-attr]
