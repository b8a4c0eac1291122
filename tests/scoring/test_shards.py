"""Shards of a request: every split merged is what one process writes, and bad ones are refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_models
import xarray as xr
from naive_backend import NaiveBackend
from stores import contents, finished, without_shards

import valuebias
from valuebias import Model, ScoringShard, ValueBiasError, ValueBiasWarning
from valuebias.backends import LoadedModel, Pack, Source
from valuebias.scoring import request
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.request import Block
from valuebias.scoring.sharing import Share, Work
from valuebias.scoring.store import provenance_of

LACKING = tiny_models.missing()
requires_models = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

LEXICON = pd.DataFrame(
    {"good": [1, 0.5, 0, 0, 0], "bad": [0, 0, 1, 0.25, 0]},
    index=["love", "trust and care", "power", "free dom", "été"],
)
WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = valuebias.prompts(
    {
        f"p{i}": {
            "text": f"What is good, {i}?",
            "framing": ("positive", "negative")[i % 2],
            **{"rank": i, "polite": i == 3, "about": "é" * i, "length": i / 3},
        }
        for i in range(5)
    }
)
KINDS = [("reward", WORDS), ("logprob", WORDS), ("reward", LEXICON)]
KINDS += [("reward", "vocabulary"), ("logprob", "vocabulary")]


class Stopping(NaiveBackend):
    """Stops as Ctrl-C does after so many packs, and counts the models that it loads."""

    def __init__(self, after: int) -> None:
        self.left, self.loaded = after, 0

    def load(self, source: Source) -> LoadedModel:
        self.loaded += 1
        model = super().load(source)
        forward = model.forward

        def counted(pack: Pack) -> np.ndarray:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return forward(pack)

        model.forward = counted  # type: ignore[method-assign]
        return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Model]]:
    """Two or three models a kind, not all described alike."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, list[Model]] = {"reward": [], "logprob": []}
    for kind, architectures in (
        ("reward", ("llama", "qwen2", "gemma2")),
        ("logprob", ("llama", "qwen2")),
    ):
        for i, architecture in enumerate(architectures):
            place = tiny_models.tiny(architecture, kind, folder / f"{kind}-{i}")
            more = {"n_pairs": 100, "source": "helpful"} if i == 1 else {}
            made[kind].append(
                Model(str(place), name=f"org/{kind}-{i}", base=f"org/{i}-2b", **more)  # type: ignore[arg-type]
            )
    return made


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_PAIRS", 2 * len(WORDS))
    monkeypatch.setattr(request, "_ROW_VALUES", 700)


def score(models: object, store: Path, **options: Any) -> Any:
    large = str(options.get("lexicon")) == "vocabulary"
    request._PAIRS = 100 if large else 2 * len(WORDS)
    usual = {"prompts": PROMPTS, "lexicon": WORDS, "backend": NaiveBackend}
    usual["batch_tokens"] = 1000 if large else 60
    return valuebias.score(models, store=store, progress=False, **usual | options)


def shards(models: object, folder: Path, n: int, **options: Any) -> list[ScoringShard]:
    """Score all shards, the last one first."""
    made = [score(models, folder / f"{i}.zarr", shard=(i, n), **options) for i in range(n, 0, -1)]
    return made[::-1]


def about(scores: xr.Dataset | xr.DataTree) -> dict[str, Any]:
    return dict(json.loads(scores.attrs["provenance"]))


@pytest.fixture(scope="module")
def whole(
    models: dict[str, list[Model]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Any], Path]:
    """Give the store that one process writes."""
    made: dict[str, Path] = {}

    def store(kind: str, lexicon: Any) -> Path:
        key = f"{kind}-{'-'.join(lexicon)}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "whole.zarr"
            score(some(models[kind], lexicon), made[key], kind=kind, lexicon=lexicon)
        return made[key]

    return store


def _killed_after(n_blocks: int) -> None:
    """Let this process be killed once it has taken over so many blocks."""
    taken, adopt = iter(range(n_blocks)), ModelScores.adopt

    def adopted(self: ModelScores, block: Block, other: ModelScores) -> None:
        if next(taken, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        adopt(self, block, other)

    ModelScores.adopt = adopted  # type: ignore[method-assign]


def some(models: list[Model], lexicon: Any) -> list[Model]:
    """Give fewer models for whole vocabularies, of which each takes seconds."""
    return models[:2] if str(lexicon) == "vocabulary" else models


def opened(store: Path, lexicon: Any) -> xr.Dataset | xr.DataTree:
    large = str(lexicon) == "vocabulary"
    return valuebias.read_vocabulary(store) if large else valuebias.read(store)


@requires_models
class TestMerged:
    @pytest.mark.parametrize(("kind", "lexicon"), KINDS)
    @pytest.mark.parametrize("n", [1, 2, 3, 7])
    def test_is_what_one_process_writes(
        self,
        models: dict[str, list[Model]],
        whole: Callable[[str, Any], Path],
        tmp_path: Path,
        kind: str,
        lexicon: Any,
        n: int,
    ) -> None:
        alone = whole(kind, lexicon)
        asked = {"kind": kind, "lexicon": lexicon}
        made = shards(some(models[kind], lexicon), tmp_path / "shards", n, **asked)
        before = [contents(Path(shard)) for shard in made]
        merged = valuebias.merge(made[::-1], out=tmp_path / "merged.zarr")
        assert without_shards(tmp_path / "merged.zarr") == without_shards(alone)
        xr.testing.assert_equal(merged, opened(alone, lexicon))
        assert about(merged)["shards"]["n"] == n
        assert [contents(Path(shard)) for shard in made] == before
        marks = [name for name in without_shards(alone) if ".finished." in name]
        assert sum(shard.n_blocks for shard in made) == len(marks)

    @pytest.mark.parametrize("kind", ["reward", "logprob"])
    def test_is_so_where_beginnings_are_shared(
        self, models: dict[str, list[Model]], tmp_path: Path, kind: str
    ) -> None:
        asked = {"kind": kind, "backend": "torch", "batch_tokens": None}
        score(models[kind], tmp_path / "whole.zarr", **asked)
        valuebias.merge(shards(models[kind], tmp_path, 3, **asked), out=tmp_path / "merged.zarr")
        alone = without_shards(tmp_path / "whole.zarr")
        assert without_shards(tmp_path / "merged.zarr") == alone

    def test_more_shards_than_blocks(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        """Three blocks: of five shards two have nothing, and their stores say so."""
        model = models["reward"][0]
        score(model, tmp_path / "whole.zarr")
        engine = Stopping(100)
        made = shards(model, tmp_path / "shards", 5, backend=engine)
        assert sorted(shard.n_blocks for shard in made) == [0, 0, 1, 1, 1]
        # No model is loaded for nothing.
        assert engine.loaded == 3
        empty = next(shard for shard in made if not shard.n_blocks)
        assert "nothing falls to it" in str(empty)
        assert valuebias.check(empty).is_whole
        with pytest.raises(ValueBiasError, match=r"shard \d of 5, to which no scores fall"):
            valuebias.read(empty)
        valuebias.merge(made, out=tmp_path / "merged.zarr")
        assert without_shards(tmp_path / "merged.zarr") == without_shards(tmp_path / "whole.zarr")

    def test_is_gone_on_with_as_any_other(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        made = shards(models["reward"][:2], tmp_path, 2)
        merged = valuebias.merge(made, out=tmp_path / "merged.zarr")
        engine = Stopping(100)
        again = score(models["reward"][:2], tmp_path / "merged.zarr", backend=engine)
        assert again.identical(merged)
        assert not engine.loaded
        more = score(models["reward"], tmp_path / "merged.zarr", backend=engine)
        assert more.sizes["model"] == 3
        assert engine.loaded == 1
        assert valuebias.check(tmp_path / "merged.zarr").is_whole

    def test_says_with_what_it_was_made(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        class Elsewhere(NaiveBackend):
            def load(self, source: Source) -> LoadedModel:
                loaded = super().load(source)
                loaded.device = "cuda"
                return loaded

        one = score(models["reward"], tmp_path / "1.zarr", shard=(1, 2))
        two = score(models["reward"], tmp_path / "2.zarr", shard=(2, 2), backend=Elsewhere)
        said = about(valuebias.merge([one, two], out=tmp_path / "merged.zarr"))
        made_with = said["shards"]["made_with"]
        devices = [(entry["device"], entry["shards"]) for entry in made_with]
        assert devices == [("cpu", [1]), ("cuda", [2])]
        assert made_with[0]["packages"]["valuebias"] == valuebias.__version__
        # The second of three models is in both.
        of_models = [[run["device"] for run in entry["runs"]] for entry in said["models"]]
        assert of_models == [["cpu"], ["cpu", "cuda"], ["cuda"]]
        assert "shard" not in said

    def test_warns_of_models_without_a_base(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        """Each shard has one model, of which alone nothing is to be said."""
        place = models["reward"][0].location
        made = shards([Model(place, name=name) for name in "ab"], tmp_path, 2)
        with pytest.warns(ValueBiasWarning, match="No base is known for 2 of 2 models") as caught:
            valuebias.merge(made, out=tmp_path / "merged.zarr")
        assert caught[0].filename == __file__

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
    def test_a_kill_leaves_nothing_or_all(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        made = shards(models["reward"], tmp_path / "shards", 2)
        alone = [contents(Path(shard)) for shard in made]
        valuebias.merge(made, out=tmp_path / "whole.zarr")
        whole = contents(tmp_path / "whole.zarr")
        for n_blocks in (0, 2, 5, 8, 30):
            out = tmp_path / str(n_blocks) / "merged.zarr"
            pid = os.fork()
            if not pid:
                _killed_after(n_blocks)
                valuebias.merge(made, out=out)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            assert killed == (n_blocks < 30)
            assert out.exists() != killed
            valuebias.merge(made, out=out)
            assert contents(out) == whole
            assert [path.name for path in out.parent.iterdir()] == ["merged.zarr"]
        assert [contents(Path(shard)) for shard in made] == alone

    @pytest.mark.parametrize("lexicon", [WORDS, "vocabulary"])
    def test_a_second_time_does_nothing(
        self, models: dict[str, list[Model]], tmp_path: Path, lexicon: Any
    ) -> None:
        made = shards(models["logprob"], tmp_path, 2, kind="logprob", lexicon=lexicon)
        valuebias.merge(made, out=tmp_path / "merged.zarr")
        before = finished(tmp_path / "merged.zarr")
        valuebias.merge(made[::-1], out=tmp_path / "merged.zarr")
        assert finished(tmp_path / "merged.zarr") == before


@requires_models
class TestOneShard:
    @pytest.mark.parametrize(
        ("kind", "lexicon", "after"),
        [("reward", "vocabulary", 12), ("logprob", "vocabulary", 3), ("reward", WORDS, 4)],
    )
    def test_goes_on_where_it_was(
        self,
        models: dict[str, list[Model]],
        whole: Callable[[str, Any], Path],
        tmp_path: Path,
        kind: str,
        lexicon: Any,
        after: int,
    ) -> None:
        asked = {"kind": kind, "lexicon": lexicon}
        scored = some(models[kind], lexicon)
        one = score(scored, tmp_path / "1.zarr", shard=(1, 2), **asked)
        store = tmp_path / "2.zarr"
        with pytest.raises(KeyboardInterrupt) as caught:
            score(scored, store, shard=(2, 2), backend=Stopping(after), **asked)
        assert "run the same call again" in caught.value.__notes__[0]
        kept = finished(store)
        assert kept
        with pytest.raises(ValueBiasError, match=r"2\.zarr' \(shard 2 of 2\) is unfinished: .*"):
            valuebias.merge([one, store], out=tmp_path / "merged.zarr")
        assert not (tmp_path / "merged.zarr").exists()
        two = score(scored, store, shard=(2, 2), **asked)
        assert kept.items() <= finished(store).items()
        valuebias.merge([one, two], out=tmp_path / "merged.zarr")
        assert without_shards(tmp_path / "merged.zarr") == without_shards(whole(kind, lexicon))

    @pytest.mark.parametrize("lexicon", [WORDS, "vocabulary"])
    def test_is_read_as_a_part(
        self, models: dict[str, list[Model]], tmp_path: Path, lexicon: Any
    ) -> None:
        shard = score(models["reward"][0], tmp_path / "1.zarr", shard=(1, 2), lexicon=lexicon)
        with pytest.warns(ValueBiasWarning, match=r"a part of the scores \(shard 1 of 2\).*merge"):
            part = opened(Path(shard), lexicon)
        scores = part if isinstance(part, xr.Dataset) else part["org--reward-0"].to_dataset()
        assert int(np.isfinite(scores["score"].to_numpy()).sum()) == shard.n_scores
        checked = valuebias.check(shard)
        assert checked.is_whole
        assert not checked.notes

    def test_needs_no_weights_of_the_others(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        folders = [tmp_path / f"m{i}" for i in range(2)]
        for folder in folders:
            shutil.copytree(models["reward"][0].location, folder)
        for weights in folders[1].glob("*.safetensors"):
            weights.unlink()
        both = [Model(str(folder), base="org/lm") for folder in folders]
        assert score(both, tmp_path / "1.zarr", shard=(1, 2)).n_blocks == 3
        with pytest.raises(ValueBiasError, match="m1"):
            score(both, tmp_path / "2.zarr", shard=(2, 2))

    def test_a_base_is_followed_through_the_others(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        """The second model's card names the first as its base, which is another shard's."""
        folders = [tmp_path / f"m{i}" for i in range(2)]
        for folder in folders:
            shutil.copytree(models["reward"][0].location, folder)
        (folders[1] / "README.md").write_text("---\nbase_model: org/first\n---\n")
        both = [Model(str(folders[0]), name="org/first", base="org/lm"), Model(str(folders[1]))]
        alone = score(both, tmp_path / "whole.zarr")
        assert alone["base"].to_numpy().tolist() == ["org/lm", "org/lm"]
        merged = valuebias.merge(shards(both, tmp_path, 2), out=tmp_path / "merged.zarr")
        xr.testing.assert_equal(merged, alone)


@requires_models
class TestRefused:
    def test_a_store_of_another_shard_or_of_all(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        model = models["reward"][0]
        score(model, tmp_path / "1.zarr", shard=(1, 2))
        score(model, tmp_path / "all.zarr")
        before = contents(tmp_path / "1.zarr"), contents(tmp_path / "all.zarr")
        for store, shard, said in (
            ("1.zarr", (2, 2), "is shard 1 of 2, not shard 2 of 2"),
            ("1.zarr", (1, 3), "is shard 1 of 2, not shard 1 of 3"),
            ("1.zarr", None, r"is shard 1 of 2 of a request.*shard=\(1, 2\)"),
            ("all.zarr", (1, 2), "made without shards"),
        ):
            with pytest.raises(ValueBiasError, match=said):
                score(model, tmp_path / store, shard=shard)
        for asked, said in (
            (models["reward"][1], "other models"),
            (models["reward"][:2], r"other models \(without 'org/reward-1'\)"),
        ):
            with pytest.raises(ValueBiasError, match=f"shard 1 of 2 of another request: {said}"):
                score(asked, tmp_path / "1.zarr", shard=(1, 2))
        assert (contents(tmp_path / "1.zarr"), contents(tmp_path / "all.zarr")) == before

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"lexicon": ("x", "y", "z", "u", "v")}, "another lexicon"),
            ({"prompts": {"p": {"text": "?", "framing": "positive"}}}, "1 prompts, not 5"),
            ({"shard": (2, 3)}, "a request in 3 shards, not 2"),
            ({"order": (1, 0)}, "the models in another order"),
            ({"order": (0,)}, r"other models \(without 'm1'\)"),
            ({"order": (0, 1, 2)}, r"other models \(with 'm2'\)"),
            ({"backend": "torch"}, "another backend of the model 'm1'"),
            ({"model": {"template": "plain"}}, "another template of the model 'm1'"),
            ({"model": {"family": "F"}}, "has family 'F' for the model 'm1'.*again"),
        ],
    )
    def test_a_shard_of_another_request(
        self, models: dict[str, list[Model]], tmp_path: Path, changed: dict[str, Any], said: str
    ) -> None:
        """Of three models the middle one is in both shards."""

        def made(store: str, *, order: Any = (0, 1, 2), model: Any = None, **options: Any) -> Any:
            there = [models["reward"][min(i, 1)] for i in order]
            named = [
                Model(one.location, name=f"m{i}", base="org/lm", **model or {})
                for i, one in zip(order, there, strict=True)
            ]
            return score(named, tmp_path / store, **options)

        order = (0, 1) if "order" in changed else (0, 1, 2)
        one = made("1.zarr", order=order, shard=(1, 2))
        two = made("2.zarr", **{"shard": (2, 2), **changed})
        with pytest.raises(ValueBiasError, match=said) as caught:
            valuebias.merge([one, two], out=tmp_path / "merged.zarr")
        assert "1.zarr" in str(caught.value)
        assert "2.zarr" in str(caught.value)
        assert not (tmp_path / "merged.zarr").exists()

    def test_other_weights(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        folder = tmp_path / "m"
        tiny_models.tiny("llama", "reward", folder)
        one = score(str(folder), tmp_path / "1.zarr", shard=(1, 2))
        shutil.rmtree(folder)
        tiny_models.tiny("llama", "reward", folder, seed=7)
        two = score(str(folder), tmp_path / "2.zarr", shard=(2, 2))
        with pytest.raises(ValueBiasError, match="made with other weights of the model 'm'"):
            valuebias.merge([one, two], out=tmp_path / "merged.zarr")

    def test_another_dtype_of_the_arithmetic(
        self, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        class Autocast(NaiveBackend):
            def load(self, source: Source) -> LoadedModel:
                loaded = super().load(source)
                loaded.dtype = "bfloat16 autocast"
                return loaded

        one = score(models["reward"][0], tmp_path / "1.zarr", shard=(1, 2))
        two = score(models["reward"][0], tmp_path / "2.zarr", shard=(2, 2), backend=Autocast)
        with pytest.raises(ValueBiasError, match=r"dtype .*in float32 and in bfloat16 autocast"):
            valuebias.merge([one, two], out=tmp_path / "merged.zarr")

    def test_missing_doubled_and_none(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        made = shards(models["reward"][0], tmp_path, 3)
        out = tmp_path / "merged.zarr"
        shutil.copytree(made[0], tmp_path / "copy.zarr")
        for stores, said in (
            (made[1:], r"Shard 1 of 3 is missing.*shard=\(1, 3\)"),
            (made[1:2], r"Shards 1 and 3 of 3 are missing"),
            ([*made, made[1]], r"2\.zarr' and .*2\.zarr' are both shard 2 of 3"),
            ([*made, tmp_path / "copy.zarr"], r"1\.zarr' and .*copy\.zarr' are both shard 1 of 3"),
            ([*made[:2], tmp_path / "4.zarr"], r"no store .*4\.zarr'"),
            ([], "No store was given"),
            # One store may be given without a list around it.
            (made[0], "Shards 2 and 3 of 3 are missing"),
        ):
            with pytest.raises(ValueBiasError, match=said):
                valuebias.merge(stores, out=out)
        score(models["reward"][0], tmp_path / "all.zarr")
        with pytest.raises(ValueBiasError, match=r"all\.zarr' is no shard"):
            valuebias.merge([*made, tmp_path / "all.zarr"], out=out)
        assert not out.exists()

    def test_what_is_no_store_of_scores(self, tmp_path: Path, simulated: xr.Dataset) -> None:
        valuebias.write(simulated, tmp_path / "other.zarr")
        (tmp_path / "file.zarr").write_text("text")
        (tmp_path / "empty.zarr").mkdir()
        for name in ("other.zarr", "file.zarr", "empty.zarr"):
            with pytest.raises(ValueBiasError, match=name):
                valuebias.merge([tmp_path / name], out=tmp_path / "merged.zarr")

    def test_out(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        made = shards(models["reward"][0], tmp_path, 2)
        with pytest.raises(ValueBiasError, match=r"ends in '\.zarr'"):
            valuebias.merge(made, out=tmp_path / "merged.nc")
        score(models["reward"][0], tmp_path / "all.zarr")
        for name in ("all.zarr", "1.zarr"):
            before = contents(tmp_path / name)
            with pytest.raises(ValueBiasError, match=r"there already.*another path"):
                valuebias.merge(made, out=tmp_path / name)
            assert contents(tmp_path / name) == before

    @pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
    @pytest.mark.parametrize("lexicon", [WORDS, "vocabulary"])
    def test_a_damaged_block(
        self, models: dict[str, list[Model]], tmp_path: Path, damage: str, lexicon: Any
    ) -> None:
        asked = {"kind": "logprob", "lexicon": lexicon}
        made = shards(models["logprob"][0], tmp_path, 2, **asked)
        mark = sorted(Path(made[1]).rglob(".finished.*"))[0]
        chunk = mark.with_name(mark.name.removeprefix(".finished."))
        content = chunk.read_bytes()
        if damage == "gone":
            chunk.unlink()
        else:
            chunk.write_bytes(content[:7] if damage == "cut" else content[:-1] + b"\x01")
        with pytest.raises(ValueBiasError, match=f"{chunk.name}' is damaged.*again"):
            valuebias.merge(made, out=tmp_path / "merged.zarr")
        assert {path.name for path in tmp_path.iterdir()} == {"1.zarr", "2.zarr"}
        with pytest.warns(ValueBiasWarning, match="computed again"):
            score(models["logprob"][0], Path(made[1]), shard=(2, 2), **asked)
        valuebias.merge(made, out=tmp_path / "merged.zarr")

    def test_bad_shards(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        model = models["reward"][0]
        for shard in ((0, 2), (3, 2), (1,), "1/2", 2, (1.0, 2), (True, 2), (1, 2, 3)):
            with pytest.raises(ValueBiasError, match=r"expected \(i, n\)"):
                score(model, tmp_path / "s.zarr", shard=shard)
            with pytest.raises(ValueBiasError, match=r"expected \(i, n\)"):
                valuebias.plan(model, shard=shard)
        with pytest.raises(ValueBiasError, match=r"Shard 1 of 2 has no store"):
            valuebias.score(model, shard=(1, 2))  # type: ignore[call-overload]
        assert not list(tmp_path.iterdir())


def test_a_record_that_nobody_wrote() -> None:
    shard = Share(index=1, n=1, n_prompts=5, work=(Work(name="m", prompts=2, cost=1),))
    record = shard.record()
    assert Share.recorded({"shard": record}) == shard
    for wrong in (
        {**record, "n": 0},
        {**record, "n_prompts": 10**12},
        {**record, "models": []},
        {**record, "models": [{"name": "m", "prompts": 0, "cost": 1}]},
        {"index": 1},
        7,
    ):
        with pytest.raises(ValueBiasError, match="does not write"):
            Share.recorded({"shard": wrong})


def test_sizes_matter_where_they_change_the_parts() -> None:
    def share(*costs: int) -> Share:
        work = tuple(Work(name=f"m{i}", prompts=2, cost=cost) for i, cost in enumerate(costs))
        return Share(index=1, n=2, n_prompts=5, work=work)

    assert not share(100, 100).difference(share(101, 100))
    assert "another size ('m0'), and so other parts" in share(100, 100).difference(share(900, 100))


@requires_models
def test_a_plan_of_each_shard(models: dict[str, list[Model]]) -> None:
    asked: dict[str, Any] = {"prompts": PROMPTS, "lexicon": WORDS, "backend": NaiveBackend}
    asked |= {"batch_tokens": 60}
    alone = valuebias.plan(models["reward"], **asked).table
    parts = [valuebias.plan(models["reward"], shard=(i, 4), **asked) for i in (1, 2, 3, 4)]
    for column in ("pairs", "packs", "tokens", "unpacked"):
        assert sum(part.table[column].sum() for part in parts) == alone[column].sum()
    assert "shard 2 of 4" in parts[1].headline
    empty = valuebias.plan(models["reward"][0], shard=(1, 9), **asked)
    assert not len(empty.table)
    assert "Nothing falls to it" in str(empty)
    asked |= {"kind": "logprob", "lexicon": "vocabulary"}
    pairs = [
        valuebias.plan(models["logprob"], shard=(i, 2), **asked).table["pairs"] for i in (1, 2)
    ]
    assert sum(part.sum() for part in pairs) == 5 * 2 * 320


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 64])
@pytest.mark.parametrize(
    "costs", [(1,), (7, 7, 7), (10**12, 1, 10**11, 5 * 10**10), tuple(range(1, 31))]
)
def test_shares_are_disjoint_and_alike(costs: Sequence[int], n: int) -> None:
    work = tuple(Work(name=str(i), prompts=18, cost=cost) for i, cost in enumerate(costs))
    shares = [Share(index=i, n=n, n_prompts=54, work=work) for i in range(1, n + 1)]
    done = [(name, row) for share in shares for name in share.names() for row in share.rows(name)]
    assert sorted(done) == sorted((one.name, row) for one in work for row in range(3))
    loads = [sum(one.cost * share.prompts(one.name) for one in work) for share in shares]
    largest = 18 * max(costs)
    assert max(loads) <= sum(loads) / n + largest
    assert min(loads) >= sum(loads) / n - largest


@pytest.fixture(scope="module")
def policies(models: dict[str, list[Model]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three policies, two of which were held to one model."""
    folder = tmp_path_factory.mktemp("policies")
    places = [str(tiny_models.tiny("llama", "logprob", folder / f"{k}", seed=k)) for k in range(5)]
    return [
        Model(place, name=f"policy {i}", reference=places[3 + i // 2], beta=0.1 + i, base="x")
        for i, place in enumerate(places[:3])
    ]


@requires_models
@pytest.mark.parametrize("n", [2, 4, 20])
def test_policies_merged_are_what_one_process_writes(
    policies: list[Model], tmp_path: Path, n: int
) -> None:
    """Each shard scores its references for its own part; their stores may be given, too."""
    whole = score(policies, tmp_path / "whole.zarr", kind="implicit", backend="torch")
    shards(policies, tmp_path / "parts", n, kind="implicit", backend="torch")
    every = sorted((tmp_path / "parts").glob("*.zarr"))
    if n < 20:
        assert len(every) == 2 * n
    merged = valuebias.merge(every, out=tmp_path / "merged.zarr")
    xr.testing.assert_identical(merged.drop_attrs(), whole.drop_attrs())
    assert without_shards(tmp_path / "merged.zarr") == contents(tmp_path / "whole.zarr")
    before = finished(tmp_path / "merged.zarr")
    score(policies, tmp_path / "merged.zarr", kind="implicit", backend="torch")
    assert finished(tmp_path / "merged.zarr") == before


@requires_models
def test_a_shard_of_policies_scores_references_for_its_part_alone(
    policies: list[Model], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = shards(policies, tmp_path, 4, kind="implicit", backend="torch")
    assert sum(part.n_scores for part in parts) == 3 * len(PROMPTS) * len(WORDS)
    for part in parts:
        beside = Path(part).with_suffix(".references.zarr")
        with pytest.warns(ValueBiasWarning, match=f"shard {part.index} of 4"):
            kept, own = valuebias.read(beside), valuebias.read(Path(part))
        for model in kept["model"].to_numpy().tolist():
            of_model = own["reference"].to_numpy() == model
            asked = own["score"].isel(model=of_model).notnull().any("model")
            xr.testing.assert_equal(kept["score"].sel(model=model, drop=True).notnull(), asked)
    with pytest.raises(ValueBiasError, match="of policies' references, for one shard"):
        valuebias.merge([beside], out=tmp_path / "all.zarr")


@requires_models
def test_a_shard_of_policies_that_was_interrupted_goes_on(
    policies: list[Model], tmp_path: Path
) -> None:
    asked = {"kind": "implicit", "batch_tokens": 60}
    for after in (0, 1, 3):
        with pytest.raises(KeyboardInterrupt):
            score(policies, tmp_path / "1.zarr", shard=(1, 2), backend=Stopping(after), **asked)
    score(policies, tmp_path / "1.zarr", shard=(1, 2), **asked)
    score(policies, tmp_path / "2.zarr", shard=(2, 2), **asked)
    stores = [tmp_path / f"{i}.zarr" for i in (1, 2)]
    merged = valuebias.merge(stores, out=tmp_path / "merged.zarr")
    whole = score(policies, tmp_path / "whole.zarr", **asked)
    xr.testing.assert_identical(merged.drop_attrs(), whole.drop_attrs())


@requires_models
def test_a_plan_of_a_shard_of_policies(policies: list[Model]) -> None:
    plans = [
        valuebias.plan(policies, prompts=PROMPTS, lexicon=WORDS, kind="implicit", shard=part)
        for part in (None, (1, 2), (2, 2))
    ]
    pairs = [plan.table["pairs"] for plan in plans]
    own = [some[[not name.endswith("(reference)") for name in some.index]].sum() for some in pairs]
    assert own[0] == own[1] + own[2] == 3 * len(PROMPTS) * len(WORDS)
    assert any(name.endswith("(reference)") for name in pairs[1].index)


@requires_models
def test_labels_of_one_head_are_computed_in_one_pass(tmp_path: Path) -> None:
    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm", labels=3)
    other = tiny_models.tiny("llama", "reward", tmp_path / "other", seed=1)
    asked = [Model(str(folder), label="all", base="x"), Model(str(other), base="x")]
    whole = score(asked, tmp_path / "whole.zarr", backend="torch")
    parts = shards(asked, tmp_path, 3, backend="torch")
    merged = valuebias.merge(parts, out=tmp_path / "merged.zarr")
    xr.testing.assert_identical(merged.drop_attrs(), whole.drop_attrs())
    passes = set()
    for part in parts:
        share = Share.recorded(provenance_of(Path(part)))
        assert share is not None
        rows = [share.rows(f"rm: LABEL_{k}") for k in range(3)]
        assert rows[0] == rows[1] == rows[2]
        passes |= {(share.index, row) for row in rows[0]}
    assert len(passes) == 3
    # Where each label is a pass of its own, they are parts like others.
    apart = score(asked, tmp_path / "apart.zarr", shard=(1, 3))
    share = Share.recorded(provenance_of(Path(apart)))
    assert share is not None
    assert not any(work.along for work in share.work)


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="5 is among the stores; expected paths"):
        valuebias.merge([5], out=tmp_path / "all.zarr")  # type: ignore[list-item]
