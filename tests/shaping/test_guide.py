"""What the guide shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_models

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "shaping.md"


@pytest.mark.once
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.tiny("gemma2", "reward", tmp_path / "models" / "reward-a")
    monkeypatch.chdir(tmp_path)
    text = GUIDE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)  # noqa: S102 - our own guide
    report = names["report"]
    assert report.table["axis"].tolist() == ["length", "hedging", "agency − communion"]
    assert report.table["target"].tolist() == [True, False, False]
    assert len(report.accuracy) == 1
    assert (tmp_path / "shaped" / "shaping.json").is_file()
