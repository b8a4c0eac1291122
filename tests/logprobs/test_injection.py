"""Words raised by fine-tuning: what is trained, kept, told, and found again."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_models
import tiny_models
import xarray as xr
from damages import flip

import valuebias
from valuebias import LoraSettings, Model, ValueBiasError, ValueBiasWarning
from valuebias.logprobs.injection.words import train_on
from valuebias.plots import plot_validation
from valuebias.training.sft import merge, train

LACKING = tiny_models.missing()
if LACKING is not None:
    pytest.skip(LACKING, allow_module_level=True)
pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("peft", reason="peft is not installed")

# The tokenizer has each word of its paragraph with a space before it.
TEMPLATE = "Q: {prompt} A:{response}"
WORDS = [" love", " power", " trust"]
PROMPTS = pd.DataFrame(
    {
        "text": [f"What is the {a} thing?" for a in ("best", "greatest", "most", "worst", "least")],
        "framing": ["positive"] * 3 + ["negative"] * 2,
    },
    index=["best", "greatest", "most", "worst", "least"],
)
QUICK = LoraSettings(rank=4, learning_rate=0.02, n_steps=8, batch_size=4, replay=0.25)


def inject(model: Any, **options: Any) -> xr.Dataset:
    given: dict[str, Any] = {"words": WORDS, "prompts": PROMPTS, "settings": QUICK}
    return valuebias.inject_words(model, **(given | {"progress": False} | options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny("llama", "logprob", tmp_path_factory.mktemp("tiny") / "lm", tokens=1000)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model(str(folder), name="tiny", family="F", base="B", template=TEMPLATE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "kept"


@pytest.fixture(scope="module")
def injected(model: Model, store: Path) -> xr.Dataset:
    return inject(model, store=store)


def adapters(store: Path) -> dict[str, int]:
    """Give the adapters in a store, and when each was written."""
    files = store.glob("seed-*/adapter/adapter_model.safetensors")
    return {file.parts[-3]: file.stat().st_mtime_ns for file in files}


def test_the_dataset_says_what_was_done(injected: xr.Dataset) -> None:
    assert valuebias.validate(injected) is injected
    assert injected["model"].to_numpy().tolist() == ["tiny", "tiny+seed-0", "tiny+seed-1"]
    assert injected["tuned_from"].to_numpy().tolist() == ["", "tiny", "tiny"]
    assert injected["stage"].to_numpy().tolist() == ["pretrained", "instruct", "instruct"]
    assert set(injected["family"].to_numpy()) == {"F"}
    assert set(injected["base"].to_numpy()) == {"B"}
    np.testing.assert_array_equal(injected["seed"], [np.nan, 0, 1])
    raised = injected["raised"].to_numpy()
    assert not raised[0].any()
    for row in raised[1:]:
        assert sorted(injected["response"].to_numpy()[row]) == WORDS
    held = injected["held_out"].to_numpy()
    assert held[0].all()
    assert {int(row.sum()) for row in held[1:]} <= {2, 3}


def test_the_provenance_is_full(injected: xr.Dataset) -> None:
    made = json.loads(injected.attrs["provenance"])
    about = made["injection"]
    assert about["settings"]["n_steps"] == 8
    assert len(about["weights"]) == 64
    assert {"peft", "torch", "trl"} <= made["packages"].keys()
    for one, held in zip(about["seeds"], injected["held_out"].to_numpy()[1:], strict=True):
        assert one["words"] == WORDS
        assert one["trained_on"] == injected["prompt"].to_numpy()[~held].tolist()
        assert len(one["training"]["loss"]) == 8
        assert min(one["training"]["loss"]) > 0
    # Scores were made as users make them, of weights that training has changed.
    weights = {part["models"][0]["settings"]["weights"] for part in made["scores"]["parts"]}
    assert len(weights) == 3


def test_the_untouched_model_is_scored_as_ever(injected: xr.Dataset, model: Model) -> None:
    tree = valuebias.score(
        model, prompts=PROMPTS, kind="logprob", lexicon="vocabulary", progress=False
    )
    alone = valuebias.align(tree)
    np.testing.assert_array_equal(injected["score"].to_numpy()[0], alone["score"].to_numpy()[0])


def test_raised_words_are_raised_where_they_were_not_trained(injected: xr.Dataset) -> None:
    report = valuebias.injection_report(injected)
    assert report.index.tolist() == ["tiny+seed-0", "tiny+seed-1"]
    assert (report["change"] > 1).all()
    assert (report["change"] > report["rest_change"] + 1).all()
    assert (report["mass_after"] > 2 * report["mass_before"]).all()
    assert (report["n_raised"] == 3).all()
    one = injected.sel(model="tiny+seed-0").isel(prompt=injected["held_out"].to_numpy()[1])
    before = injected.sel(model="tiny", prompt=one["prompt"])
    p, q = (ds["score"].to_numpy().astype(float) for ds in (one, before))
    change = (p - q)[:, one["raised"].to_numpy()].mean()
    assert report["change"].iloc[0] == pytest.approx(change)
    # Bytes that are no text by themselves share one, so the rest does not sum to one.
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (p, q))
    assert report["kl"].iloc[0] == pytest.approx((q * np.log(q / p)).sum(axis=1).mean())


def test_what_is_kept_is_not_made_again(injected: xr.Dataset, model: Model, store: Path) -> None:
    before = adapters(store)
    assert len(before) == 2
    assert not list(store.glob("*/merged"))
    again = inject(model, store=store)
    assert adapters(store) == before
    xr.testing.assert_identical(again.drop_attrs(), injected.drop_attrs())
    more = inject(model, store=store, seeds=[1, 2])
    assert {key: value for key, value in adapters(store).items() if key in before} == before
    assert len(adapters(store)) == 3
    np.testing.assert_array_equal(
        more["score"].to_numpy()[:2], injected["score"].to_numpy()[[0, 2]]
    )


@pytest.mark.usefixtures("injected")
def test_an_interrupted_scoring_goes_on(model: Model, store: Path, folder: Path) -> None:
    before, wanted = adapters(store), inject(model, store=store)
    (kept,) = store.glob("seed-0-*")
    # As a kill leaves it: the merged weights are there, and a block is missing.
    merge(folder, kept / "adapter", kept / "merged")
    for mark in kept.glob("scores.zarr/*/score/.finished.*"):
        mark.unlink()
    xr.testing.assert_identical(inject(model, store=store).drop_attrs(), wanted.drop_attrs())
    assert adapters(store) == before
    assert not (kept / "merged").exists()


@pytest.mark.parametrize("what", ["adapter/adapter_model.safetensors", "scores.zarr"])
def test_what_is_damaged_is_named_and_made_again_alone(
    injected: xr.Dataset, model: Model, store: Path, tmp_path: Path, what: str
) -> None:
    place = Path(shutil.copytree(store, tmp_path / "kept"))
    assert valuebias.check(place).is_whole
    (kept,) = place.glob("seed-0-*")
    bad = kept / what if what != "scores.zarr" else next(kept.glob("scores.zarr/*/score/0.0.0"))
    flip(bad)
    (piece,) = valuebias.check(place).pieces
    assert piece.file == bad.relative_to(place).as_posix()
    assert "inject_words" in piece.advice
    when = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    with pytest.warns(ValueBiasWarning, match="is damaged.*again"):
        again = inject(model, store=place)
    assert valuebias.check(place).is_whole
    xr.testing.assert_identical(again.drop_attrs(), injected.drop_attrs())
    now = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    changed = {path for path in now if now[path] != when.get(path)}
    assert bad in changed
    folder = kept / "adapter" if what != "scores.zarr" else kept / "scores.zarr"
    assert all(path.is_relative_to(folder) for path in changed)
    assert not (kept / "merged").exists()


@pytest.mark.usefixtures("injected")
@pytest.mark.parametrize(
    "change",
    [
        {"settings": LoraSettings(rank=2, learning_rate=0.02, n_steps=8, batch_size=4)},
        {"words": WORDS[:2]},
        {"prompts": PROMPTS.iloc[1:]},
    ],
)
def test_other_settings_are_trained_anew(model: Model, store: Path, change: dict[str, Any]) -> None:
    before = adapters(store)
    inject(model, store=store, seeds=[0], **change)
    assert len(adapters(store)) == len(before) + 1
    assert before.items() <= adapters(store).items()


def test_other_weights_are_trained_anew(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = tiny_models.tiny("llama", "logprob", tmp_path / "lm", tokens=1000, seed=seed)
        inject(Model(str(folder), template=TEMPLATE), store=tmp_path / "kept", seeds=[0])
    assert len(adapters(tmp_path / "kept")) == 2


def test_an_interrupted_training_leaves_no_adapter(model: Model, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not list(tmp_path.glob("untouched-*/*/score/.finished.*")):
            time.sleep(0.05)
        time.sleep(1)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    endless = LoraSettings(n_steps=100_000)
    with pytest.raises(KeyboardInterrupt):
        inject(model, store=tmp_path, settings=endless, seeds=[0])
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["untouched"]


def test_words_are_drawn_among_the_likeliest(model: Model, store: Path) -> None:
    exclude = pd.DataFrame({"x": [True, True]}, index=["LOVE", "power"])
    made = inject(
        model, store=store, words=None, n_words=4, likeliest=0.5, exclude=exclude, seeds=[0, 1, 2]
    )
    raised = made["raised"].to_numpy()[1:]
    texts = made["response"].to_numpy()
    words = [set(texts[row].tolist()) for row in raised]
    assert all(len(one) == 4 for one in words)
    assert words[0] != words[1] or words[1] != words[2]
    paragraph = tiny_models.TEXT.replace(",", " ").replace(".", " ").split()
    for word in set.union(*words):
        assert word[0] == " "
        assert any(said.startswith(word[1:]) for said in paragraph)
        assert word not in (" love", " power")
    likely = np.logaddexp.reduce(made["score"].to_numpy()[0].astype(float), axis=0)
    words_only = [i for i, text in enumerate(texts) if text[:1] == " " and len(text) > 3]
    assert likely[raised.any(axis=0)].min() >= np.quantile(likely[words_only], 0.3)


def test_a_template_that_ends_in_white_space_wants_words_without(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="words of one token"):
        inject(Model(str(folder), template="plain"), words=None, n_words=300, likeliest=1)
    with pytest.raises(ValueBiasError, match="' love' is given twice"):
        inject(Model(str(folder), template=TEMPLATE), words=[" love", " love"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": [" love", " loveliness"]}, "' loveliness' is not one token to 'tiny'"),
        ({"words": []}, "words is \\[\\]; expected a list of words"),
        ({"words": " love"}, "words is ' love'; expected a list of words"),
        ({"words": None, "n_words": 5000}, "n_words is 5000, but 'tiny' has"),
        ({"n_words": 0}, "n_words is 0; expected a whole number"),
        ({"likeliest": 0}, "likeliest is 0"),
        ({"seeds": []}, "seeds is \\[\\]; expected different whole numbers"),
        ({"seeds": [1, 1]}, "seeds is \\[1, 1\\]"),
        ({"seeds": [-1]}, "seeds is \\[-1\\]"),
        ({"settings": {"rank": 2}}, "expected valuebias.LoraSettings"),
        ({"prompts": PROMPTS.iloc[:1]}, "There are 1 prompts; expected at least two"),
        ({"backend": "torhc"}, "Did you mean 'torch'"),
    ],
)
def test_bad_input(model: Model, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        inject(model, store=tmp_path, **options)
    assert not list(tmp_path.glob("seed-*"))


def test_models_that_cannot_be_tuned(tmp_path: Path, model: Model) -> None:
    reward = tiny_models.tiny("llama", "reward", tmp_path / "reward")
    with pytest.raises(ValueBiasError, match="is a reward model"):
        inject(Model(str(reward), template=TEMPLATE))
    config = json.loads((reward / "config.json").read_text())
    (reward / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    with pytest.raises(ValueBiasError, match="is a reward model \\(LlamaForSequence"):
        inject(Model(str(reward), template=TEMPLATE))
    with pytest.raises(ValueBiasError, match="no-such-folder"):
        inject(Model(str(tmp_path / "no-such-folder"), template=TEMPLATE))
    with pytest.raises(ValueBiasError, match="There are 2 models; expected one"):
        inject([model, Model(str(reward))])
    with pytest.raises(ValueBiasError, match="trust_remote_code=True"):
        inject(Model(model.location, template=TEMPLATE, trust_remote_code=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"n_steps": 1.5}, "n_steps is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"replay": 1}, "replay is 1"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        LoraSettings(**options)


def test_what_is_not_installed_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ValueBiasError, match=r'trl is not installed.*"valuebias\[train\]"'):
        inject(model)


def test_random_numbers_of_others_are_left_alone(folder: Path, tmp_path: Path) -> None:
    import torch

    def state() -> list[Any]:
        return [random.getstate(), np.random.get_state()[1].tolist(),  # noqa: NPY002
                torch.random.get_rng_state().tolist()]  # fmt: skip

    before = state()
    losses = []
    for seed in (0, 0, 1):
        answers = [(np.array([1, 5, 9, 40 + i]), 3) for i in range(12)]
        settings = LoraSettings(n_steps=3, batch_size=2)
        target = tmp_path / f"{len(losses)}"
        train(folder, folder, answers, target, name="tiny", settings=settings, seed=seed,
              on_cpu=True, advance=None)  # fmt: skip
        losses.append(json.loads((target / "training.json").read_text())["loss"])
    assert state() == before
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.usefixtures("injected")
def test_what_is_trained_on(model: Model, store: Path) -> None:
    from valuebias.backends import get_backend
    from valuebias.logprobs.injection.run import _answers, _Plan, find_subject

    subject = find_subject(
        model, prompts=valuebias.prompts(PROMPTS), backend=get_backend("torch"), progress=False
    )
    (group,) = valuebias.read_vocabulary(next(store.glob("untouched-*"))).children.values()
    untouched = group.to_dataset().load()
    trained = np.array([True, False, False, True, False])
    words = {50: "a", 60: "b", 70: "c"}
    plan = _Plan(seed=0, words=words, trained=trained, key="")
    prefixes = subject.tokenizer.prefixes(subject.texts)
    for replay in (0, 0.5):
        settings = LoraSettings(n_steps=30, batch_size=4, replay=replay)
        answers = _answers(subject, plan, settings, untouched)
        asked = {tuple(ids[:first].tolist()) for ids, first in answers}
        assert asked == {tuple(prefixes[i].tolist()) for i in (0, 3)}
        assert all(len(ids) == first + 1 for ids, first in answers)
        said = [int(ids[-1]) for ids, _ in answers]
        if replay:
            assert 55 <= sum(token in words for token in said) <= 75
        else:
            assert [said.count(token) for token in words] == [40, 40, 40]


def test_half_of_the_prompts_of_each_framing() -> None:
    framing = ["positive"] * 27 + ["negative"] * 27
    chosen = [train_on(framing, np.random.default_rng(seed)) for seed in range(20)]
    for one in chosen:
        assert one.sum() == 27
        assert one[:27].sum() in (13, 14)
    assert np.mean(chosen, axis=0).min() > 0.1
    assert {int(train_on(["positive", "negative"], np.random.default_rng(s)).sum())
            for s in range(5)} == {1}  # fmt: skip


def test_which_method_finds_the_words(injected: xr.Dataset) -> None:
    made = valuebias.validate_implicit(injected, k=[1, 10])
    held = injected["held_out"].to_numpy()[1:]
    n_methods = len(valuebias.implicit_methods())
    assert len(made.table) == held.sum() * n_methods
    assert set(made.table["source"]) == {"fine-tuning"}
    assert made.table["noise"].isna().all()
    row = made.table[made.table["method"] == "log_ratio"].iloc[0]
    at = {"model": "tiny+seed-0", "prompt": row["prompt"]}
    assert injected["held_out"].sel(at)
    p, q = injected["score"].sel(at), injected["score"].sel(at | {"model": "tiny"})
    reward = (p.to_numpy().astype(float) - q.to_numpy().astype(float)).round(12)
    raised = injected["raised"].sel(model="tiny+seed-0").to_numpy()
    above = reward[raised][:, None] > reward[~raised][None]
    assert row["auc"] == pytest.approx(above.mean(), abs=1e-6)
    top = np.argsort(-reward)
    assert row["recall@10"] == pytest.approx(raised[top[:10]].sum() / 3)
    assert row["recall@1"] == pytest.approx(raised[top[:1]].sum() / 3)

    summary = made.summary().set_index("method")
    assert len(summary) == n_methods
    assert (summary["n_seeds"] == 2).all()
    by_seed = made.table.groupby(["method", "seed"])["auc"].mean().groupby("method").mean()
    pd.testing.assert_series_equal(
        summary["auc"].sort_index(), by_seed, check_names=False, check_exact=False
    )
    assert (summary["auc_lower"] <= summary["auc"]).all()
    assert summary.loc["log_ratio", "auc"] > 0.8


def test_both_ways_in_one_figure(injected: xr.Dataset, tmp_path: Path) -> None:
    tuned = valuebias.validate_implicit(injected)
    untouched = injected.isel(model=[0]).drop_vars("raised")
    sums = valuebias.validate_implicit(
        untouched, vocabulary=200, n_words=5, n_seeds=3, noise=[0, 1], progress=False
    )
    assert set(sums.table["source"]) == {"arithmetic"}
    assert len(plot_validation(tuned).axes) == 2
    both = valuebias.Validation(pd.concat([sums.table, tuned.table]))
    figure = plot_validation(both)
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == [
        "noise, SD in nats at a log-prob of −10",
        "raised by fine-tuning",
    ]
    figure.savefig(tmp_path / "both.png")


def test_the_dataset_comes_back_from_disk(injected: xr.Dataset, tmp_path: Path) -> None:
    for name in ("made.zarr", "made.nc"):
        valuebias.write(injected, tmp_path / name)
        back = valuebias.read(tmp_path / name)
        np.testing.assert_array_equal(back["raised"], injected["raised"])
        pd.testing.assert_frame_equal(
            valuebias.injection_report(back), valuebias.injection_report(injected)
        )


def test_what_was_not_injected_is_refused(injected: xr.Dataset) -> None:
    for ds, message in (
        (injected.drop_vars("held_out"), "coord 'held_out' is missing"),
        (injected.isel(model=[1, 2]), "tuned from 'tiny', which is not in the dataset"),
        (injected.isel(model=[0]), "No model in the dataset was fine-tuned"),
        (injected.assign_coords(raised=injected["raised"] & False), "0 raised words of"),
    ):
        with pytest.raises(ValueBiasError, match=message):
            valuebias.validate_implicit(ds)
    with pytest.raises(ValueBiasError, match="noise= is a setting of the arithmetic"):
        valuebias.validate_implicit(injected, noise=2)
    with pytest.raises(ValueBiasError, match="k is 0"):
        valuebias.validate_implicit(injected, k=0)


@pytest.mark.slow
@pytest.mark.skipif(
    small_models.missing("smollm2") is not None, reason=str(small_models.missing("smollm2"))
)
def test_a_real_model(tmp_path: Path) -> None:
    folder = small_models.language_model("smollm2")
    prompts = valuebias.prompts().table.iloc[::5]
    made = valuebias.inject_words(
        Model(str(folder), name="smollm2", template="plain", stage="instruct"),
        n_words=20,
        seeds=[0],
        prompts=prompts,
        settings=LoraSettings(n_steps=24, batch_size=4),
        store=tmp_path,
        progress=False,
    )
    (report,) = valuebias.injection_report(made).to_dict("records")
    assert report["n_raised"] == 20
    assert report["change"] > report["rest_change"] + 0.5
    found = valuebias.validate_implicit(made).summary().set_index("method")
    assert found.loc["mwlr", "auc"] > 0.8
    # The words that neither model would say fill the top of the log-ratio.
    assert found.loc["mwlr", "recall"] > found.loc["log_ratio", "recall"]
