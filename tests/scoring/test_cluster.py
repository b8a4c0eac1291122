"""Two Dask workers score what one process scores, to the last bit, whoever is killed meanwhile."""

from __future__ import annotations

import _thread
import json
import os
import random
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cluster_backends
import numpy as np
import pytest
import tiny_models
import xarray as xr
from cluster_backends import Slow
from naive_backend import NaiveBackend
from stores import contents, finished
from typer.testing import CliRunner

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.cli.app import app
from valuebias.scoring import cluster_client, request

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
Client, LocalCluster = distributed.Client, distributed.LocalCluster

LACKING = tiny_models.missing()
pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.once,
    # Of connections to a process that is killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = {
    f"p{i}": {"text": f"What is good, {i}?", "framing": ("positive", "negative")[i % 2]}
    for i in range(5)
}
KINDS = [("reward", WORDS), ("logprob", WORDS)]
KINDS += [("reward", "vocabulary"), ("logprob", "vocabulary")]
BUNDLE = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes, which take seconds to import what they need."""
    with LocalCluster(**BUNDLE, silence_logs=50) as workers, Client(workers) as connected:
        yield connected


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Model]]:
    folder = tmp_path_factory.mktemp("models")
    return {
        kind: [
            Model(
                str(tiny_models.tiny(architecture, kind, folder / f"{kind}-{i}")),
                name=f"org/{kind}-{i}",
                base=f"org/{i}-2b",
            )
            for i, architecture in enumerate(("llama", "qwen2"))
        ]
        for kind in ("reward", "logprob")
    }


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_PAIRS", len(WORDS))
    monkeypatch.setattr(request, "_ROW_VALUES", 700)


def score(models: object, store: Path | None, **options: Any) -> Any:
    large = str(options.get("lexicon")) == "vocabulary"
    request._PAIRS = 100 if large else len(WORDS)
    usual = {"prompts": PROMPTS, "lexicon": WORDS, "backend": NaiveBackend}
    return valuebias.score(models, store=store, progress=False, **usual | options)


def runs(scores: xr.Dataset) -> list[list[dict[str, Any]]]:
    return [model["runs"] for model in json.loads(scores.attrs["provenance"])["models"]]


def processes(client: Any) -> list[int]:
    return list(client.run(os.getpid).values())


def marks(store: Path) -> int:
    return len(list(store.rglob(".finished.*")))


def after(store: Path, n: int, act: Callable[[], None]) -> threading.Thread:
    """Do something once so many blocks are finished."""

    def wait() -> None:
        end = time.monotonic() + 120
        while marks(store) < n and time.monotonic() < end:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


class TestTheSame:
    @pytest.mark.parametrize(("kind", "lexicon"), KINDS)
    def test_as_one_process(
        self,
        client: Any,
        models: dict[str, list[Model]],
        tmp_path: Path,
        kind: str,
        lexicon: Any,
    ) -> None:
        """Where beginnings are shared, so that scores depend on how conversations are packed."""
        asked = {"kind": kind, "lexicon": lexicon, "backend": "torch"}
        alone = score(models[kind], tmp_path / "alone.zarr", **asked)
        together = score(models[kind], tmp_path / "together.zarr", client=client, **asked)
        assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")
        xr.testing.assert_equal(together, alone)

    def test_without_a_store(self, client: Any, models: dict[str, list[Model]]) -> None:
        for kind, lexicon in KINDS[1:3]:
            asked = {"kind": kind, "lexicon": lexicon, "store": None}
            xr.testing.assert_equal(
                score(models[kind], client=client, **asked), score(models[kind], **asked)
            )

    def test_scores_are_written_beside_a_client(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        """Xarray asks a scheduler to lock what it writes, where there is one."""
        scores = score(models["reward"][0], None, client=client)
        valuebias.write(scores, tmp_path / "scores.nc")
        xr.testing.assert_equal(valuebias.read(tmp_path / "scores.nc"), scores)

    def test_of_policies(self, client: Any, models: dict[str, list[Model]], tmp_path: Path) -> None:
        first, second = models["logprob"]
        policy = Model(first.location, name="policy", base="b", reference=second.location)
        for name, more in (("alone", {}), ("together", {"client": client})):
            score(policy, tmp_path / f"{name}.zarr", kind="implicit", **more)
        assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")

    @pytest.mark.filterwarnings("ignore:Of the probability:valuebias.ValueBiasWarning")
    @pytest.mark.parametrize("judge", ["rating", "a-or-b"])
    def test_of_judges(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path, judge: str
    ) -> None:
        asked = valuebias.judge(judge, against="money" if judge == "a-or-b" else None)
        for name, more in (("alone", {}), ("together", {"client": client})):
            score(models["logprob"], tmp_path / f"{name}.zarr", kind="judged", judge=asked,
                  backend="torch", **more)  # fmt: skip
        assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")

    @pytest.mark.parametrize("asked", [{"read": "all"}, {"kind": "logprob"}, {"kind": "implicit"}])
    def test_of_contrast_sets(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path, asked: dict[str, Any]
    ) -> None:
        rows = {
            f"q{i}": {"prompt": f"What is {i}?", "answers": {"good": "love " * i, "bad": "power"}}
            for i in (1, 2, 3)
        }
        chosen = models[asked.get("kind", "reward").replace("implicit", "logprob")]
        if asked.get("kind") == "implicit":
            chosen = [Model(chosen[0].location, base="b", reference=chosen[1].location)]
        asked |= {"backend": "torch", "progress": False}
        for name, more in (("alone", {}), ("together", {"client": client})):
            place = tmp_path / f"{name}.zarr"
            valuebias.score_contrasts(chosen, rows, store=place, **asked, **more)
        assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")

    def test_of_shards_of_policies(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        first, second = models["logprob"]
        policy = Model(first.location, name="policy", base="b", reference=second.location)
        asked = {"kind": "implicit", "backend": "torch"}
        whole = score(policy, None, **asked)
        parts = [
            score(policy, tmp_path / f"{i}.zarr", shard=(i, 2), client=client, **asked)
            for i in (1, 2)
        ]
        merged = valuebias.merge(parts, out=tmp_path / "merged.zarr")
        xr.testing.assert_equal(merged, whole)

    def test_of_labels(self, client: Any, tmp_path: Path) -> None:
        folder = tiny_models.tiny("llama", "reward", tmp_path / "many", labels=3)
        many = [Model(str(folder), label="all")]
        alone = score(many, tmp_path / "alone.zarr", backend="torch")
        found = score(many, tmp_path / "together.zarr", client=client, backend="torch")
        assert found.sizes["model"] == 3
        assert contents(tmp_path / "together.zarr") == contents(tmp_path / "alone.zarr")
        xr.testing.assert_equal(found, alone)

    def test_of_shards(self, client: Any, models: dict[str, list[Model]], tmp_path: Path) -> None:
        shards = [
            score(models["reward"], tmp_path / f"{i}.zarr", shard=(i, 2), client=client)
            for i in (1, 2)
        ]
        assert sum(shard.n_scores for shard in shards) == 2 * len(PROMPTS) * len(WORDS)
        merged = valuebias.merge(shards, out=tmp_path / "merged.zarr")
        xr.testing.assert_equal(merged, score(models["reward"], None))

    def test_where_one_process_stopped(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        error = cluster_backends.not_of_this_model("x")
        with pytest.raises(ValueBiasError):
            score(models["reward"], tmp_path / "s.zarr", backend=_failing(error, 3))
        kept = finished(tmp_path / "s.zarr")
        score(models["reward"], tmp_path / "s.zarr", client=client)
        assert kept.items() <= finished(tmp_path / "s.zarr").items()
        score(models["reward"], tmp_path / "alone.zarr")
        assert contents(tmp_path / "s.zarr") == contents(tmp_path / "alone.zarr")

    def test_a_model_is_loaded_once_a_worker(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        engine = Slow(0.02, tmp_path / "loads")
        score(models["reward"], None, backend=engine, client=client)
        loads = (tmp_path / "loads").read_text().split("\n")[:-1]
        assert len(loads) == len(set(loads)) <= 4
        assert {int(line.split()[1]) for line in loads} == set(processes(client))

    def test_packs_are_of_one_size(self, client: Any, models: dict[str, list[Model]]) -> None:
        engine = cluster_backends.ByWorker()
        scores = score(models["reward"][0], None, backend=engine, client=client)
        (of_model,) = runs(scores)
        sizes = {60 + process % 1000 for process in processes(client)}
        assert len(sizes) == 2
        assert len(of_model) == 1
        assert of_model[0]["batch_tokens"] in sizes
        xr.testing.assert_equal(scores, score(models["reward"][0], None))

    def test_where_memory_runs_out(self, client: Any, models: dict[str, list[Model]]) -> None:
        engine = cluster_backends.Cramped(40)
        with pytest.warns(ValueBiasWarning, match=r"of 256 tokens on the worker tcp://.* Give"):
            scores = score(models["reward"][0], None, backend=engine, client=client)
        xr.testing.assert_equal(scores, score(models["reward"][0], None))


class TestKilled:
    def test_nothing_is_lost(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        victim = processes(client)[0]
        store = tmp_path / "killed.zarr"
        killing = after(store, 2, lambda: os.kill(victim, signal.SIGKILL))
        score(models["reward"], store, backend=Slow(0.1), client=client)
        killing.join()
        assert victim not in processes(client)
        score(models["reward"], tmp_path / "alone.zarr")
        assert contents(store) == contents(tmp_path / "alone.zarr")

    @pytest.mark.slow
    def test_twenty_times(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        """One of two workers, twenty times at random; one block at least between two kills."""
        seed = secrets.randbits(32)
        chance, killed = random.Random(seed), []
        prompts = {f"p{i}": {"text": f"Good, {i}?", "framing": "positive"} for i in range(60)}
        asked = {"prompts": prompts, "kind": "logprob"}
        store, over = tmp_path / "killed.zarr", threading.Event()
        # A cluster closes a worker for good that is away, for whatever reason, so long after any
        # of its losses; by default 15 s.
        patient = dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})
        cluster = LocalCluster(**BUNDLE, silence_logs=50)
        with patient, cluster as workers, Client(workers) as client:

            def kill() -> None:
                while len(killed) < 20:
                    before = marks(store)
                    while marks(store) == before and not over.is_set():
                        time.sleep(0.01)
                    time.sleep(chance.uniform(0, 0.5))
                    if over.is_set():
                        return
                    # Dask gives a worker up that dies while its process is being started.
                    nannies = [n for n in workers.workers.values() if n.status.name == "running"]
                    known = set(workers.scheduler.workers)
                    running = [n.pid for n in nannies if n.pid and n.worker_address in known]
                    if running:
                        os.kill(victim := chance.choice(running), signal.SIGKILL)
                        killed.append(victim)

            killing = threading.Thread(target=kill)
            killing.start()
            try:
                score(models["logprob"], store, backend=Slow(0.1), client=client, **asked)
            finally:
                over.set()
                killing.join()
        score(models["logprob"], tmp_path / "alone.zarr", **asked)
        assert len(killed) == 20, seed
        assert contents(store) == contents(tmp_path / "alone.zarr"), seed

    @pytest.mark.slow
    def test_all_are_lost_for_good(self, models: dict[str, list[Model]], tmp_path: Path) -> None:
        store = tmp_path / "s.zarr"
        hasty = dask.config.set({"distributed.deploy.lost-worker-timeout": "0s"})
        with LocalCluster(**BUNDLE, silence_logs=50) as workers, Client(workers) as client:

            def kill() -> None:
                for victim in processes(client):
                    os.kill(victim, signal.SIGKILL)

            killing = after(store, 2, kill)
            with hasty, pytest.raises(ValueBiasError, match=r"All workers are .*scale\(2\)\), and"):
                score(models["reward"], store, backend=Slow(0.1), client=client)
            killing.join()
            kept = finished(store)
            workers.scale(2)
            score(models["reward"], store, client=client)
        assert kept
        assert kept.items() <= finished(store).items()
        score(models["reward"], tmp_path / "alone.zarr")
        assert contents(store) == contents(tmp_path / "alone.zarr")

    @pytest.mark.slow
    def test_a_block_that_kills_every_worker(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        model, store = models["reward"][0], tmp_path / "s.zarr"
        prompts = {**PROMPTS, "ω": {"text": "ωωω", "framing": "positive"}}
        tokens = [_tokens(model, each["text"]) for each in prompts.values()]
        deadly = min(set(tokens[-1]) - set().union(*tokens[:-1]))
        engine = cluster_backends.Deadly(deadly)
        with pytest.raises(ValueBiasError, match=r"6 workers were lost .*\(5, 0\).*'org/reward-0'"):
            score(model, store, prompts=prompts, backend=engine, client=client)
        kept = finished(store)
        assert kept
        client.wait_for_workers(2, timeout=60)
        score(model, store, prompts=prompts, client=client)
        assert kept.items() <= finished(store).items()


class TestStopped:
    def test_a_models_own_error_comes_through(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        error = cluster_backends.not_of_this_model("This model")
        with pytest.raises(ValueBiasError) as caught:
            score(models["reward"], tmp_path / "s.zarr", backend=_failing(error, 2), client=client)
        assert (str(caught.value), caught.value.in_shell) == (str(error), error.in_shell)
        assert finished(tmp_path / "s.zarr")
        assert _at_rest(client)
        score(models["reward"], tmp_path / "s.zarr", client=client)
        score(models["reward"], tmp_path / "alone.zarr")
        assert contents(tmp_path / "s.zarr") == contents(tmp_path / "alone.zarr")

    def test_another_error_says_where(self, client: Any, models: dict[str, list[Model]]) -> None:
        with pytest.raises(ZeroDivisionError) as caught:
            score(models["reward"], None, backend=_failing(ZeroDivisionError(), 0), client=client)
        assert "This happened on the worker tcp://" in caught.value.__notes__[0]

    def test_ctrl_c_keeps_what_is_finished(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        store = tmp_path / "s.zarr"
        stopping = after(store, 2, _thread.interrupt_main)
        with pytest.raises(KeyboardInterrupt) as caught:
            score(models["reward"], store, backend=Slow(0.1), client=client)
        stopping.join()
        assert "What was finished is kept in" in caught.value.__notes__[0]
        kept = finished(store)
        assert 2 <= marks(store) < 10
        assert _at_rest(client)
        score(models["reward"], store, client=client)
        assert kept.items() <= finished(store).items()
        score(models["reward"], tmp_path / "alone.zarr")
        assert contents(store) == contents(tmp_path / "alone.zarr")

    def test_a_worker_that_was_not_told_yet(self, client: Any) -> None:
        """One that joins when all is done, as the successor of one that was killed, is no error."""
        from valuebias.scoring.cluster_worker import ScoringPlugin

        one, two = client.nthreads()
        with cluster_client.told(client, ScoringPlugin("valuebias-told", b"")):
            told = client.run(cluster_backends.plugins)
            client.run(cluster_backends.not_told, workers=[one])
            left = client.run(cluster_backends.plugins)
        assert told == {one: ["valuebias-told"], two: ["valuebias-told"]}
        assert left == {one: [], two: ["valuebias-told"]}
        assert _at_rest(client)

    def test_a_client_that_is_closed_meanwhile(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        store = tmp_path / "s.zarr"
        connected = Client(client.scheduler.address)
        closing = after(store, 2, connected.close)
        with pytest.raises(ValueBiasError, match=r"The scheduler is gone.*run the same call"):
            score(models["reward"], store, backend=Slow(0.1), client=connected)
        closing.join()
        assert marks(store) >= 2


class TestRefused:
    def test_what_is_no_client(self, models: dict[str, list[Model]]) -> None:
        for given in ("tcp://127.0.0.1:8786", 3, True):
            with pytest.raises(ValueBiasError, match=r"expected a distributed.Client. Make one: "):
                score(models["reward"], None, client=given)

    def test_a_client_that_is_closed_or_asynchronous(
        self, client: Any, models: dict[str, list[Model]]
    ) -> None:
        address = client.scheduler.address
        with Client(address) as closed:
            pass
        with pytest.raises(ValueBiasError, match=r"not connected to a scheduler .it is closed"):
            score(models["reward"], None, client=closed)

        async def inside() -> None:
            async with Client(address, asynchronous=True) as given:
                with pytest.raises(ValueBiasError, match="The client is asynchronous"):
                    score(models["reward"], None, client=given)

        client.sync(inside)

    def test_no_workers(
        self, models: dict[str, list[Model]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cluster_client, "_WAIT", 0.3)
        with (
            LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as workers,
            Client(workers) as given,
            pytest.raises(ValueBiasError, match=r"has no workers, and none came in 0 s.*`dask "),
        ):
            score(models["reward"], None, client=given)

    def test_another_version(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        """One worker finds another version of torch first, as one with its own environment."""
        folder = tmp_path / "torch-1.2.3.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.2.3\n")
        worker = next(iter(client.nthreads()))
        client.run(cluster_backends.find_first, str(tmp_path), True, workers=[worker])
        try:
            with pytest.raises(ValueBiasError) as caught:
                score(models["reward"], None, client=client)
        finally:
            client.run(cluster_backends.find_first, str(tmp_path), False, workers=[worker])
        here = metadata.version("torch")
        said = f"The worker {worker} has torch 1.2.3; here it is torch {here}."
        assert said in str(caught.value)

    @pytest.mark.skipif(sys.platform != "linux", reason="each process has its own file at a path")
    def test_other_weights_under_the_same_path(
        self, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on machines whose disks differ: the path is that of a process's own folder."""
        for name, seed in (("here", 0), ("there", 1)):
            tiny_models.tiny("llama", "reward", tmp_path / name / "rm", seed=seed)
        (tmp_path / "nowhere").mkdir()
        model = Model("/proc/self/cwd/rm", name="org/rm", base="org/2b")
        monkeypatch.chdir(tmp_path / "here")
        sums = [_weights(tmp_path / name / "rm") for name in ("here", "there")]
        for place, said in (
            (
                "there",
                r"The worker tcp://\S+ on \S+ finds other weights of the model 'org/rm' than the "
                rf"process that asks it: '{sums[1]}', not '{sums[0]}'",
            ),
            ("nowhere", r"The worker tcp://\S+ on \S+ finds no '/proc/self/cwd/rm', which"),
        ):
            before = client.run(os.getcwd)
            client.run(os.chdir, str(tmp_path / place))
            try:
                with pytest.raises(ValueBiasError, match=said):
                    score(model, None, client=client)
            finally:
                for worker, home in before.items():
                    client.run(os.chdir, home, workers=[worker])

    def test_what_cannot_be_sent(self, client: Any, models: dict[str, list[Model]]) -> None:
        with pytest.raises(ValueBiasError, match=r"cannot be sent to workers .TypeError: cannot"):
            score(models["reward"], None, backend=cluster_backends.Unsendable(), client=client)

    def test_what_cannot_be_read(self, client: Any, models: dict[str, list[Model]]) -> None:
        """This very file is none that a worker can import."""
        with pytest.raises(ValueBiasError, match=r"cannot read what it is to do .ModuleNotFound"):
            score(models["reward"], None, backend=OnlyHere, client=client)

    def test_a_server(self, client: Any, models: dict[str, list[Model]]) -> None:
        with pytest.raises(ValueBiasError, match="workers would bring nothing"):
            score(models["reward"], None, backend=cluster_backends.Elsewhere, client=client)


class TestCommand:
    def test_scores_by_the_workers_of_a_scheduler(
        self, client: Any, models: dict[str, list[Model]], tmp_path: Path
    ) -> None:
        """Threads differ between the two, so that scores are near and not the same."""
        request._PAIRS = 200
        asked = [models["reward"][0].location, "--store", str(tmp_path / "s.zarr")]
        done = CliRunner().invoke(app, ["score", *asked, "--scheduler", client.scheduler.address])
        assert done.exit_code == 0, done.output
        alone = valuebias.score(models["reward"][0].location, progress=False)
        xr.testing.assert_allclose(valuebias.read(tmp_path / "s.zarr"), alone, rtol=1e-4)

    def test_no_scheduler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster_client, "_CONNECT", 0.5)
        for address in ("tcp://127.0.0.1:1", "nonsense://x", "http://127.0.0.1:1"):
            asked = ["score", "x", "--store", str(tmp_path / "s.zarr"), "--scheduler", address]
            done = CliRunner().invoke(app, asked)
            assert done.exit_code == 1
            said = " ".join(done.stderr.split())
            assert f"No scheduler of Dask answers at '{address}'" in said


class OnlyHere(NaiveBackend):
    """Cannot be imported elsewhere."""


def _failing(error: Exception, after: int) -> cluster_backends.Failing:
    return cluster_backends.Failing(error, after)


def _at_rest(client: Any) -> bool:
    """Nothing of the run is left on the workers."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        plugins = client.run(cluster_backends.plugins)
        if not any(client.processing().values()) and not any(plugins.values()):
            return True
        time.sleep(0.1)
    return False


def _weights(folder: Path) -> str:
    """Give the hash of a model's weights."""
    from valuebias.models.resolve import resolve

    return resolve(Model(str(folder)), kind="reward").source.weights_sha256


def _tokens(model: Model, text: str) -> np.ndarray:
    from valuebias.models.resolve import resolve
    from valuebias.models.tokenizer import Tokenizer

    return np.asarray(Tokenizer(resolve(model, kind="reward")).rewards(text, ["love"])[0])
