"""Packages of word lists: made by tests, and as published, in a folder on the path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PUBLISHED = ("taters==1.5.5", "pyvalues==0.11.1")
_ENTRY = "taters/data/library/dictionaries"


def install_made(
    folder: Path, lists: dict[str, str], *, package: str = "taters", under: str = _ENTRY,
    version: str = "9.0", recorded: bool = True,
) -> Path:  # fmt: skip
    """Lay a package out as pip does; importing it would end the process."""
    files = {f"{under}/{name}": text for name, text in lists.items()}
    files[f"{package}/__init__.py"] = "import os\nos._exit(66)\n"
    about = f"{package}-{version}.dist-info"
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    if recorded:
        files[f"{about}/RECORD"] = "".join(f'"{name}",,\n' for name in files)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / under


def install_published(folder: Path) -> str:
    """Install the lists as published, without what the packages need to run; say what hindered."""
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--quiet",
               "--disable-pip-version-check", "--retries", "0", "--timeout", "20",
               "--target", str(folder), *PUBLISHED]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "pip took more than 2 minutes"
    lines = done.stderr.strip().splitlines()
    return f"pip cannot fetch them: {lines[-1]}" if done.returncode and lines else ""
