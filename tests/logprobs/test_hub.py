"""Log-probs of a dataset on the hub, from a server on this machine that speaks as the hub does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

import hub_server

import valuebias
from valuebias import ValueBiasError
from valuebias.models.hub_files import HubFile, is_reference

COMMIT = hub_server.COMMIT
PINNED = f"hf://datasets/org/lm@{COMMIT}"
MODELS = ("google/gemma-2-2b", "meta-llama/Llama-3.2-3B")

READ = """
import json, sys
import valuebias
for options in json.loads(sys.argv[1]):
    try:
        tree = valuebias.read_logprobs(**options)
        made = {}
        for name, node in tree.children.items():
            hub = json.loads(node.attrs["provenance"])["hub"]
            about = [str(node[key].values[0]) for key in ("family", "base", "stage")]
            made[name] = [about, node["score"].values[0].tolist(), hub]
        print(json.dumps(made))
    except valuebias.ValueBiasError as error:
        print(json.dumps(str(error)))
"""


def read(home: Path, url: str, *calls: dict[str, Any], **variables: str) -> list[Any]:
    """Read in a process of its own: the hub's address is read when it is imported."""
    places = {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "VALUEBIAS_CACHE": str(home / "vb")}
    made = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(calls)],
        env=os.environ | places | variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in made.stdout.splitlines()]


def table(seed: int) -> pd.DataFrame:
    mass = np.random.default_rng(seed).dirichlet(np.ones(3), size=2)
    frame = pd.DataFrame(np.log(mass).T, columns=["best_ever_one", "worst_ever_one"])
    for place, (name, values) in enumerate(
        {"token_id": [0, 1, 2], "token_name": ["a", "NaN", "c"], "token_decoded": ["a", "b", " c"]}
        .items()
    ):  # fmt: skip
        frame.insert(place, name, values)
    return frame


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    for name in ("lm", "gated"):
        folder = root / "datasets" / "org" / name
        folder.mkdir(parents=True)
        for seed, model in enumerate(MODELS):
            table(seed).to_csv(folder / f"{model.replace('/', '--')}.csv", index=False)
        (folder / "README.md").write_text("not wanted")
        (folder / "weights.bin").write_bytes(b"not wanted")
    (root / "datasets/org/gated/refused").write_text("GatedRepo")
    (root / "datasets/org/none").mkdir()
    (root / "datasets/org/none/README.md").touch()
    return root


def test_a_dataset_is_read_as_a_folder_is_and_fetched_once(hub: Path, tmp_path: Path) -> None:
    with hub_server.serve(hub) as (url, log):
        (found,) = read(tmp_path, url, {"paths": PINNED})
        asked = list(log)
    assert list(found) == ["google--gemma-2-2b", "meta-llama--Llama-3.2-3B"]
    local = valuebias.read_logprobs(hub / "datasets" / "org" / "lm")
    for seed, (name, (about, score, source)) in enumerate(found.items()):
        np.testing.assert_array_equal(np.float32(score), local[name]["score"].to_numpy()[0])
        np.testing.assert_allclose(np.array(score).T, table(seed).iloc[:, 3:], rtol=1e-6)
        assert source == {"dataset": "org/lm", "revision": COMMIT, "file": f"{name}.csv"}
        assert about == [str(local[name][key].to_numpy()[0]) for key in ("family", "base", "stage")]
    assert [about for about, _, _ in found.values()] == [
        ["Gemma", "google/gemma-2-2b", "pretrained"],
        ["Llama", "meta-llama/Llama-3.2-3B", "pretrained"],
    ]
    assert not any("README" in line or ".bin" in line for line in asked)
    fetched = [line for line in asked if line.startswith("GET") and line.endswith(".csv")]
    assert len(fetched) == 2
    # The server is gone: what was fetched needs no network, nor does it ask for any.
    offline = read(
        tmp_path,
        "http://127.0.0.1:9",
        {"paths": PINNED},
        {"paths": PINNED, "download": False},
        {"paths": f"{PINNED}/google--gemma-2-2b.csv"},
    )
    assert offline[:2] == [found, found]
    assert list(offline[2]) == ["google--gemma-2-2b"]


def test_single_files_and_a_mapping(hub: Path, tmp_path: Path) -> None:
    path = f"{PINNED}/google--gemma-2-2b.csv"
    models = {"mine": {"family": "F", "base": "B", "template": "plain"}}
    with hub_server.serve(hub) as (url, log):
        one, several, mapped = read(
            tmp_path,
            url,
            {"paths": path},
            {"paths": [path, f"{PINNED}/meta-llama--Llama-3.2-3B.csv"]},
            {"paths": {"mine": path}, "models": models},
        )
        asked = list(log)
    assert list(one) == ["google--gemma-2-2b"]
    assert list(several) == ["google--gemma-2-2b", "meta-llama--Llama-3.2-3B"]
    assert mapped["mine"][0] == ["F", "B", "pretrained"]
    assert not any("/tree/" in line for line in asked)


def test_what_the_hub_does_not_have_is_named(hub: Path, tmp_path: Path) -> None:
    with hub_server.serve(hub) as (url, _):
        found = read(
            tmp_path,
            url,
            {"paths": f"hf://datasets/org/absent@{COMMIT}"},
            {"paths": f"hf://datasets/org/lm@{'f' * 40}"},
            {"paths": f"{PINNED}/gemma-2-2b-absent.csv"},
            {"paths": f"hf://datasets/org/none@{COMMIT}"},
            {"paths": f"hf://datasets/org/gated@{COMMIT}/gemma-2-2b.csv"},
            {"paths": f"hf://datasets/org/gated@{COMMIT}"},
            {"paths": f"{PINNED}/google--gemma-2-2b.csv", "download": False},
            {"paths": f"{PINNED}/sub"},
        )
    for text, said in zip(
        found,
        (
            "The dataset 'org/absent' is not there: 'org/absent': the hub has no such repository",
            f"has no revision '{'f' * 40}'",
            "has no file 'gemma-2-2b-absent.csv'",
            "has no .csv file at",
            "has no file 'gemma-2-2b.csv'",
            "is gated. Accept its conditions",
            "not in the hub's local cache, and nothing may be downloaded",
            "has no .csv file in 'sub'",
        ),
        strict=True,
    ):
        assert said in text


@pytest.mark.parametrize("path", [PINNED, f"{PINNED}/google--gemma-2-2b.csv"])
def test_offline_the_error_says_what_to_do(tmp_path: Path, path: str) -> None:
    (found,) = read(tmp_path, "http://127.0.0.1:9", {"paths": path}, HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached" in found
    assert "give a local folder" in found


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hf://datasets/org/lm", "has no revision. Give the commit, .*datasets/org/lm/commits/"),
        ("hf://datasets/org/lm@main", "has the revision 'main', which can change"),
        (f"hf://datasets/org/lm@{COMMIT[:7]}", "which can change"),
        ("hf://org/lm", "names no dataset on the hub"),
        ("hf://spaces/org/lm", "names no dataset on the hub"),
        (f"hf://datasets/lm@{COMMIT}", "names no dataset on the hub"),
        ([PINNED, PINNED], "names a whole dataset; expected one of its files"),
        ({MODELS[0]: PINNED}, "names a whole dataset; expected one of its files"),
    ],
)
def test_a_reference_pins_its_revision(path: Any, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.read_logprobs(path)


def test_what_is_not_known_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path))
    with pytest.raises(ValueBiasError, match="nothing may be downloaded"):
        valuebias.read_logprobs(PINNED, download=False)


def test_a_path_object_is_a_reference_too() -> None:
    assert is_reference(Path(PINNED))
    with pytest.raises(ValueBiasError, match="'main', which can change"):
        valuebias.read_logprobs(Path("hf://datasets/org/lm@main"))


def test_a_file_names_its_reference() -> None:
    assert str(HubFile("org/lm", COMMIT, "a.csv")) == f"{PINNED}/a.csv"


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["huggingface_hub"] = None
import valuebias
try:
    valuebias.read_logprobs({PINNED!r})
except valuebias.ValueBiasError as error:
    print(error)
"""
    made = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"VALUEBIAS_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert 'pip install "valuebias[hub]"' in made.stdout
