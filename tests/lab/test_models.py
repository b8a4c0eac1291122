"""The laboratory's models have the planted lean, and reward models of them inherit it."""

from __future__ import annotations

import json
from pathlib import Path

import laboratory
import numpy as np
import pytest
import tiny_models
import tiny_studies
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError, lab
from valuebias.ablation import Study
from valuebias.lab.language import Language
from valuebias.lab.models import make_tokenizer
from valuebias.lab.text import conversation

LACKING = tiny_models.missing()
if LACKING is not None:
    pytest.skip(LACKING, allow_module_level=True)


@pytest.mark.slow
def test_log_probs_have_the_planted_lean(bases: dict[str, Model]) -> None:
    leans = laboratory.leans(laboratory.logprobs(list(bases.values())))
    for name, model in bases.items():
        planted = lab.about(model)["truth"]["lean"]
        assert np.sign(leans[name]) == np.sign(planted), name
        assert abs(leans[name]) == pytest.approx(abs(planted), rel=0.45), name
    order = ["gemma-1.5", "llama-0.5", "gemma+0.5", "llama+1.5"]
    assert sorted(order, key=leans.__getitem__) == order


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
    for texts in (laboratory.PROMPTS["text"], valuebias.prompts().table["text"], words):
        for text in texts:
            assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"], text


@pytest.mark.slow
def test_a_model_says_how_it_was_made(bases: dict[str, Model]) -> None:
    about = lab.about(bases["gemma-1.5"])
    truth = {"lean": -1.5, "habit": 0.0, "categories": ["agency", "communion"]}
    assert about["truth"] == truth
    assert about["loss"][-1] < about["loss"][0] / 2
    assert {"torch", "transformers"} <= about["packages"].keys()
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
        settings = {"lean": 1.0, "n_texts": 80, "seed": 1} | options
        return lab.pretrain(tmp_path / "a", progress=False, **settings)

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
    ds = valuebias.score(
        model, lexicon=words, prompts=laboratory.PROMPTS, kind="logprob", progress=False
    )
    assert not ds["score"].isnull().any()
    tokenizer = make_tokenizer(Language.of(words, None).vocabulary())
    assert tokenizer.tokenize("self-doubt?") == ["self-doubt", "?"]


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["head", "full"])
def test_reward_models_inherit_the_lean(
    bases: dict[str, Model], tmp_path: Path, tuning: str
) -> None:
    if tuning == "full":
        pytest.importorskip("trl", reason="trl is not installed")
    steps = {"linear_checkpoints": 0, "log_checkpoints": 0}
    study = Study(
        [bases["llama+1.5"], bases["gemma-1.5"]],
        {"neutral": laboratory.preferences(seed=7)},
        [256],
        seeds=[0],
        tuning=tuning,
        training=None if tuning == "head" else {"epochs": 4, "learning_rate": 1e-3, **steps},
        prompts=laboratory.PROMPTS,
    )
    ds = study.run(tmp_path / "study", progress=False)
    assert ds.attrs["kind"] == "reward"
    trained = ds.isel(model=ds["step"].to_numpy() > 0)
    assert trained["source"].to_numpy().tolist() == ["neutral"] * 2
    assert trained["stage"].to_numpy().tolist() == ["reward"] * 2
    assert (trained["accuracy"] > 0.9).all()
    scaled = laboratory.on_one_scale(trained)
    leans = dict(
        zip(ds["base"].to_numpy()[ds["step"] > 0], laboratory.leans(scaled).values(), strict=True)
    )
    assert leans["llama+1.5"] > 0.5
    assert leans["gemma-1.5"] < -0.5


@pytest.mark.slow
def test_pairs_are_learned_and_an_opposite_lean_takes_over(
    bases: dict[str, Model], tmp_path: Path
) -> None:
    study = laboratory.study([bases["llama+1.5"]], {"half": 0.5}, [16, 64, 256], seeds=range(6))
    rewards = study.run(tmp_path / "study", progress=False)
    most = rewards["n_pairs"].to_numpy() == 256
    assert (rewards["loss"][most] < 0.4).all()
    assert (rewards["accuracy"][most] > 0.9).all()
    leans = np.array(list(laboratory.leans(laboratory.on_one_scale(rewards)).values()))
    fewest = rewards["n_pairs"].to_numpy() == 16
    # How many of 16 pairs lean is a matter of chance.
    assert leans[fewest].mean() > leans[most].mean() + 0.5
    assert (leans[most] < 0).all()


def small_study(folder: Path, **changes: object) -> Study:
    """Describe a study of one small base."""
    base = lab.pretrain(folder / "base", lean=1.0, n_texts=80, seed=3, progress=False)
    sources = {name: laboratory.preferences(share, n_pairs=64, seed=1)
               for name, share in (("neutral", 0.0), ("communion", 0.25))}  # fmt: skip
    settings = {"seeds": [3], "prompts": laboratory.PROMPTS.iloc[[0, -1]]} | changes
    return Study(base, settings.pop("sources", sources), [8, 16], **settings)


def test_a_study_has_every_combination_and_is_made_once(tmp_path: Path) -> None:
    def run() -> xr.Dataset:
        return small_study(tmp_path).run(tmp_path / "study", progress=False)

    rewards = run()
    coords = ["family", "base", "source", "n_pairs", "seed"]
    rows = zip(*(rewards[name].to_numpy().tolist() for name in coords), strict=True)
    assert set(rows) == {
        ("Llama", "base", source, n, 3) for source in ("neutral", "communion") for n in (8, 16)
    }
    stamps = tiny_studies.files(tmp_path)
    np.testing.assert_array_equal(run()["score"], rewards["score"])
    assert tiny_studies.files(tmp_path) == stamps
    again = small_study(tmp_path).run(tmp_path / "again", progress=False)
    np.testing.assert_array_equal(again["score"], rewards["score"])


def test_a_base_that_is_none_and_pairs_that_are_none_are_refused(tmp_path: Path) -> None:
    pairs = laboratory.preferences(n_pairs=64)
    (tmp_path / "empty").mkdir()
    for message, study in {
        "config.json": Study(str(tmp_path / "empty"), {"neutral": pairs}, [8]),
        "'rejected'": small_study(tmp_path, sources={"a": pairs.drop(columns="rejected")}),
        "but 16 are needed": small_study(tmp_path, sources={"a": pairs.head(8)}),
    }.items():
        with pytest.raises(ValueBiasError, match=message):
            study.run(tmp_path / "study", progress=False)
    with pytest.raises(ValueBiasError, match="Did you mean 'head'"):
        small_study(tmp_path, tuning="heads")
