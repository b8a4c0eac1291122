"""Stores that are filled block by block: resumed, extended, refused, damaged, full."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr
from naive_backend import NaiveBackend, NaiveModel
from small_disk import fill, small_disk
from stores import contents, finished

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.backends import LoadedModel, Pack, Source
from valuebias.scoring import request
from valuebias.scoring.model_scores import ModelScores

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = valuebias.prompts(
    {
        f"p{i}": {"text": f"What is good, {i}?", "framing": ("positive", "negative")[i % 2]}
        for i in range(5)
    }
)
# Two prompts a block, so three blocks a model.
_PAIRS = 2 * len(WORDS)


class Stopping(NaiveBackend):
    """Stops the run, as Ctrl-C does, once it has computed so many packs of a model."""

    def __init__(self, after: int, model: str | None = None) -> None:
        self.after, self.model = after, model
        self.loaded: list[StoppingModel] = []

    def load(self, source: Source) -> LoadedModel:
        stops = self.model in (None, source.name)
        self.loaded.append(StoppingModel(source, self.after if stops else sys.maxsize))
        return self.loaded[-1]


class StoppingModel(NaiveModel):
    def __init__(self, source: Source, after: int) -> None:
        super().__init__(source)
        self.left = after

    def forward(self, pack: Pack) -> np.ndarray:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().forward(pack)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_PAIRS", _PAIRS)
    monkeypatch.setattr(request, "_ROW_VALUES", 700)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    names = {"a": ("llama", "reward"), "b": ("qwen2", "reward"), "lm": ("llama", "logprob")}
    return {
        name: Model(str(tiny_models.tiny(*key, folder / name)), name=name, base=f"org/{name}-2b")
        for name, key in names.items()
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "scores.zarr"


def score(models: object, store: Path | None = None, **options: Any) -> Any:
    large = options.get("lexicon") == "vocabulary"
    # Else a vocabulary would be hundreds of blocks, and passes.
    request._PAIRS = _PAIRS * 20 if large else _PAIRS
    usual = {"prompts": PROMPTS, "lexicon": WORDS, "backend": NaiveBackend}
    usual["batch_tokens"] = 1000 if large else 60
    return valuebias.score(models, store=store, progress=False, **usual | options)


def stopped(models: object, store: Path, after: int, **options: Any) -> None:
    """Run until so many packs of a model (or of the one named) are computed."""
    model = options.pop("model", None)
    with pytest.raises(KeyboardInterrupt) as caught:
        score(models, store, backend=Stopping(after, model), **options)
    if store.exists():
        assert "run the same call again" in caught.value.__notes__[0]


def parts(made: xr.Dataset | xr.DataTree) -> list[xr.Dataset]:
    """Give scores as datasets: those of a tree one by one, its root first."""
    if isinstance(made, xr.Dataset):
        return [made]
    return [made.to_dataset(), *(group.to_dataset() for group in made.children.values())]


def undated(ds: xr.Dataset) -> dict[str, Any]:
    """Give attributes apart from when they were written."""
    attrs = dict(ds.attrs)
    attrs["provenance"] = json.loads(attrs["provenance"])
    assert attrs["provenance"].pop("date")
    return attrs


KINDS = [("a", "reward", WORDS), ("lm", "logprob", WORDS)]
KINDS += [("a", "reward", "vocabulary"), ("lm", "logprob", "vocabulary")]


class TestResume:
    @pytest.mark.parametrize(("name", "kind", "lexicon"), KINDS)
    def test_is_bit_identical(
        self, models: dict[str, Model], tmp_path: Path, name: str, kind: str, lexicon: Any
    ) -> None:
        asked = {"lexicon": lexicon, "kind": kind}
        engine = Stopping(sys.maxsize)
        whole = score(models[name], tmp_path / "whole.zarr", backend=engine, **asked)
        packs = sys.maxsize - engine.loaded[0].left
        store = tmp_path / "scores.zarr"
        kept: dict[str, int] = {}
        # Of three blocks or more, one is finished by then; and another after the next pack.
        for after in (packs * 6 // 10, 1):
            stopped(models[name], store, after, **asked)
            now = finished(store)
            # Nothing that was finished is written again.
            assert kept.items() <= now.items()
            kept = now
        assert kept
        resumed = score(models[name], store, **asked)
        assert kept.items() <= finished(store).items()
        assert contents(store) == contents(tmp_path / "whole.zarr")
        xr.testing.assert_equal(resumed, whole)

    @pytest.mark.parametrize(("name", "kind", "lexicon"), KINDS)
    def test_in_memory_is_the_same_and_writes_nothing(
        self,
        models: dict[str, Model],
        store: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        kind: str,
        lexicon: Any,
    ) -> None:
        twin = Model(models[name].location, name="org/twin", base="org/other-2b")
        asked = {"kind": kind, "lexicon": lexicon}
        kept = score([models[name], twin], store, **asked)
        monkeypatch.setattr(tempfile, "tempdir", str(store / "nowhere"))
        held = score([models[name], twin], **asked)
        assert [undated(part) for part in parts(held)] == [undated(part) for part in parts(kept)]
        for one, other in zip(parts(held), parts(kept), strict=True):
            xr.testing.assert_identical(
                one.drop_attrs(deep=False), other.load().drop_attrs(deep=False)
            )

    def test_when_finished_loads_no_model(self, models: dict[str, Model], store: Path) -> None:
        first = score(models["a"], store)
        again = score(models["a"], store, backend=Stopping(0))
        assert again.identical(first)

    def test_goes_on_when_models_have_been_moved(
        self, models: dict[str, Model], store: Path, tmp_path: Path
    ) -> None:
        first = score(models["a"], store)
        shutil.copytree(models["a"].location, tmp_path / "moved")
        moved = replace(models["a"], location=str(tmp_path / "moved"))
        assert score(moved, store, backend=Stopping(0)).identical(first)

    def test_clears_what_a_kill_left(self, models: dict[str, Model], store: Path) -> None:
        stopped(models["a"], store, 2)
        leftover = store / "score" / ".0.1.0123456789ab.part.0"
        leftover.write_bytes(b"half")
        score(models["a"], store)
        assert not leftover.exists()

    @pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
    def test_a_damaged_block_is_made_again(
        self, models: dict[str, Model], store: Path, damage: str
    ) -> None:
        whole = score(models["a"], store)
        chunk = store / "score" / "0.1.0"
        kept = {key: node for key, node in finished(store).items() if not key.endswith("0.1.0")}
        if damage == "gone":
            chunk.unlink()
        else:
            content = chunk.read_bytes()
            chunk.write_bytes(content[:7] if damage == "cut" else content[:-1] + b"\x00")
        with pytest.raises(ValueBiasError, match=r"score/0\.1\.0' is (damaged|missing).*again"):
            valuebias.read(store)
        with pytest.warns(ValueBiasWarning, match=r"1 of 3 blocks .*'score/0\.1\.0'.* again"):
            assert score(models["a"], store).identical(whole)
        assert kept.items() <= finished(store).items()


class TestUnfinished:
    def test_reads_as_nan(self, models: dict[str, Model], store: Path) -> None:
        whole = score([models["a"], models["b"]])
        stopped([models["a"], models["b"]], store, 2)
        with pytest.warns(ValueBiasWarning, match=r"unfinished.* left out, as they have none: b"):
            part = valuebias.read(store)
        assert part["model"].to_numpy().tolist() == ["a"]
        there = ~np.isnan(part["score"].to_numpy())
        assert there.any()
        assert not there.all()
        np.testing.assert_array_equal(
            part["score"].to_numpy()[there], whole["score"].to_numpy()[:1][there]
        )

    def test_nothing_yet(self, models: dict[str, Model], store: Path) -> None:
        stopped(models["a"], store, 0)
        with pytest.raises(ValueBiasError, match=r"Nothing in .* is scored yet"):
            valuebias.read(store)

    def test_vocabularies(self, models: dict[str, Model], store: Path) -> None:
        both = [models["a"], models["b"]]
        stopped(both, store, 3, lexicon="vocabulary", model="b")
        with pytest.warns(ValueBiasWarning, match="unfinished"):
            tree = valuebias.read_vocabulary(store)
        assert list(tree.children) == ["a", "b"]
        assert np.isnan(tree["b"]["score"]).any()
        kind = "valuebias.align" if tree.attrs["kind"] == "logprob" else "Only log-probs"
        with pytest.raises(ValueBiasError, match=f"whole vocabularies.*{kind}"):
            valuebias.read(store)
        stopped(both[1], store.with_name("other.zarr"), 0, lexicon="vocabulary")
        with pytest.raises(ValueBiasError, match="scored yet"):
            valuebias.read_vocabulary(store.with_name("other.zarr"))

    def test_a_chunk_of_another_length(self, models: dict[str, Model], store: Path) -> None:
        """Its sum may be right: Zarr's own error would come when the scores are used."""
        score(models["a"], store, lexicon="vocabulary")
        chunk = next((store / "a" / "score").glob("[0-9]*"))
        chunk.write_bytes(chunk.read_bytes()[:-1])
        mark = next(m for m in chunk.parent.glob(".finished.*") if chunk.name in m.read_text())
        known = json.loads(mark.read_text())
        known[f"score/{chunk.name}"] = hashlib.sha256(chunk.read_bytes()).hexdigest()
        mark.write_text(json.dumps(known))
        with pytest.raises(ValueBiasError, match="bytes where its metadata says"):
            valuebias.read_vocabulary(store).load()


class TestFurtherModels:
    def test_are_added(self, models: dict[str, Model], store: Path) -> None:
        score(models["a"], store)
        kept = finished(store)
        both = score([models["b"], models["a"]], store)
        assert both["model"].to_numpy().tolist() == ["a", "b"]
        assert kept.items() <= finished(store).items()
        xr.testing.assert_equal(both, score([models["a"], models["b"]]))
        # Fewer models leave the others where they are.
        assert score(models["b"], store).identical(both)

    def test_a_kill_in_between_is_mended(self, models: dict[str, Model], store: Path) -> None:
        """The attributes name the models already, and some coords are the old ones still."""
        score(models["a"], store)
        old = store.with_name("old.zarr")
        shutil.copytree(store, old)
        both = score([models["a"], models["b"]], store)
        for name in ("family", "score", "n_params"):
            for path in (old / name).glob(".z*"):
                shutil.copy(path, store / name / path.name)
        for path in (old / "family").iterdir():
            shutil.copy(path, store / "family" / path.name)
        with pytest.raises(ValueBiasError, match=r"'n_params/0', .* is damaged"):
            valuebias.read(store)
        with pytest.warns(ValueBiasWarning, match=r"'family/\.zarray'.* Made again"):
            assert score([models["a"], models["b"]], store).identical(both)

    def test_vocabularies(self, models: dict[str, Model], store: Path) -> None:
        score(models["a"], store, lexicon="vocabulary")
        tree = score([models["a"], models["b"]], store, lexicon="vocabulary")
        assert list(tree.children) == ["a", "b"]

    @pytest.mark.parametrize("lexicon", [WORDS, "vocabulary"])
    def test_what_a_model_is_can_be_said_later(
        self, models: dict[str, Model], store: Path, lexicon: Any
    ) -> None:
        def described(**fields: Any) -> Any:
            made = score(Model(models["a"].location, name="a", **fields), store, lexicon=lexicon)
            return made if isinstance(made, xr.Dataset) else made["a"].to_dataset()

        first = described(family="F").load()
        kept = finished(store)
        assert (first["base"].item(), first["family"].item()) == ("", "F")
        again = described(base="org/lm-2b", n_pairs=8).load()
        assert finished(store) == kept
        # What is not said again stays as it was.
        found = [again[name].item() for name in ("base", "family", "stage", "n_pairs")]
        assert found == ["org/lm-2b", "F", "reward", 8]
        (about,) = json.loads(again.attrs["provenance"])["models"]
        assert about["base_said_by"] == "the specification"
        np.testing.assert_array_equal(again["score"], first["score"])
        assert described().identical(again)

    def test_that_would_share_a_group(self, models: dict[str, Model], store: Path) -> None:
        twins = [Model(models["a"].location, name=name) for name in ("x/y", "x--y")]
        with pytest.raises(ValueBiasError, match="'x/y' and 'x--y' would be kept in one"):
            score(twins, store, lexicon="vocabulary")


class TestRefused:
    @pytest.mark.parametrize(
        ("changed", "named"),
        [
            ({"lexicon": ("love", "power")}, "lexicon"),
            ({"lexicon": "vocabulary"}, "lexicon"),
            (
                {"prompts": {"p": {"text": "Which?", "framing": "positive"}}},
                "other prompts: by checksum [0-9a-f]{8}… there and [0-9a-f]{8}… now",
            ),
            ({"backend": "torch"}, "backend of the model 'm'.*'naive'.*'torch'"),
            ({"model": {"template": "plain"}}, "template of the model 'm'"),
            ({"model": {"dtype": "bfloat16"}}, "dtype of .*found 'float32', expected 'bfloat16'"),
            (
                {"model": {"reward_at": "last"}},
                "reward_at of .*'last that is not 0', expected 'last'",
            ),
            ({"model": {"revision": "abc"}}, "revision of .*found None, expected 'abc'"),
        ],
    )
    def test_other_settings(
        self, models: dict[str, Model], store: Path, changed: dict[str, Any], named: str
    ) -> None:
        source = models["a"].location
        score(Model(source, name="m"), store)
        before = contents(store)
        other = Model(source, name="m", **changed.pop("model", {}))
        with pytest.raises(ValueBiasError, match=f"made with (another )?{named}"):
            score(other, store, **changed)
        assert contents(store) == before

    def test_other_kind_and_pooling(self, models: dict[str, Model], store: Path) -> None:
        score(models["lm"], store, kind="logprob")
        with pytest.raises(ValueBiasError, match="another pooling: found 'sum', expected 'mean'"):
            score(models["lm"], store, kind="logprob", pooling="mean")
        with pytest.raises(ValueBiasError, match="another kind: found 'logprob'"):
            score(models["a"], store)

    def test_other_weights_tokenizer_and_configuration(
        self, models: dict[str, Model], store: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "m"
        shutil.copytree(models["a"].location, folder)
        score(str(folder), store)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
        with pytest.raises(ValueBiasError, match="another configuration of the model 'm'"):
            score(str(folder), store)
        shutil.rmtree(folder)
        tiny_models.tiny("llama", "reward", folder, seed=7)
        with pytest.raises(ValueBiasError, match="other weights of the model 'm'"):
            score(str(folder), store)
        shutil.rmtree(folder)
        shutil.copytree(models["a"].location, folder)
        tiny_models.write_tokenizer(folder, bos=False)
        with pytest.raises(ValueBiasError, match="another tokenizer of the model 'm'"):
            score(str(folder), store)

    def test_other_arithmetic(self, models: dict[str, Model], store: Path) -> None:
        class Autocast(NaiveBackend):
            def load(self, source: Source) -> LoadedModel:
                loaded = super().load(source)
                loaded.dtype = "bfloat16 autocast"
                return loaded

        stopped(models["a"], store, 2)
        with pytest.raises(ValueBiasError, match="found 'float32', expected 'bfloat16 autocast'"):
            score(models["a"], store, backend=Autocast)

    def test_what_is_no_store(self, models: dict[str, Model], store: Path, simulated: Any) -> None:
        valuebias.write(simulated, store)
        with pytest.raises(ValueBiasError, match=r"not made by valuebias\.score"):
            score(models["a"], store)
        assert valuebias.read(store).identical(simulated)
        other = store.with_name("other.zarr")
        other.mkdir()
        (other / "notes.txt").write_text("mine")
        with pytest.raises(ValueBiasError, match=r"not made by valuebias\.score"):
            score(models["a"], other)
        assert [path.name for path in other.iterdir()] == ["notes.txt"]

    def test_the_other_reader(self, models: dict[str, Model], store: Path) -> None:
        score(models["a"], store, lexicon="vocabulary")
        with pytest.raises(ValueBiasError, match=r"read_vocabulary\(.*\) reads them"):
            valuebias.read(store)
        score(models["a"], store.with_name("words.zarr"))
        with pytest.raises(ValueBiasError, match=r"valuebias\.read reads"):
            valuebias.read_vocabulary(store.with_name("words.zarr"))


def test_a_second_process_is_refused(models: dict[str, Model], store: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    score(models["a"], store)
    with (store / ".zgroup").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        before = contents(store)
        with pytest.raises(ValueBiasError, match="Another process is writing"):
            score([models["a"], models["b"]], store)
        assert contents(store) == before
    score(models["a"], store)


def test_plain_xarray_reads_it(models: dict[str, Model], store: Path) -> None:
    ds = score(models["lm"], store, kind="logprob")
    with xr.open_zarr(store, consolidated=False) as plain:
        np.testing.assert_array_equal(plain["score"], ds["score"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a file system that holds no more than 256 kB."""
    with small_disk(tmp_path / "disk", "256k") as place:
        yield place


def test_a_full_disk(models: dict[str, Model], small: Path) -> None:
    expected = score([models["a"], models["b"]])
    store = small / "scores.zarr"
    stopped([models["a"], models["b"]], store, 3)
    ballast = fill(small)
    before = contents(store)
    with pytest.raises(ValueBiasError, match=r"no room .*run the same call again"):
        score([models["a"], models["b"]], store)
    assert contents(store) == before
    ballast.unlink()
    xr.testing.assert_equal(score([models["a"], models["b"]], store), expected)


@pytest.mark.slow
def test_a_file_that_may_not_grow(models: dict[str, Model], store: Path) -> None:
    """The same without a file system of one's own: a limit to the size of files."""
    pytest.importorskip("resource")
    asked: dict[str, Any] = {"kind": "logprob", "lexicon": [f"word {i}" for i in range(400)]}
    stopped(models["lm"], store, 0, **asked)
    # All but the blocks is smaller.
    limit = max(path.stat().st_size for path in store.rglob("*")) + 100
    assert limit < 400 * 4 * 8
    script = f"""
        import resource, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]}
        import test_store
        from valuebias import Model, ValueBiasError
        test_store.request._PAIRS = test_store._PAIRS
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, most))
        try:
            test_store.score({models["lm"]!r}, test_store.Path({str(store)!r}), **{asked!r})
        except ValueBiasError as error:
            print(error)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "There is no room to write" in done.stdout
    assert "run the same call again" in done.stdout
    assert not finished(store)
    assert not list(store.rglob("*.part*"))
    xr.testing.assert_equal(score(models["lm"], store, **asked), score(models["lm"], **asked))


def test_a_block_at_the_edge_is_filled_up(models: dict[str, Model], store: Path) -> None:
    ds = score(models["a"], store)
    model_scores = ModelScores(store, 0)
    assert [block.pairs for block in model_scores.blocks] == [10, 10, 5]
    for prompt in range(len(PROMPTS)):
        np.testing.assert_array_equal(model_scores.line(prompt), ds["score"].to_numpy()[0, prompt])
