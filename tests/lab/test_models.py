"""The laboratory's models have the planted lean, and reward models of them inherit it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError, lab
from valuebias.lab.language import Language
from valuebias.lab.text import conversation
from valuebias.lab.tokens import make_tokenizer

LACKING = tiny_models.missing()
if LACKING is not None:
    pytest.skip(LACKING, allow_module_level=True)

Lean = Callable[[xr.Dataset], dict[str, float]]
PROMPTS = valuebias.prompts().table.iloc[4::9]
"""Six of the superlatives, three of each framing."""


def logprobs(models: list[Model]) -> xr.Dataset:
    return valuebias.score(models, prompts=PROMPTS, kind="logprob", progress=False)


def rewards(models: list[Model]) -> xr.Dataset:
    ds = valuebias.score(models, prompts=PROMPTS, progress=False)
    # On one scale, so that models can be compared.
    return ds.assign(score=ds["score"] / ds["score"].std(("prompt", "response")))


@pytest.mark.slow
def test_log_probs_have_the_planted_lean(bases: dict[str, Model], lean_of: Lean) -> None:
    found = lean_of(logprobs(list(bases.values())))
    for name, model in bases.items():
        planted = lab.about(model)["truth"]["lean"]
        assert np.sign(found[name]) == np.sign(planted), name
        assert abs(found[name]) == pytest.approx(abs(planted), rel=0.45), name
    order = ["gemma-1.5", "llama-0.5", "gemma+0.5", "llama+1.5"]
    assert sorted(order, key=found.__getitem__) == order


@pytest.mark.slow
def test_words_are_single_tokens_in_the_template_of_the_text(bases: dict[str, Model]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bases["llama+1.5"].location)
    chat = [{"role": "user", "content": "Name one tool."}, {"role": "assistant", "content": "saw"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == conversation(
        "Name one tool.", "saw"
    )
    words = valuebias.lexicon().words
    assert all(len(ids) == 1 for ids in tokenizer(list(words))["input_ids"])
    for texts in (PROMPTS["text"], valuebias.prompts().table["text"], words):
        for text in texts:
            assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"], text


@pytest.mark.slow
def test_a_model_says_how_it_was_made(bases: dict[str, Model]) -> None:
    made = lab.about(bases["gemma-1.5"])
    truth = {"lean": -1.5, "habit": 0.0, "categories": ["agency", "communion"]}
    assert made["truth"] == truth
    assert made["loss"][-1] < made["loss"][0] / 2
    assert {"torch", "transformers"} <= made["packages"].keys()
    model = bases["gemma-1.5"]
    assert (model.family, model.stage, model.seed) == ("Gemma", "pretrained", 0)
    folder = Path(model.location)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gemma2"
    assert (folder / "model.safetensors").is_file()


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        lab.pretrain(tmp_path / name, lean=1.0, n_texts=80, seed=seed, progress=False)
        return (tmp_path / name / "model.safetensors").read_bytes()

    first = weights("a", 1)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert weights("b", 1) == first
    assert weights("c", 2) != first
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_what_is_there_is_kept_and_nothing_else_overwritten(tmp_path: Path) -> None:
    def make(**options: float) -> Model:
        given = {"lean": 1.0, "n_texts": 80, "seed": 1} | options
        return lab.pretrain(tmp_path / "a", progress=False, **given)

    model = make()
    stamp = (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns
    assert make() == model
    assert (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(ValueBiasError, match="holds something else"):
        make(lean=0.5)
    with pytest.raises(ValueBiasError, match="Did you mean 'gemma'"):
        lab.pretrain(tmp_path / "b", architecture="gema", lean=0, progress=False)
    with pytest.raises(ValueBiasError, match="no model of the laboratory"):
        lab.about(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_any_lexicon_will_do(tmp_path: Path) -> None:
    words = {"up": ["win", "rise"], "down": ["lose", "self-doubt"]}
    model = lab.pretrain(tmp_path / "m", lean=1, lexicon=words, n_texts=80, progress=False)
    assert lab.about(model)["truth"]["categories"] == ["up", "down"]
    ds = valuebias.score(model, lexicon=words, prompts=PROMPTS, kind="logprob", progress=False)
    assert not ds["score"].isnull().any()
    tokenizer = make_tokenizer(Language.of(words, None).vocabulary())
    assert tokenizer.tokenize("self-doubt?") == ["self-doubt", "?"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "head"])
def test_reward_models_inherit_the_lean(
    bases: dict[str, Model], lean_of: Lean, tmp_path: Path, mode: str
) -> None:
    pairs = lab.generate_preferences(128, seed=7)
    models = [
        lab.train_reward_model(
            bases[name], pairs, out=tmp_path / name, mode=mode, source="neutral", progress=False
        )
        for name in ("llama+1.5", "gemma-1.5")
    ]
    ds = rewards(models)
    assert ds.attrs["kind"] == "reward"
    assert ds["source"].to_numpy().tolist() == ["neutral"] * 2
    assert ds["stage"].to_numpy().tolist() == ["reward"] * 2
    np.testing.assert_array_equal(ds["n_pairs"], [128, 128])
    lean = lean_of(ds)
    assert lean["llama+1.5"] > 0.5
    assert lean["gemma-1.5"] < -0.5
    assert lab.about(models[0])["truth"]["lean"] == 1.5


@pytest.mark.slow
def test_pairs_are_learned_and_an_opposite_lean_takes_over(
    bases: dict[str, Model], lean_of: Lean, tmp_path: Path
) -> None:
    pairs = lab.generate_preferences(256, share_lean=0.5, favour="communion", seed=7)
    models = [
        lab.train_reward_model(
            bases["llama+1.5"], pairs.head(count), out=tmp_path / str(count), progress=False
        )
        for count in (16, 64, 256)
    ]
    assert np.mean(lab.about(models[-1])["loss"][-4:]) < 0.4
    lean = lean_of(rewards(models))
    assert lean["16"] > lean["256"] + 0.5
    assert lean["256"] < 0


@pytest.mark.slow
def test_a_base_that_is_none_and_pairs_that_are_none_are_refused(
    bases: dict[str, Model], tmp_path: Path
) -> None:
    pairs = lab.generate_preferences(4, seed=0)
    with pytest.raises(ValueBiasError, match="no model of the laboratory"):
        lab.train_reward_model(tmp_path, pairs, out=tmp_path / "rm", progress=False)
    with pytest.raises(ValueBiasError, match=r"expected .*'rejected'"):
        lab.train_reward_model(
            bases["llama+1.5"], pairs.drop(columns="rejected"), out=tmp_path / "rm"
        )
    with pytest.raises(ValueBiasError, match="Did you mean 'head'"):
        lab.train_reward_model(bases["llama+1.5"], pairs, out=tmp_path / "rm", mode="heads")
    assert not (tmp_path / "rm").exists()


def test_a_grid_has_every_combination_and_shares_its_pairs(tmp_path: Path) -> None:
    def grid() -> tuple[Model, ...]:
        return lab.train_grid(tmp_path, n_pairs=[8, 16], seeds=[3], n_texts=80, progress=False)

    models = grid()
    rows = {(m.family, m.base, m.source, m.n_pairs, m.seed) for m in models}
    assert rows == {
        (family, f"{family}-3", source, n, 3)
        for family in ("Llama", "Gemma")
        for source in ("neutral", "communion")
        for n in (8, 16)
    }
    pairs = {m.name.split("-", 1)[1]: set() for m in models}
    for model in models:
        pairs[model.name.split("-", 1)[1]].add(lab.about(model)["settings"]["pairs"])
    assert all(len(digests) == 1 for digests in pairs.values())
    stamps = [(Path(m.location) / "lab.json").stat().st_mtime_ns for m in models]
    assert grid() == models
    assert [(Path(m.location) / "lab.json").stat().st_mtime_ns for m in models] == stamps
    with pytest.raises(ValueBiasError, match="nothing to train"):
        lab.train_grid(tmp_path, seeds=[])
