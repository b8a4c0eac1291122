"""What numbers were measured on, for the tables of the benchmarks."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

__all__ = ["conditions", "processor"]


def conditions(command: str, packages: Mapping[str, str]) -> str:
    """Say what was run, where, with which versions and when; `packages` are names by package."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {metadata.version(key)}" for key, name in packages.items())
    return (
        f"`{command}` on {cores} cores of {processor()}, Python {platform.python_version()}, "
        f"{versions}, {time.strftime('%Y-%m-%d')}"
    )


def processor() -> str:
    """Name the processor, without its exact type."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = [line.split(":")[1].split() for line in text.splitlines() if "model name" in line]
    return f"an {' '.join(names[0][:2])}" if names else platform.machine()
