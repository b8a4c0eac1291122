"""Language models of the laboratory, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from valuebias import Model, lab


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    lacking = tiny_models.missing()
    if lacking is not None:
        pytest.skip(lacking)
    folder: Path = tmp_path_factory.mktemp("bases")
    planted = {"llama": (1.5, -0.5), "gemma": (-1.5, 0.5)}
    return {
        f"{architecture}{lean:+}": lab.pretrain(
            folder / f"{architecture}{lean:+}",
            architecture=architecture,
            lean=lean,
            seed=seed,
            progress=False,
        )
        for architecture, leans in planted.items()
        for seed, lean in enumerate(leans)
    }
