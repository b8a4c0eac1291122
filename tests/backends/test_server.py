"""Models behind a port: the numbers of the model that is served, and no answer taken on trust."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr
from loopback_server import Loopback, serving

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.backends import Server

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

WORDS = ("love", "power", "free dom", "x", "trust and care", "Ω", "love ")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
MANY = [f"word {i}" for i in range(150)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("models")
    return {
        kind: tiny_models.tiny("llama", kind, made / f"llama-{kind}")
        for kind in ("reward", "logprob")
    }


@pytest.fixture
def rewards(folders: dict[str, Path]) -> Iterator[Loopback]:
    with serving(Loopback(folders["reward"], "reward")) as loopback:
        yield loopback


@pytest.fixture
def logprobs(folders: dict[str, Path]) -> Iterator[Loopback]:
    with serving(Loopback(folders["logprob"], "logprob")) as loopback:
        yield loopback


def score(loopback: Loopback, backend: Any = None, **options: Any) -> Any:
    options = {"prompts": PROMPTS, "lexicon": WORDS, "kind": loopback.kind} | options
    engine = backend or Server(loopback.url, retries=0)
    return valuebias.score(loopback.folder, backend=engine, progress=False, **options)


def of_words(made: xr.Dataset) -> np.ndarray:
    return made["score"].to_numpy()


def test_rewards_are_those_of_torch(rewards: Loopback) -> None:
    expected = score(rewards, backend="torch")
    np.testing.assert_allclose(of_words(score(rewards)), of_words(expected), atol=1e-5)
    # Ids alone go out, and the activation is always spoken of.
    asked = [body for path, _, body in rewards.asked if path == "/classify"]
    assert all(type(token) is int for body in asked for ids in body["input"] for token in ids)
    assert {body["use_activation"] for body in asked} == {True, False}


def test_log_probs_of_words_are_those_of_torch(logprobs: Loopback) -> None:
    made, expected = score(logprobs), score(logprobs, backend="torch")
    np.testing.assert_allclose(of_words(made), of_words(expected), atol=1e-5)
    np.testing.assert_allclose(made["token_logprob"], expected["token_logprob"], atol=1e-5)


@pytest.mark.filterwarnings("ignore:Of the probability of replies:valuebias.ValueBiasWarning")
def test_verdicts_of_a_judge_are_those_of_torch(logprobs: Loopback) -> None:
    asked: dict[str, Any] = {"kind": "judged", "judge": "rating"}
    made, expected = score(logprobs, **asked), score(logprobs, backend="torch", **asked)
    np.testing.assert_allclose(made["token_logprob"], expected["token_logprob"], atol=1e-5)
    np.testing.assert_allclose(of_words(made), of_words(expected), atol=1e-4)


def test_whole_vocabularies_are_those_of_torch(logprobs: Loopback) -> None:
    made, expected = (
        next(iter(score(logprobs, backend=one, lexicon="vocabulary").children.values()))
        for one in (None, "torch")
    )
    np.testing.assert_allclose(of_words(made), of_words(expected), atol=1e-5)


def test_no_weights_are_needed_here(rewards: Loopback, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in rewards.folder.iterdir():
        if path.suffix != ".safetensors":
            (bare / path.name).write_bytes(path.read_bytes())
    made = valuebias.score(
        bare, prompts=PROMPTS, lexicon=WORDS, backend=Server(rewards.url), progress=False
    )
    np.testing.assert_allclose(of_words(made), of_words(score(rewards)), atol=1e-5)


def test_a_store_goes_on_after_the_server_died(
    rewards: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valuebias.scoring.request._PAIRS", 150)
    expected = of_words(score(rewards, lexicon=MANY))
    died = []

    def die(path: str, body: dict[str, Any], answer: Any) -> Any:
        if path == "/classify" and len(rewards.asked) > 34:
            died.append(1)
            raise ConnectionError
        return answer

    rewards.asked.clear()
    rewards.twist = die
    with pytest.raises(ValueBiasError, match=r"has no answer.*run the same call again"):
        score(rewards, lexicon=MANY, store=tmp_path / "s.zarr")
    assert died
    rewards.twist = lambda path, body, answer: answer
    rewards.asked.clear()
    np.testing.assert_array_equal(
        of_words(score(rewards, lexicon=MANY, store=tmp_path / "s.zarr")), expected
    )
    asked = sum(len(body["input"]) for path, _, body in rewards.asked if path == "/classify")
    assert asked < 200  # of the 300: the first block was kept


def test_what_is_served_belongs_to_the_store(rewards: Loopback, tmp_path: Path) -> None:
    score(rewards, store=tmp_path / "s.zarr")
    rewards.name = "another"
    with pytest.raises(ValueBiasError, match="model served"):
        score(rewards, store=tmp_path / "s.zarr")


def test_requests_in_flight_are_bounded(rewards: Loopback) -> None:
    waited = threading.Semaphore(0)

    def slow(path: str, body: dict[str, Any], answer: Any) -> Any:
        waited.acquire(timeout=0.02)
        return answer

    rewards.twist = slow
    score(rewards, Server(rewards.url, in_flight=3, batch=4), lexicon=MANY)
    assert 2 <= rewards.most_busy <= 3


def test_a_busy_server_is_asked_again(rewards: Loopback) -> None:
    expected = of_words(score(rewards))
    seen: dict[int, int] = {}

    def busy(path: str, body: dict[str, Any], answer: Any) -> Any:
        count = seen[hash(str(body))] = seen.get(hash(str(body)), 0) + 1
        if path == "/classify" and count == 1:
            return 503, {"error": {"message": "busy"}}
        if path == "/classify" and count == 2:
            raise ConnectionResetError
        return answer

    rewards.twist = busy
    np.testing.assert_array_equal(of_words(score(rewards, Server(rewards.url))), expected)
    assert max(seen.values()) >= 3


Twists = dict[str, tuple[str, Any, str]]


def changed(**new: Any) -> Any:
    """Put other values into each answer of a route."""
    return lambda answer: answer | new


def each(rows: str, **new: Any) -> Any:
    return lambda answer: answer | {rows: [row | new for row in answer[rows]]}


WRONG: Twists = {
    "another model's": ("reward", changed(model="other"), "that of the model 'other'"),
    "too few": ("reward", lambda a: a | {"data": a["data"][:-1]}, "answers to"),
    "none": ("reward", lambda a: {"object": "list"}, "no list 'data'"),
    "a place that is none": ("reward", each("data", index=[0]), "which answer"),
    "larger than any float": ("reward", each("data", probs=[10**400]), "a reward is 1000"),
    "no object": ("reward", lambda a: ["x"], "no list 'data'"),
    "all the same place": ("reward", each("data", index=0), "which answer"),
    "not a number": ("reward", each("data", probs=[float("nan")]), "a reward is nan"),
    "infinite": ("reward", each("data", probs=[float("inf")]), "a reward is inf"),
    "text": ("reward", each("data", probs=["2"]), "no list of logits"),
    "two labels": ("reward", each("data", probs=[1.0, 2.0]), "2 labels"),
    "cut off": ("reward", changed(usage={"prompt_tokens": 1}), "counts 1 tokens"),
    "squeezed": ("reward", each("data", probs=[0.7]), "with and without use_activation"),
    "no log-probs": ("logprob", each("choices", prompt_logprobs=None), "no log-probs for"),
    "too few log-probs": ("logprob", each("choices", prompt_logprobs=[None]), "1 log-probs for"),
    "of other tokens": (
        "logprob",
        lambda a: a
        | {"choices": [r | {"prompt_logprobs": [None, *({"0": {"logprob": -1.0}} for _ in
                            r["prompt_logprobs"][1:])]} for r in a["choices"]]},
        "not that of the token",
    ),
    "positive": (
        "logprob",
        lambda a: a
        | {"choices": [r | {"prompt_logprobs": [None, *({k: {"logprob": 1.0} for k in e} for e in
                            r["prompt_logprobs"][1:])]} for r in a["choices"]]},
        "a log-prob is 1.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
def test_wrong_answers_stop_the_run(folders: dict[str, Path], how: str, tmp_path: Path) -> None:
    kind, make, message = WRONG[how]
    with serving(Loopback(folders[kind], kind)) as loopback:

        def wrong(path: str, body: dict[str, Any], answer: Any) -> Any:
            right = path not in ("/classify", "/v1/completions") or isinstance(answer, tuple)
            return answer if right else make(answer)

        loopback.twist = wrong
        with pytest.raises(ValueBiasError, match=message) as caught:
            score(loopback, store=tmp_path / "s.zarr")
        assert loopback.url in str(caught.value)
        loopback.twist = lambda path, body, answer: answer
        score(loopback, store=tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {"detail": "Not Found"}), r"answered 404: \{'detail': 'Not Found'\}"),
        ((400, {"error": {"message": "too \x1b[31mlong"}}), r"answered 400: too \\x1b\[31mlong"),
        ((500, "<html>" + "x" * 999), r"answered 500: <html>x+…"),
        ((200, "hello"), "no list"),
    ],
    ids=["404", "400", "500", "text"],
)
def test_other_statuses_are_said(rewards: Loopback, answer: Any, message: str) -> None:
    rewards.twist = lambda path, body, right: answer if path == "/classify" else right
    with pytest.raises(ValueBiasError, match=message):
        score(rewards)


def test_broken_json_is_said(rewards: Loopback) -> None:
    rewards.twist = lambda path, body, right: b'{"data": [' if path == "/classify" else right
    with pytest.raises(ValueBiasError, match=r"is not JSON: \{\"data\": \["):
        score(rewards)


@pytest.mark.parametrize("status", [200, 400])
def test_json_without_end_is_said(rewards: Loopback, status: int) -> None:
    deep = b"[" * 100_000
    rewards.twist = lambda path, body, right: (status, deep) if path == "/classify" else right
    with pytest.raises(ValueBiasError, match=r"\[\[\[\[…"):
        score(rewards)


@pytest.mark.parametrize(
    "options",
    [
        {"in_flight": 0}, {"in_flight": "8"}, {"batch": 0}, {"batch": 1.5}, {"retries": -1},
        {"timeout": 0}, {"timeout": float("inf")}, {"again": 2}, {"drift": -1},
        {"drift": float("nan")}, {"address": 5}, {"model": 5}, {"key": 5},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_nothing_could_be_sent_with(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueBiasError, match=f"^{name} .*expected"):
        Server(**options)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:s3c/ret@127.0.0.1:9", "http://me:s3c#ret@127.0.0.1:9", "me:s3cret@host:9",
        "http://me:s3c?ret@127.0.0.1:9", "http://[", "http://h:99999999", "http://h:0",
    ],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    """A password that is not escaped ends up outside of its place, and must not be shown there."""
    with pytest.raises(ValueBiasError, match="expected one such as") as caught:
        Server(address).available()
    for text in (str(caught.value), repr(Server(address))):
        assert "s3c" not in text
        assert "ret" not in text


def test_passwords_and_keys_in_other_letters(rewards: Loopback) -> None:
    client = Server(rewards.url.replace("http://", "http://me:%E2%82%AC%2F@"))._client()
    client.get("/version")
    client.close()
    sent = {name.lower(): value for name, value in rewards.asked[-1][1].items()}
    assert base64.b64decode(sent["authorization"].removeprefix("Basic ")).decode() == "me:€/"
    score(rewards, Server(rewards.url, key="k3y\n"))
    sent = {name.lower(): value for name, value in rewards.asked[-1][1].items()}
    assert sent["authorization"] == "Bearer k3y"
    for key in ("s3c\nret", "s3cr€t"):
        with pytest.raises(ValueBiasError, match="cannot be sent") as caught:
            score(rewards, Server(rewards.url, key=key))
        assert "s3c" not in str(caught.value)


def test_an_answer_that_does_not_come_is_not_waited_for(rewards: Loopback) -> None:
    def late(path: str, body: dict[str, Any], answer: Any) -> Any:
        if path == "/classify":
            time.sleep(1.0)
        return answer

    rewards.twist = late
    with pytest.raises(ValueBiasError, match="it took too long"):
        score(rewards, Server(rewards.url, retries=0, timeout=0.2))


def test_scores_that_drift_stop_the_run(rewards: Loopback, tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def drift(path: str, body: dict[str, Any], answer: Any) -> Any:
        if path != "/classify" or isinstance(answer, tuple) or body["use_activation"]:
            return answer
        rows = []
        for ids, row in zip(body["input"], answer["data"], strict=True):
            seen[str(ids)] = count = seen.get(str(ids), 0) + 1
            rows.append(row | {"probs": [row["probs"][0] + 0.5 * (count > 1)]})
        return answer | {"data": rows}

    rewards.twist = drift
    with pytest.raises(ValueBiasError, match=r"asked again.*drift=0\.01 apart"):
        score(rewards, store=tmp_path / "s.zarr")
    seen.clear()
    score(rewards, Server(rewards.url, drift=1.0))


def test_another_model_is_noticed(rewards: Loopback, tmp_path: Path) -> None:
    # Its tokenizer has other ids; and one whose configuration has another vocabulary.
    other = tiny_models.tiny("qwen2", "reward", tmp_path / "other")
    tiny_models.make_tokenizer(tokens=300).save_pretrained(other)
    config = (other / "config.json").read_text()
    with pytest.raises(ValueBiasError, match="the tokenizer of 'other' for"):
        valuebias.score(
            other, prompts=PROMPTS, lexicon=WORDS, backend=Server(rewards.url), progress=False
        )
    smaller = tmp_path / "smaller"
    smaller.mkdir()
    for path in rewards.folder.iterdir():
        (smaller / path.name).write_bytes(path.read_bytes())
    size = f'"vocab_size": {rewards.vocabulary}'
    config = (smaller / "config.json").read_text()
    assert size in config
    for wrong, message in ((318, "knows the token 318"), (330, "refuses the token 329")):
        (smaller / "config.json").write_text(config.replace(size, f'"vocab_size": {wrong}'))
        with pytest.raises(ValueBiasError, match=message):
            valuebias.score(
                smaller, prompts=PROMPTS, lexicon=WORDS, backend=Server(rewards.url), progress=False
            )


def test_models_are_found_by_name(rewards: Loopback) -> None:
    names = ["one", "two"]
    rewards.twist = lambda path, body, answer: (
        {"data": [{"id": name} for name in names]} if path == "/v1/models" else answer
    )
    with pytest.raises(ValueBiasError, match="runs 'one', 'two', none of which"):
        score(rewards)
    with pytest.raises(ValueBiasError, match=r"runs no model 'tow'.*Did you mean 'two'"):
        score(rewards, Server(rewards.url, model="tow"))
    names[:] = ["one", f"org/{rewards.folder.name}"]
    rewards.name = names[1]
    score(rewards)


def test_labels_are_read_from_one_answer(tmp_path: Path) -> None:
    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm", labels=3)
    asked: Any = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False}
    every, one = Model(folder, label="all", base="x"), Model(folder, label=1, base="x")
    with serving(Loopback(folder, "reward")) as loopback:
        engine = Server(loopback.url, again=0)
        single = valuebias.score(one, backend=engine, **asked)
        n_asked = len([path for path, _, _ in loopback.asked if path == "/classify"])
        found = valuebias.score(every, backend=engine, store=tmp_path / "s.zarr", **asked)
        assert len([path for path, _, _ in loopback.asked if path == "/classify"]) == 2 * n_asked
    wanted = valuebias.score(every, **asked)
    np.testing.assert_allclose(found["score"], wanted["score"], atol=2e-5)
    np.testing.assert_array_equal(found["score"][1], single["score"][0])


def test_models_that_are_not_served_do_not_get_the_scores_of_one_that_is(
    logprobs: Loopback, tmp_path: Path
) -> None:
    """A server of one model is taken at its word, whatever that is called; but not for two."""
    other = tiny_models.tiny("llama", "logprob", tmp_path / "other", seed=1)
    models = [Model(logprobs.folder, base="x"), Model(other, base="x")]
    engine = Server(logprobs.url)
    asked: Any = {"prompts": PROMPTS, "lexicon": WORDS, "backend": engine}
    with pytest.raises(ValueBiasError, match=r"both would get the scores of one.*start a server"):
        valuebias.score(models, kind="logprob", progress=False, **asked)
    said = valuebias.explain(models, kind="logprob", **asked).to_frame()
    assert said["scores"].tolist() == ["yes", "no"]
    one_by_one: Any = {"kind": "logprob", "store": tmp_path / "s.zarr", "progress": False, **asked}
    valuebias.score(models[0], **one_by_one)
    with pytest.warns(ValueBiasWarning, match="scored as 'other' now and was scored") as caught:
        valuebias.score(models[1], **one_by_one)
    assert caught[0].filename == __file__
    valuebias.score(models[1], **one_by_one)
    templates = [models[0], Model(logprobs.folder, name="plain", base="x", template="plain")]
    assert score(logprobs, engine).sizes["model"] == 1
    assert valuebias.score(templates, kind="logprob", progress=False, **asked).sizes["model"] == 2
    policy = Model(other, reference=str(logprobs.folder), base="x")
    with pytest.raises(ValueBiasError, match=r"runs 'served.* for both.*backend=\"torch\""):
        valuebias.score(policy, kind="implicit", progress=False, **asked)
    (row,) = valuebias.explain(policy, kind="implicit", **asked).to_frame().to_dict("records")
    assert (row["scores"], "for both" in row["reason"]) == ("no", True)


def test_secrets_of_an_address_stay_there(
    rewards: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    with_user = rewards.url.replace("http://", "http://me:s3cret@")
    monkeypatch.setenv("VALUEBIAS_SERVER_KEY", "k3y")
    made = score(rewards, Server(with_user), store=tmp_path / "s.zarr")
    headers = rewards.asked[0][1]
    assert headers["authorization"] == "Bearer k3y" or "Basic" in headers["authorization"]
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    for text in (repr(Server(with_user, key="k3y")), str(made.attrs), str(capfd.readouterr())):
        assert "s3cret" not in text
        assert "k3y" not in text
    assert b"s3cret" not in written
    assert b"k3y" not in written
    rewards.twist = lambda path, body, answer: (401, {"error": "no"})
    with pytest.raises(ValueBiasError) as caught:
        score(rewards, Server(with_user))
    assert "s3cret" not in str(caught.value)


def test_where_no_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueBiasError, match=r"no server answers at 'http://127.0.0.1:9'"):
        valuebias.score("x", backend=Server("http://127.0.0.1:9"))
    monkeypatch.setenv("VALUEBIAS_SERVER", "http://127.0.0.1:9")
    rows = valuebias.backends.list_backends().set_index("name")
    assert not rows.loc["vllm", "available"]
    assert "api_server" in rows.loc["vllm", "reason"]
    with pytest.raises(ValueBiasError, match="expected one such as"):
        Server("ftp://x").available()


def test_heads_that_a_server_lacks(rewards: Loopback) -> None:
    model = Model(str(rewards.folder), head="score")
    with pytest.raises(ValueBiasError, match="logits of its classification head"):
        valuebias.score(
            model, prompts=PROMPTS, lexicon=WORDS, backend=Server(rewards.url), progress=False
        )


@pytest.mark.skipif("VALUEBIAS_VLLM" not in os.environ, reason="VALUEBIAS_VLLM names no servers")
def test_a_real_server() -> None:
    """`make vllm` starts servers and names them: kind=address=folder, separated by spaces."""
    for served in os.environ["VALUEBIAS_VLLM"].split():
        kind, address, folder = served.split("=")
        options: dict[str, Any] = {"prompts": PROMPTS, "kind": kind, "progress": False}
        made, expected = (
            valuebias.score(folder, backend=one, lexicon=WORDS, **options)
            for one in (Server(address), "torch")
        )
        np.testing.assert_allclose(of_words(made), of_words(expected), atol=5e-5)
        if kind == "logprob":
            made, expected = (
                next(
                    iter(
                        valuebias.score(
                            folder, backend=one, lexicon="vocabulary", **options
                        ).children.values()
                    )
                )
                for one in (Server(address), "torch")
            )
            np.testing.assert_allclose(of_words(made), of_words(expected), atol=2e-4)
