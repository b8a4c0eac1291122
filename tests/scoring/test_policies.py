"""Implicit rewards of policies, each against its own reference."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pandas as pd
import pytest
import tiny_models
import trained_by_trl
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.backends import LoadedModel, Source
from valuebias.backends.torch_backend import TorchBackend

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
BETAS = {"one": 0.1, "two": 0.5, "three": 1.0}
REFERENCES = {"one": "sft", "two": "sft", "three": "other"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("policies")
    for seed, name in enumerate(("sft", "other", "one", "two", "three")):
        tiny_models.tiny("llama", "logprob", made / name, seed=seed)
    return made


def policies(folder: Path, *names: str) -> list[Model]:
    return [
        Model(folder / name, reference=str(folder / REFERENCES[name]), beta=BETAS[name], family="F")
        for name in names or BETAS
    ]


def score(models: Any, **options: Any) -> xr.Dataset:
    options = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False} | options
    return valuebias.score(models, kind="implicit", **options)  # type: ignore[no-any-return]


class Counting(TorchBackend):
    """The torch backend; it counts which models it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def load(self, source: Source) -> LoadedModel:
        self.loads.append(source.name)
        return super().load(source)


def expected(folder: Path, name: str, *, chat: bool = True, pool: Any = np.sum) -> np.ndarray:
    """Score with plain transformers, a conversation at a time."""
    rows = []
    for prompt in PROMPTS.values():
        text = prompt["text"]
        own = naive.word_logprobs(folder / name, text, WORDS, chat=chat)
        held_to = naive.word_logprobs(folder / REFERENCES[name], text, WORDS, chat=chat)
        pairs = zip(own, held_to, strict=True)
        rows.append([BETAS[name] * pool(a - b) for a, b in pairs])
    return np.array(rows)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_equal_to_plain_transformers(folder: Path, pooling: str) -> None:
    ds = score(policies(folder), pooling=pooling)
    assert (ds.attrs["kind"], ds.attrs["units"]) == ("implicit", "nat")
    for name in BETAS:
        wanted = expected(folder, name, pool=getattr(np, pooling))
        found = ds["score"].sel(model=name).to_numpy()
        assert wanted.std() > 0.01
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_reference_takes_what_is_the_policy_s(folder: Path) -> None:
    plain = Model(
        folder / "one", reference=str(folder / "sft"), beta=BETAS["one"], template="plain"
    )
    found = score(plain)["score"].to_numpy()[0]
    np.testing.assert_allclose(found, expected(folder, "one", chat=False), rtol=0, atol=1e-5)


def completions(folder: Path) -> list[dict[str, list[int]]]:
    """Give the ids of prompts and words, as TRL's collator takes them."""
    encode = naive.tokenizer(folder)
    rows = []
    for prompt in PROMPTS.values():
        prefix = naive.prefix_text(folder, prompt["text"])
        before = encode(prefix, add_special_tokens=False)["input_ids"]
        for word in WORDS:
            whole = encode(prefix + word, add_special_tokens=False)["input_ids"]
            assert whole[: len(before)] == before
            ids = whole[len(before) :]
            rows.append({"prompt_ids": before, "chosen_ids": ids, "rejected_ids": ids})
    return rows


@pytest.mark.skipif(trained_by_trl.missing() is not None, reason=str(trained_by_trl.missing()))
def test_equal_to_trl_s_own_implicit_reward(folder: Path, tmp_path: Path) -> None:
    import torch
    import transformers
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    if not hasattr(DPOTrainer, "compute_ref_log_probs"):
        pytest.skip("this TRL computes log-probs of references in another place")
    arguments = DPOConfig(
        output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
        gradient_checkpointing=None, beta=BETAS["one"], max_length=None,
    )  # fmt: skip
    load = transformers.AutoModelForCausalLM.from_pretrained
    said = {"prompt": ["What?"] * 2, "chosen": ["love", "care"], "rejected": ["x", "y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            model=load(folder / "one", dtype=torch.float32),
            ref_model=load(folder / "sft", dtype=torch.float32),
            args=arguments,
            train_dataset=Dataset.from_dict(said),
            processing_class=naive.tokenizer(folder / "one"),
        )
        trainer.model.eval()
        batch = trainer.data_collator(completions(folder / "one"))
        policy, _ = trainer.compute_ref_log_probs(trainer.model, batch)
        reference, _ = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    wanted = (trainer.beta * (policy - reference)).numpy().reshape(len(PROMPTS), len(WORDS))
    found = score(policies(folder, "one"))["score"].to_numpy()[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_each_reference_is_scored_once_and_the_run_resumed(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "scores.zarr"
    engine = Counting()
    first = score(policies(folder, "one"), store=store, backend=engine)
    assert engine.loads == ["sft", "one"]
    both = score(policies(folder, "one", "two"), store=store, backend=engine)
    # The reference's log-probs are there already.
    assert engine.loads == ["sft", "one", "two"]
    every = score(policies(folder), store=store, backend=engine)
    assert engine.loads == ["sft", "one", "two", "other", "three"]
    score(policies(folder), store=store, backend=engine)
    assert len(engine.loads) == 5
    np.testing.assert_array_equal(first["score"][0], every["score"][0])
    np.testing.assert_array_equal(both["score"], every["score"][:2])
    at_once = Counting()
    np.testing.assert_array_equal(score(policies(folder), backend=at_once)["score"], every["score"])
    assert at_once.loads == ["sft", "other", "one", "two", "three"]
    read = valuebias.read(store)
    assert read.attrs["kind"] == "implicit"
    kept = valuebias.read(tmp_path / "scores.references.zarr")
    assert kept.attrs["kind"] == "logprob"
    assert kept["model"].to_numpy().tolist() == ["sft", "other"]
    # What is finished needs no references any more.
    shutil.rmtree(tmp_path / "scores.references.zarr")
    score(policies(folder), store=store, backend=engine)
    assert len(engine.loads) == 5


class Stopping(TorchBackend):
    """The torch backend; it is interrupted when it computes a model's second block."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.stopped = name

    def load(self, source: Source) -> LoadedModel:
        model = super().load(source)
        if source.name == self.stopped:
            forward, calls = model.forward, iter([False])

            def interrupted(pack: Any) -> Any:
                if next(calls, True):
                    raise KeyboardInterrupt
                return forward(pack)

            model.forward = interrupted  # type: ignore[method-assign]
        return model


@pytest.mark.parametrize("name", ["sft", "one"])
def test_an_interrupted_run_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Blocks of one prompt.
    monkeypatch.setattr("valuebias.scoring.request._PAIRS", len(WORDS))
    store = tmp_path / "scores.zarr"
    with pytest.raises(KeyboardInterrupt):
        score(policies(folder, "one"), store=store, backend=Stopping(name))
    engine = Counting()
    found = score(policies(folder, "one"), store=store, backend=engine)
    # A finished reference is not loaded again.
    assert engine.loads == (["sft", "one"] if name == "sft" else ["one"])
    np.testing.assert_array_equal(found["score"], score(policies(folder, "one"))["score"])


def test_what_the_results_say(folder: Path) -> None:
    ds = score(policies(folder))
    assert ds["reference"].to_numpy().tolist() == list(REFERENCES.values())
    assert ds["beta"].to_numpy().tolist() == list(BETAS.values())
    # Policies of one reference are not independent.
    assert ds["base"].to_numpy().tolist() == list(REFERENCES.values())
    one, two, _ = json.loads(ds.attrs["provenance"])["models"]
    assert one["base_said_by"] == "its reference"
    settings, other = one["settings"], two["settings"]
    assert settings["reference"] == "sft"
    assert settings["beta"] == 0.1
    assert settings["weights of the reference"] == other["weights of the reference"]
    assert settings["weights"] != other["weights"]
    assert "revision of the reference" in settings


def test_a_fit_of_policies(folder: Path) -> None:
    ds = score(policies(folder), lexicon={"good": ["love", "x"], "bad": ["power", "free dom"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(ds, draws=50, tune=100, chains=2, seed=1, progress=False)
    assert "bad" in str(fit.headline())


def test_another_reference_or_beta_is_another_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "scores.zarr"
    score(policies(folder, "one"), store=store)
    with pytest.raises(ValueBiasError, match="made with another beta of the model 'one'"):
        score(Model(folder / "one", reference=str(folder / "sft"), beta=0.2), store=store)
    engine = Counting()
    changed = Model(folder / "one", reference=str(folder / "other"), beta=0.1)
    with pytest.raises(ValueBiasError, match="made with another reference of the model 'one'"):
        score(changed, store=store, backend=engine)
    # It was refused before any work.
    assert engine.loads == []


@pytest.mark.parametrize("form", ["yaml", "csv", "frame"])
def test_a_column_of_the_table(folder: Path, tmp_path: Path, form: str) -> None:
    for name in ("one", "sft"):
        shutil.copytree(folder / name, tmp_path / name)
    table: Any = tmp_path / f"models.{form}"
    if form == "yaml":
        table.write_text("one: {location: one, reference: {location: sft}, beta: 1e-1}\n")
    elif form == "csv":
        table.write_text("name,location,reference,beta\none,one,sft,0.1\n")
    else:
        rows = [[str(tmp_path / "one"), str(tmp_path / "sft"), 0.1]]
        table = pd.DataFrame(rows, columns=["location", "reference", "beta"])
    ds = score(table)
    np.testing.assert_allclose(
        ds["score"].to_numpy()[0], expected(folder, "one"), rtol=0, atol=1e-5
    )


def test_a_plan_counts_the_references(folder: Path) -> None:
    plan = valuebias.plan(policies(folder), prompts=PROMPTS, lexicon=WORDS, kind="implicit")
    names = [*BETAS, "sft (reference)", "other (reference)"]
    assert plan.table.index.tolist() == names
    assert plan.table["tokens"].nunique() == 1
    assert "No base is known" not in str(plan)


# --- what cannot be right -------------------------------------------------------------------------


def test_without_a_reference(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="'one' has no reference to score it against"):
        score([Model(folder / "one")])
    ds = score([Model(folder / "one", reference=str(folder / "sft"), beta=BETAS["one"])])
    np.testing.assert_allclose(ds["score"][0], expected(folder, "one"), rtol=0, atol=1e-5)


def test_a_reward_model_has_none(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="give kind='implicit'"):
        valuebias.score(policies(folder), prompts=PROMPTS, lexicon=WORDS)


def test_vocabularies_have_a_way_of_their_own(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="log_ratio"):
        score(policies(folder), lexicon="vocabulary")
    rows = valuebias.score(
        [Model(folder / name, base="sft") for name in ("one", "sft")],
        prompts=PROMPTS, lexicon="vocabulary", kind="logprob", progress=False,
    )  # fmt: skip
    ratios = valuebias.implicit(
        valuebias.align(rows), numerator="one", denominator="sft", method="log_ratio"
    )
    # "x" is one token.
    wanted = expected(folder, "one")[:, WORDS.index("x")] / BETAS["one"]
    np.testing.assert_allclose(ratios["score"].sel(response="x")[0], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("beta", [0, -0.1, float("nan"), float("inf"), "much", True, None])
def test_beta_is_a_number_above_zero(beta: Any) -> None:
    with pytest.raises(ValueBiasError, match="expected a number above 0"):
        Model("org/policy", reference="org/sft", beta=beta)


def test_beta_without_a_reference() -> None:
    with pytest.raises(ValueBiasError, match="no reference"):
        Model("org/policy", beta=0.1)


@pytest.mark.parametrize("reference", ["", " ", 3, Model("a", reference="b")])
def test_a_reference_is_a_model(reference: Any) -> None:
    with pytest.raises(ValueBiasError, match="reference"):
        Model("org/policy", reference=reference)


def test_a_table_cannot_let_a_reference_run_code(tmp_path: Path) -> None:
    table = tmp_path / "models.yaml"
    reference = "{location: org/sft, trust_remote_code: true}"
    table.write_text(f"a: {{location: org/a, reference: {reference}}}\n")
    with pytest.raises(ValueBiasError, match="trust_remote_code"):
        valuebias.read_models(table)
    assert valuebias.read_models(table, trust_remote_code=True)[0].name == "a"


def test_a_revision_of_the_reference() -> None:
    from valuebias.models.references import reference_of

    reference = reference_of(Model("org/a", reference="org/sft@abc123", dtype="bfloat16"))
    assert (reference.location, reference.revision) == ("org/sft", "abc123")
    assert reference.dtype == "bfloat16"


def test_one_name_for_two_references(folder: Path) -> None:
    one = policies(folder, "one")[0]
    two = Model(folder / "two", reference=Model(folder / "other", name="sft"))
    with pytest.raises(ValueBiasError, match="both called 'sft' and differ in location"):
        score([one, two])


def test_its_own_reference_gives_zeros(folder: Path, tmp_path: Path) -> None:
    engine, store = Counting(), tmp_path / "scores.zarr"
    with pytest.raises(ValueBiasError, match="'one' is its own reference"):
        score(Model(folder / "one", reference=str(folder / "one")), backend=engine)
    assert engine.loads == []
    # The same weights beside a configuration that is written differently.
    copy = tmp_path / "copy"
    shutil.copytree(folder / "one", copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"note": "a copy"}))
    both = [*policies(folder, "two"), Model(folder / "one", reference=str(copy))]
    with pytest.raises(ValueBiasError, match="'one' is its own reference"):
        score(both, store=store)
    # No zeros are kept, and what was scored before is.
    with pytest.warns(ValueBiasWarning, match="unfinished"):
        assert valuebias.read(store)["model"].to_numpy().tolist() == ["two"]


def differing(folder: Path, reference: Path, options: dict[str, Any]) -> Model:
    return Model(folder / "one", reference=Model(reference, **options))


@pytest.mark.parametrize(
    ("tokens", "template", "said"),
    [
        (400, tiny_models.CHAT, "read the word 'love' after the prompt 'up' as different tokens"),
        (320, tiny_models.CHAT.replace("<|end|>", "<|end|>\n"), "as different tokens: from token"),
    ],
)
def test_another_tokenizer_or_template(
    folder: Path, tmp_path: Path, tokens: int, template: str, said: str
) -> None:
    other = tiny_models.tiny(
        "llama", "logprob", tmp_path / "odd", tokens=tokens, chat_template=template
    )
    engine = Counting()
    with pytest.raises(ValueBiasError, match=said):
        score(Model(folder / "one", reference=str(other)), backend=engine)
    assert engine.loads == []


def test_the_advice_for_another_template_works(folder: Path, tmp_path: Path) -> None:
    template = tiny_models.CHAT.replace("<|end|>", "<|end|>\n")
    other = tiny_models.tiny("llama", "logprob", tmp_path / "odd", chat_template=template)
    reference = Model(other, tokenizer=str(folder / "one"))
    assert score(Model(folder / "one", reference=reference))["score"].to_numpy().any()


def swapped(folder: Path, to: Path, names: Sequence[str]) -> None:
    """Exchange the ids of two tokens in a tokenizer's file."""
    shutil.copytree(folder, to)
    content = json.loads((to / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    a, b = names
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (to / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_vocabulary_of_another_order(folder: Path, tmp_path: Path) -> None:
    swapped(folder / "sft", tmp_path / "sft", ("l", "v"))
    with pytest.raises(ValueBiasError, match="as different tokens"):
        score(Model(folder / "one", reference=str(tmp_path / "sft")))


def test_another_name_for_a_token_of_the_same_id(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "sft", tmp_path / "sft")
    for path in tmp_path.glob("sft/*"):
        if path.suffix in (".json", ".jinja"):
            text = path.read_text(encoding="utf-8").replace("<|end|>", "<|stop|>")
            path.write_text(text, encoding="utf-8")
    ds = score(Model(folder / "one", reference=str(tmp_path / "sft"), beta=BETAS["one"]))
    np.testing.assert_allclose(ds["score"][0], expected(folder, "one"), rtol=0, atol=1e-5)
