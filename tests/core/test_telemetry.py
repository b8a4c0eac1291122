"""Libraries that report on their use find it switched off."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from valuebias._core.telemetry import SWITCHES

HUB = "from huggingface_hub import constants; found.append(constants.HF_HUB_DISABLE_TELEMETRY)"
OURS = "import valuebias"


def run(*steps: str, **given: str) -> list[object]:
    """Run steps in a fresh process, and give what they found and what the switches say then."""
    code = "\n".join(
        [
            "import json, os",
            "found = []",
            *steps,
            f"print(json.dumps(found + [os.environ.get(name) for name in {SWITCHES!r}]))",
        ]
    )
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    made = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | given,
        capture_output=True,
        text=True,
        check=True,
    )
    return list(json.loads(made.stdout.splitlines()[-1]))


def test_importing_the_package_switches_reports_off() -> None:
    assert run() == [None, None]
    assert run(OURS) == ["1", "1"]


def test_what_is_set_already_is_left() -> None:
    assert run(OURS, **{SWITCHES[1]: "0"}) == ["1", "0"]


@pytest.mark.parametrize("steps", [(OURS, HUB), (HUB.split(";")[0], OURS, HUB)])
def test_the_hub_obeys_whichever_is_imported_first(steps: tuple[str, ...]) -> None:
    pytest.importorskip("huggingface_hub")
    assert run(HUB)[0] is False
    assert run(*steps)[0] is True


@pytest.mark.parametrize("steps", [(OURS, HUB), (HUB.split(";")[0], OURS, HUB)])
def test_the_hub_is_not_asked_where_downloads_are_forbidden(steps: tuple[str, ...]) -> None:
    pytest.importorskip("huggingface_hub")
    offline = "found.append(constants.is_offline_mode())"
    assert run(*steps, offline, VALUEBIAS_OFFLINE="1")[1] is True
    # Of two switches the one that forbids decides.
    assert run(*steps, offline, VALUEBIAS_OFFLINE="yes", HF_HUB_OFFLINE="0")[1] is True
    assert run(*steps, offline, VALUEBIAS_OFFLINE="0", HF_HUB_OFFLINE="0")[1] is False
