"""Tests of valuebias._core.provenance."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from valuebias._core.provenance import record, sha256, versions
from valuebias.errors import ValueBiasError


def test_a_record_says_when_with_what_and_from_which_files(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(b"abc")
    made = record(files=[path], details={"note": ["any", 1]})
    assert json.loads(json.dumps(made)) == made
    assert datetime.fromisoformat(made["date"]).utcoffset() == timedelta(0)
    assert made["packages"]["numpy"] == np.__version__
    assert made["files"] == [
        {
            "name": "scores.csv",
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        }
    ]
    assert made["note"] == ["any", 1]


def test_details_cannot_replace_a_standard_entry() -> None:
    with pytest.raises(ValueBiasError, match=r"\['date'\]"):
        record(details={"date": "yesterday"})


def test_packages_that_are_absent_are_left_out() -> None:
    assert all(isinstance(version, str) for version in versions().values())
    assert "pandas" in versions()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"absent\.csv"):
        sha256(tmp_path / "absent.csv")
