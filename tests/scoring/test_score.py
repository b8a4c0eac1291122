"""valuebias.score: the same numbers as naive scoring, whatever way they are computed."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import tiny_models
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_backend import NaiveBackend

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.backends import Backend, LoadedModel, OutOfMemory, Pack, Source
from valuebias.instruments import PromptSet
from valuebias.scoring import request
from valuebias.scoring.run import ScoringProgress

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

WORDS = ("love", "power", "free dom", "x", "trust and care", "Ω", "love ")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
    "odd": {"text": "Say the {best}.", "framing": "positive"},
}


@pytest.fixture(scope="module")
def prompts() -> PromptSet:
    return valuebias.prompts(PROMPTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    made: dict[tuple[str, str], Path] = {}

    def make(architecture: str, kind: str) -> Path:
        key = (architecture, kind)
        if key not in made:
            folder = tmp_path_factory.mktemp("models") / f"{architecture}-{kind}"
            made[key] = tiny_models.tiny(architecture, kind, folder)
        return made[key]

    return make


Make = Callable[[str, str], Path]
Forward = Callable[[LoadedModel, Pack], np.ndarray]


def score(models: object, **options: object) -> xr.Dataset:
    return valuebias.score(models, progress=False, **options)  # type: ignore[call-overload,no-any-return]


def tree(models: object, **options: object) -> xr.DataTree:
    made = valuebias.score(models, lexicon="vocabulary", progress=False, **options)  # type: ignore[call-overload]
    assert isinstance(made, xr.DataTree)
    return made


def values(ds: xr.Dataset | xr.DataTree) -> np.ndarray:
    return ds["score"].to_numpy()[0].astype(np.float64)


class Wrapped(Backend):
    """The naive backend, with a say in what happens to a pack."""

    name = "wrapped"
    description = "the naive backend with something in between"

    def __init__(self, forward: Forward, **flags: object) -> None:
        self.changed = forward
        self.loaded: list[WrappedModel] = []
        for flag, value in flags.items():
            setattr(self, flag, value)

    def available(self) -> str | None:
        return None

    def load(self, source: Source) -> LoadedModel:
        self.loaded.append(WrappedModel(NaiveBackend().load(source), self.changed))
        return self.loaded[-1]


class WrappedModel(LoadedModel):
    def __init__(
        self, inner: LoadedModel, changed: Callable[[LoadedModel, Pack], np.ndarray]
    ) -> None:
        self.inner, self.changed = inner, changed
        self.device, self.dtype = inner.device, inner.dtype
        self.vocabulary, self.batch_tokens = inner.vocabulary, inner.batch_tokens
        self.sizes: list[int] = []
        self.closed = False

    def forward(self, pack: Pack) -> np.ndarray:
        self.sizes.append(len(pack))
        return self.changed(self.inner, pack)

    def close(self) -> None:
        self.closed = True


def plain(inner: LoadedModel, pack: Pack) -> np.ndarray:
    return inner.forward(pack)


class TestNumbers:
    @pytest.mark.parametrize("backend", ["torch", NaiveBackend])
    @pytest.mark.parametrize("architecture", ["llama", "gemma3_text"])
    def test_rewards(
        self, model: Make, prompts: PromptSet, architecture: str, backend: object
    ) -> None:
        folder = model(architecture, "reward")
        ds = score(str(folder), prompts=prompts, lexicon=WORDS, backend=backend)
        texts = ds["text"].to_numpy().tolist()
        expected = [naive.word_rewards(folder, text, WORDS) for text in texts]
        np.testing.assert_allclose(values(ds), expected, atol=2e-5)
        assert ds["response"].to_numpy().tolist() == list(WORDS)
        assert ds["prompt"].to_numpy().tolist() == list(PROMPTS)

    @pytest.mark.parametrize("pooling", ["sum", "mean"])
    @pytest.mark.parametrize("chat", [True, False])
    def test_logprobs(self, model: Make, prompts: PromptSet, pooling: str, chat: bool) -> None:
        folder = model("llama", "logprob")
        spec = Model(str(folder), template="chat" if chat else "plain")
        ds = score(spec, prompts=prompts, lexicon=WORDS, kind="logprob", pooling=pooling)
        for row, text in enumerate(ds["text"].to_numpy().tolist()):
            expected = naive.word_logprobs(folder, text, WORDS, chat=chat)
            pool = {"sum": np.sum, "mean": np.mean}[pooling]
            np.testing.assert_allclose(values(ds)[row], [pool(e) for e in expected], atol=1e-4)
            for column, each in enumerate(expected):
                kept = ds["token_logprob"].to_numpy()[0, row, column]
                np.testing.assert_allclose(kept[: len(each)], each, atol=2e-5)
                assert np.isnan(kept[len(each) :]).all()

    def test_many_tokens(self, model: Make, prompts: PromptSet, tmp_path: Path) -> None:
        """More than fit in one chunk of the per-token values, and not in the first block."""
        words = ["a", "long " * 8]
        store = tmp_path / "scores.zarr"
        first = Model(str(model("llama", "logprob")), template="{prompt} {response}")
        ds = score(first, prompts=prompts, lexicon=words, kind="logprob", store=store)
        kept = ds["token_logprob"].to_numpy()
        assert kept.shape[3] > 8
        np.testing.assert_allclose(np.nansum(kept, axis=3), ds["score"], rtol=1e-6)

    def test_logprobs_of_a_vocabulary(self, model: Make, prompts: PromptSet) -> None:
        from tokenizers import Tokenizer

        folder = model("qwen2", "logprob")
        group = tree(str(folder), prompts=prompts, kind="logprob")["qwen2-logprob"]
        texts = [entry["text"] for entry in PROMPTS.values()]
        encode = naive.tokenizer(folder)
        ids = [encode(naive.prefix_text(folder, t), add_special_tokens=False) for t in texts]
        rows = naive.rows(folder, [each["input_ids"] for each in ids])
        # The model has more rows than the tokenizer's file has tokens.
        size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
        assert rows.shape[1] > size
        np.testing.assert_allclose(values(group), rows[:, :size], atol=1e-4)
        assert group["token_id"].to_numpy().tolist() == list(range(size))
        names = encode.convert_ids_to_tokens(list(range(size)))
        assert group["response"].to_numpy().tolist() == names

    def test_rewards_of_a_vocabulary(
        self, model: Make, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(request, "_PAIRS", 100)  # so that repeats lie in other blocks
        folder = model("llama", "reward")
        engine = Wrapped(plain)
        group = tree(str(folder), prompts=prompts, backend=engine)["llama-reward"]
        # NUL, which a store cannot hold, is shown by the sign for it.
        words = [word.replace("\u2400", "\0") for word in group["decoded"].to_numpy().tolist()]
        for row, entry in enumerate(PROMPTS.values()):
            expected = naive.word_rewards(folder, entry["text"], words)
            np.testing.assert_allclose(values(group)[row], expected, atol=2e-5)
        repeats = [i for i, word in enumerate(words) if word == "\ufffd"]
        assert len(repeats) > 100
        assert len(np.unique(values(group)[0, repeats])) == 1
        # Each distinct conversation was computed once.
        computed = sum(engine.loaded[0].sizes)
        assert computed < 3 * (len(set(words)) * 4 + 100)

    def test_rewards_of_bare_ids(self, model: Make, prompts: PromptSet) -> None:
        folder = model("llama", "reward")
        by_id = tree(str(folder), prompts=prompts, tokens_as="ids")["llama-reward"]
        by_text = tree(str(folder), prompts=prompts)["llama-reward"]
        broken = by_text["decoded"].to_numpy() == "\ufffd"
        assert len(np.unique(values(by_id)[0, broken])) > broken.sum() / 2
        plain_ = [t.isalpha() and t.isascii() for t in by_text["decoded"].to_numpy().tolist()]
        np.testing.assert_allclose(values(by_id)[:, plain_], values(by_text)[:, plain_], atol=2e-5)

    def test_groups_follow_the_contract(self, model: Make, prompts: PromptSet) -> None:
        spec = Model(str(model("llama", "reward")), name="org/a")
        made = tree(spec, prompts=prompts)
        assert list(made.children) == ["org--a"]
        ds = valuebias.validate(made["org--a"].to_dataset())
        assert ds["model"].to_numpy().tolist() == ["org/a"]


@pytest.fixture(scope="module")
def whole(model: Make, prompts: PromptSet) -> dict[str, xr.Dataset]:
    return {
        kind: score(str(model("llama", kind)), prompts=prompts, lexicon=WORDS, kind=kind)
        for kind in ("reward", "logprob")
    }


class TestIndependence:
    @settings(max_examples=10)
    @given(
        words=st.lists(st.sampled_from(WORDS), min_size=1, unique=True),
        batch_tokens=st.integers(1, 600),
        kind=st.sampled_from(("reward", "logprob")),
    )
    def test_of_budget_order_and_company(
        self,
        model: Make,
        whole: dict[str, xr.Dataset],
        words: list[str],
        batch_tokens: int,
        kind: str,
    ) -> None:
        asked = valuebias.prompts(PROMPTS)
        folder = str(model("llama", kind))
        part = score(folder, prompts=asked, lexicon=words, kind=kind, batch_tokens=batch_tokens)
        expected = whole[kind]["score"].sel(response=words).to_numpy()
        np.testing.assert_allclose(part["score"], expected, rtol=0, atol=1e-5)


class TestMemory:
    def limited(self, most: int) -> Wrapped:
        def forward(inner: LoadedModel, pack: Pack) -> np.ndarray:
            if len(pack) > most:
                raise OutOfMemory(f"no more than {most} tokens")
            return inner.forward(pack)

        return Wrapped(forward)

    @pytest.mark.parametrize("kind", ["reward", "logprob"])
    def test_smaller_packs_when_it_runs_out(
        self, model: Make, prompts: PromptSet, kind: str
    ) -> None:
        folder = str(model("llama", kind))
        engine = self.limited(100)
        with pytest.warns(ValueBiasWarning, match="continuing with packs of") as told:
            ds = score(
                folder, prompts=prompts, lexicon=WORDS, kind=kind, backend=engine, batch_tokens=600
            )
        assert len(told) == 1
        assert max(engine.loaded[0].sizes[-2:]) <= 100
        expected = score(folder, prompts=prompts, lexicon=WORDS, kind=kind)
        np.testing.assert_allclose(ds["score"], expected["score"], atol=1e-5)

    def test_gives_up_at_a_single_conversation(self, model: Make, prompts: PromptSet) -> None:
        engine = self.limited(10)
        with (
            pytest.warns(ValueBiasWarning),
            pytest.raises(OutOfMemory, match="single conversation of"),
        ):
            score(str(model("llama", "reward")), prompts=prompts, lexicon=WORDS, backend=engine)
        assert engine.loaded[0].closed


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kind": "logprobs"}, "Did you mean 'logprob'"),
            ({"kind": "implicit"}, "has no reference"),
            ({"pooling": "max"}, "Known: 'sum', 'mean'"),
            ({"tokens_as": "id"}, "Did you mean 'ids'"),
            ({"batch_tokens": 0}, "batch_tokens is 0"),
            ({"lexicon": ["a", "a"]}, "The word 'a' occurs 2 times"),
            ({"lexicon": ["a", ""]}, "A word is ''"),
            ({"lexicon": []}, "There is no word"),
            ({"lexicon": {"good": ["lov*"]}}, "stands for many words"),
            ({"backend": "torhc"}, "Did you mean 'torch'"),
            ({"store": "scores.nc"}, "expected '.zarr'"),
            ({"models": []}, "There is no model"),
        ],
    )
    def test_settings(self, options: dict[str, object], message: str) -> None:
        arguments = {"models": "a/b", "backend": NaiveBackend} | options
        with pytest.raises(ValueBiasError, match=message):
            score(**arguments)

    def test_terms_that_stand_for_many_words(self, model: Make, prompts: PromptSet) -> None:
        lexicon = {"good": ["lov*", "care"], "bad": ["x"]}
        with pytest.warns(ValueBiasWarning, match="1 terms .* are not scored. The other 2 are"):
            ds = score(str(model("llama", "reward")), prompts=prompts, lexicon=lexicon)
        assert ds["response"].to_numpy().tolist() == ["care", "x"]

    def test_a_kind_that_a_backend_lacks(self) -> None:
        engine = Wrapped(plain, kinds=frozenset({"reward"}))
        with pytest.raises(ValueBiasError, match="does not compute 'logprob' scores, only reward"):
            score("a/b", kind="logprob", backend=engine)

    @pytest.mark.parametrize("kind", ["reward", "logprob"])
    def test_scores_that_are_no_numbers(
        self, model: Make, prompts: PromptSet, tmp_path: Path, kind: str
    ) -> None:
        from safetensors.torch import load_file, save_file

        folder = tiny_models.tiny("llama", kind, tmp_path / "broken")
        weights = load_file(folder / "model.safetensors")
        next(w for name, w in weights.items() if "down_proj" in name)[0, 0] = float("nan")
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueBiasError, match="'broken' in float32 gives nan for the word 'love'"
                           " after the prompt 'up'"):  # fmt: skip
            score(str(folder), prompts=prompts, lexicon=WORDS, kind=kind)
        if kind == "logprob":
            with pytest.raises(ValueBiasError, match="gives nan for the word '<pad>'"):
                tree(str(folder), prompts=prompts, kind=kind)

    def test_a_backend_that_returns_too_little(self, model: Make, prompts: PromptSet) -> None:
        engine = Wrapped(lambda inner, pack: inner.forward(pack)[:-1])
        with pytest.raises(ValueBiasError, match="expected an array of shape"):
            score(str(model("llama", "reward")), prompts=prompts, lexicon=WORDS, backend=engine)


class TestRecord:
    def test_provenance(self, model: Make, prompts: PromptSet) -> None:
        specs = [
            Model(
                str(model("llama", "reward")), name="a", family="One", base="org/lm-2b", n_pairs=5
            ),
            Model(str(model("qwen2", "reward")), name="b"),
        ]
        with pytest.warns(ValueBiasWarning, match="is known for 1 of 2 models: 'b'") as told:
            ds = score(specs, prompts=prompts, lexicon=WORDS, batch_tokens=200)
        assert [warning.filename for warning in told] == [__file__]
        assert ds["base"].to_numpy().tolist() == ["org/lm-2b", ""]
        assert ds["family"].to_numpy().tolist() == ["One", "Qwen"]
        assert np.isnan(ds["n_pairs"].to_numpy()[1])
        told = json.loads(ds.attrs["provenance"])
        assert {"date", "packages", "python", "platform", "by"} <= set(told)
        assert {"torch", "transformers", "tokenizers"} <= set(told["packages"])
        first, second = told["models"]
        for key in ("weights", "tokenizer", "template"):
            assert len(first["settings"][key]) == 64
        assert first["settings"]["weights"] != second["settings"]["weights"]
        assert first["settings"]["backend"] == "torch"
        assert (first["base_said_by"], second["base_said_by"]) == ("the specification", "")
        (ran,) = first["runs"]
        assert (ran["device"], ran["dtype"], ran["batch_tokens"]) == ("cpu", "float32", 200)
        # Where on this machine the models lie is nobody's business.
        assert str(model("llama", "reward").parent) not in ds.attrs["provenance"]

    @pytest.mark.parametrize("kind", ["reward", "logprob"])
    def test_tokens_of_words(self, model: Make, prompts: PromptSet, kind: Any) -> None:
        from transformers import AutoTokenizer

        specs = [
            Model(str(model(name, kind)), name=name, base=name, template=template)
            for name, template in (("llama", "chat"), ("qwen2", "plain"))
        ]
        ds = score(specs, prompts=prompts, lexicon=WORDS, kind=kind)
        # In both templates a new line stands before the word, with which nothing merges.
        counts = [
            [len(tokenizer(w, add_special_tokens=False).input_ids) for w in WORDS]
            for tokenizer in (AutoTokenizer.from_pretrained(spec.location) for spec in specs)
        ]
        assert len({*counts[0]}) > 1
        np.testing.assert_array_equal(ds["n_tokens"], np.mean(counts, axis=0))
        if kind == "logprob":
            scored = ds["token_logprob"].notnull().sum("token").isel(prompt=0).mean("model")
            np.testing.assert_array_equal(ds["n_tokens"], scored)
        assert score(specs[:1], prompts=prompts, lexicon=WORDS, kind=kind)["n_tokens"].to_numpy(
        ).tolist() == counts[0]  # fmt: skip

    def test_a_base_that_is_a_reward_model_is_followed_to_its_own(
        self, model: Make, prompts: PromptSet, tmp_path: Path
    ) -> None:
        specs = []
        for name, base in {
            "first": "org/lm-2b-it",
            "second": "org/first",
            "third": "Skywork/Skywork-Reward-Gemma-2-27B",
        }.items():
            folder = shutil.copytree(model("llama", "reward"), tmp_path / name)
            (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n")
            specs.append(Model(str(folder), name=f"org/{name}"))
        ds = score(specs, prompts=prompts, lexicon=WORDS)
        assert ds["base"].to_numpy().tolist() == [
            "org/lm-2b-it", "org/lm-2b-it", "google/gemma-2-27b-it",
        ]  # fmt: skip

    def test_progress(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=io.StringIO()), auto_refresh=False) as bar:
            watch = ScoringProgress(bar, n_models=2, work=1000.0)
            watch.model("org/[a]", pairs=100, todo=60, n_prompts=10, weight=5.0)
            watch.advance(20)
            (task,) = bar.tasks
            assert task.description == "org/[a] (1/2)"
            # 40 pairs were there, 20 are done: 6 of 10 prompts, 100 of 1000 units of work.
            assert (task.fields["prompts"], task.completed) == ("6/10 prompts", 100)
            watch.finish(60)
            watch.end()
            watch.model("b", pairs=10, todo=10, n_prompts=10, weight=70.0)
            watch.finish(10)
            assert (task.description, task.completed) == ("b (2/2)", 1000)


def test_blocks_do_not_depend_on_what_is_done() -> None:
    made = list(request.blocks(54, 182, (18, 182)))
    assert [block.index for block in made] == [(0, 0), (1, 0), (2, 0)]
    assert sum(block.pairs for block in made) == 54 * 182
