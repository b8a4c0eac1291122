"""Studies that train models by LoRA and in full, on tiny models: what they give, and from what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
import xarray as xr
from tiny_studies import FAST, WORDS, bases, files, grid, pairs, study

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.ablation import Objective, TrainingSettings, checkpoint_steps
from valuebias.training.common import without_futures

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("peft", reason="peft is not installed")

# Its template ends in the token that ends every text, which is also what it pads with.
ENDED = tiny_models.CHAT.replace("<|end|>\n", "<|end|>{{ eos_token }}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "out"


@pytest.fixture(scope="module")
def scores(folder: Path, out: Path) -> xr.Dataset:
    return grid(folder).run(out, progress=False)


def test_a_model_a_checkpoint(scores: xr.Dataset) -> None:
    table = valuebias.schema.model_table(scores)
    assert set(table["tuning"]) == {"lora"}
    assert set(table["family"]) == {"Llama", "Gemma"}
    assert set(table["stage"]) == {"reward"}
    for (_, n_pairs), cell in table.groupby(["base", "n_pairs"]):
        n_steps = FAST.n_steps(int(n_pairs))
        assert cell["step"].tolist() == list(checkpoint_steps(n_steps, linear=1, log=3))
    assert np.isfinite(scores["score"]).all()


def test_training_lowers_the_loss_on_held_out_pairs(scores: xr.Dataset) -> None:
    table = valuebias.schema.model_table(scores)
    last = table.sort_values("step").groupby(["base", "n_pairs"]).last()
    first = table[table["step"] == 0].set_index(["base", "n_pairs"]).loc[last.index]
    assert (last["loss"] < first["loss"] - 0.3).all()
    assert (last["accuracy"] == 1).all()


def test_all_quantities_begin_with_the_same_model(scores: xr.Dataset) -> None:
    begun = scores.isel(model=np.flatnonzero(scores["step"] == 0))
    few, many = (begun.isel(model=np.flatnonzero(begun["n_pairs"] == n)) for n in (24, 48))
    np.testing.assert_array_equal(few["score"], many["score"])
    assert float(np.abs(begun["score"]).max()) > 0


def test_what_is_there_is_not_made_again(folder: Path, out: Path, scores: xr.Dataset) -> None:
    before = files(out)
    again = grid(folder).run(out, progress=False)
    assert files(out) == before
    xr.testing.assert_identical(again.drop_attrs(), scores.drop_attrs())
    xr.testing.assert_identical(valuebias.read(out / "scores.nc").drop_attrs(), again.drop_attrs())


@pytest.mark.filterwarnings("ignore::valuebias.errors.ValueBiasWarning")
def test_an_analysis_takes_checkpoints_from_step_0(scores: xr.Dataset) -> None:
    with pytest.warns(ValueBiasWarning, match="single seed"):
        fit = valuebias.fit_ablation(scores, draws=200, seed=1, progress=False)
    assert "progress" in fit.formula
    assert np.isfinite(fit.gaps()["mean"]).all()
    assert set(fit.trajectories()["progress"]) >= {0.0, 1.0}


def test_full_training(folder: Path, tmp_path: Path, scores: xr.Dataset) -> None:
    made = study(folder, tuning="full", n_pairs=[24]).run(tmp_path, progress=False)
    losses = dict(zip(made["step"].to_numpy(), made["loss"].to_numpy(), strict=True))
    assert losses[max(losses)] < losses[0] - 0.3
    assert set(made["tuning"].to_numpy()) == {"full"}
    # Before the first step there is no difference yet.
    same = scores.isel(model=[0])
    assert int(same["step"][0]) == 0
    np.testing.assert_array_equal(made.isel(model=[0])["score"], same["score"])


def without_pad(place: Path) -> Path:
    """Write a base that has no token to pad with, and whose template ends in the last one."""
    from transformers import AutoTokenizer

    tiny_models.tiny("llama", "logprob", place, chat_template=ENDED)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(place)
    return place


def asked(prompt: str) -> pd.DataFrame:
    text = json.loads(prompt)[0]["content"]
    return pd.DataFrame({"text": [text], "framing": ["positive"]}, index=["x"])


@pytest.mark.parametrize("kind", ["bradley-terry", "grm"])
def test_rewards_in_training_are_those_of_scoring(tmp_path: Path, kind: str) -> None:
    import torch

    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens, make_trainer, save_plain

    place = without_pad(tmp_path / "base")
    base = find_base(Model(str(place)))
    table = valuebias.preferences(pairs(8), progress=False)
    tokens = PairTokens(base, 1024, starts=True).of(table)
    with without_futures():
        trainer = make_trainer(
            base, tokens, tmp_path / "scratch", tuning="lora", settings=TrainingSettings(),
            objective=Objective(kind=kind), seed=0, use_cpu=True,
        )  # fmt: skip
    adapted = [m for name, m in trainer.model.named_modules() if name.endswith("lora_B.default")]
    for module in adapted:
        torch.nn.init.normal_(module.weight)
    examples = [
        {"chosen_ids": c, "rejected_ids": r}
        for c, r in zip(tokens.chosen, tokens.rejected, strict=True)
    ]
    batch = trainer.data_collator(examples)
    assert not batch["attention_mask"].all()
    model = trainer.model.eval()
    with torch.no_grad():
        found = model(**batch).logits[:, 0].numpy()
        # What would happen if the last token also padded: the reward is read somewhere else.
        own = model.config.pad_token_id
        end = model.config.pad_token_id = trainer.processing_class.eos_token_id
        padded = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, end)
        wrong = model(padded, attention_mask=batch["attention_mask"]).logits[:, 0].numpy()
    # Saved so, its own head would read there, and so would score.
    model.config.pad_token_id = own
    save_plain(trainer.model, tmp_path / "rm")
    plain = Model(str(tmp_path / "rm"), tokenizer=str(place))
    expected = np.array([
        float(valuebias.score(plain, prompts=asked(prompt), lexicon=[answer],
                              progress=False)["score"].item())
        for side in ("chosen", "rejected")
        for prompt, answer in zip(table.pairs["prompt"], table.pairs[side], strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(wrong - expected).max() > 1e-3


def test_the_papers_settings_reach_the_trainer(folder: Path, tmp_path: Path) -> None:
    from valuebias.training.features import find_base
    from valuebias.training.reward import PairTokens, make_trainer

    base = find_base(Model(str(folder / "llama")))
    tokens = PairTokens(base, 1024).of(valuebias.preferences(pairs(100), progress=False))
    with without_futures():
        trainer = make_trainer(
            base, tokens, tmp_path, tuning="lora", settings=TrainingSettings(), seed=3,
            use_cpu=True,
        )  # fmt: skip
    args = trainer.args
    assert (args.learning_rate, args.lr_scheduler_type, args.optim) == (
        1e-5,
        "cosine",
        "adamw_torch",
    )
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 16
    assert (args.max_steps, args.seed, args.bf16) == (14, 3, False)
    adapter = trainer.model.peft_config["default"]
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (32, 64, 0.05)
    trained = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    parts = {"q_proj", "k_proj", "v_proj", "o_proj", "score"}
    assert {part for part in parts if any(part in name for name in trained)} == parts
    assert all("lora_" in name or "score" in name for name in trained)
    dropouts = [m.p for m in trainer.model.modules() if type(m).__name__ == "Dropout"]
    assert dropouts
    assert set(dropouts) == {0.05}


SCRIPT = """
import sys
sys.path.insert(0, {support!r})
from pathlib import Path
from tiny_studies import grid
grid(Path({folder!r})).run({out!r}, progress=False)
"""


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_finished(
    folder: Path, tmp_path: Path, scores: xr.Dataset
) -> None:
    target = tmp_path / "out"
    code = SCRIPT.format(
        support=str(Path(__file__).parents[1] / "support"), folder=str(folder), out=str(target)
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        deadline = time.monotonic() + 600
        # One cell is done, and the next has begun to be scored.
        while process.poll() is None and (
            not list(target.glob("runs/*/done.json")) or len(list(target.glob("runs/*"))) < 2
        ):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    kept = files(target / "runs")
    assert any(path.name == "done.json" for path in kept)
    assert len(list(target.glob("runs/*/done.json"))) < 4
    again = grid(folder).run(target, progress=False)
    assert kept.items() <= files(target / "runs").items()
    assert not (target / ".scratch").exists() or not list((target / ".scratch").iterdir())
    xr.testing.assert_identical(again.drop_attrs(), scores.drop_attrs())


def test_a_plan_counts_steps_and_checkpoints(folder: Path) -> None:
    plan = study(folder, seeds=[0, 1]).plan()
    assert len(plan.runs) == 4
    source, scored = (
        plan.table.xs(what, level="reads").iloc[0] for what in ("plain", "checkpoints")
    )
    assert source["steps"] == 2 * (FAST.n_steps(24) + FAST.n_steps(48))
    assert source["conversations"] == 2 * 2 * 3 * (24 + 48)
    n = sum(len(checkpoint_steps(FAST.n_steps(q), linear=1, log=3)) for q in (24, 48))
    assert scored["steps"] == 2 * n
    assert "4 reward models" in str(plan)
    assert (plan.table[["tokens", "seconds", "megabytes"]].sum() > 0).all()


def test_held_out_pairs_of_their_own(folder: Path) -> None:
    own = pairs(20).assign(prompt=[f"Other {i}?" for i in range(20)])
    train, held_out = study(folder, held_out=own).split()["plain"]
    assert (len(train), len(held_out)) == (100, 20)
    with pytest.raises(
        ValueBiasError, match="'plain' and 'held out' share 20 pairs and 20 prompts"
    ):
        study(folder, held_out=pairs(20)).split()


def test_a_study_in_yaml_from_the_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from valuebias.cli.app import app

    tiny_models.tiny("llama", "logprob", tmp_path / "base")
    for name, table in (
        ("pairs", pairs(40)),
        ("held", pairs(10).assign(prompt=[f"Other {i}?" for i in range(10)])),
    ):
        table.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    words = [(word, category) for category, words in WORDS.items() for word in words]
    pd.DataFrame(words, columns=["word", "category"]).to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "study.yaml").write_text(
        f"""
bases: {{base: {{family: Llama}}}}
sources: {{mine: pairs.jsonl}}
held_out: held.jsonl
n_pairs: [16]
seeds: [0]
tuning: lora
training: {{rank: 4, max_steps: 2, log_checkpoints: 0, target_modules: [q_proj]}}
lexicon: {tmp_path / "words.csv"}
""",
        encoding="utf-8",
    )
    target = tmp_path / "out"
    done = CliRunner().invoke(app, ["ablate", str(tmp_path / "study.yaml"), "--out", str(target)])
    assert done.exit_code == 0, done.output
    made = valuebias.read(target / "scores.nc")
    assert made["step"].to_numpy().tolist() == [0, 1, 2]
    about = json.loads(made.attrs["provenance"])
    assert about["training"]["rank"] == 4
    assert about["runs"]["base · mine · 16 · seed 0"]["held_out_pairs"] == 10
