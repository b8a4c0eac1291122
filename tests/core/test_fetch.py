"""Tests of valuebias._core.fetch, against a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr

from valuebias import datasets
from valuebias._core.fetch import Source, fetch, registry, released
from valuebias._core.provenance import sha256
from valuebias.errors import ValueBiasError

BODY = b"category,word\nx,win\n"
HASH = hashlib.sha256(BODY).hexdigest()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "list.csv").write_bytes(BODY)
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VALUEBIAS_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def source(server: str, sha256: str | None = HASH) -> Source:
    return Source("corpora/list.csv", f"{server}/list.csv", sha256, len(BODY))


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_file_is_downloaded_once_and_then_kept(server: str, cache: Path, tmp_path: Path) -> None:
    path = fetch(source(server))
    assert path == cache / "corpora" / "list.csv"
    assert path.read_bytes() == BODY
    (tmp_path / "www" / "list.csv").unlink()
    assert fetch(source(server)) == path
    assert names(cache) == ["corpora/list.csv"]


@pytest.mark.parametrize(
    "place",
    ["data/list.csv", "data/corpora/the list.csv", "data/the list.csv", "corpora/list.csv",
     "corpora/the list.csv"],
)  # fmt: skip
def test_a_file_may_lie_elsewhere_in_the_data_folder_or_beside_it(
    place: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(BODY)
    monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path / "data"))
    asked = Source("corpora/list.csv", "http://127.0.0.1:9/the%20list.csv", HASH, len(BODY))
    assert fetch(asked) == path
    # Another file of that name there is none of ours, and no reason to fail.
    path.write_bytes(BODY + b"x")
    with pytest.raises(ValueBiasError, match="cannot be downloaded"):
        fetch(asked)
    # Nor is one of which nobody knows what it should be.
    path.write_bytes(BODY)
    with pytest.raises(ValueBiasError, match="cannot be downloaded"):
        fetch(Source("corpora/list.csv", asked.url, None, None))
    assert not list(cache.rglob("*.csv"))


def test_an_address_is_quoted_and_may_be_of_another_repository() -> None:
    file = released("elo/prefer.csv")
    assert " " not in file.url
    assert file.url.endswith("that%20humans%20most%20prefer.csv")
    assert "/brchristian/reward_model_optimal_pessimal_tokens/" in file.url


def test_a_file_in_the_data_folder_goes_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "corpora"
    folder.mkdir(parents=True)
    (folder / "list.csv").write_bytes(BODY)
    monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path / "data"))
    assert fetch(source("http://127.0.0.1:9")) == folder / "list.csv"
    assert not cache.exists()


def test_another_file_than_expected_is_not_kept(server: str, cache: Path) -> None:
    with pytest.raises(ValueBiasError, match=f"its SHA-256 is {HASH}, expected 0000"):
        fetch(source(server, "0" * 64))
    assert names(cache) == []


def test_a_kept_file_is_checked_every_time(server: str) -> None:
    fetch(source(server)).write_bytes(BODY[:-3])
    with pytest.raises(ValueBiasError, match="changed or truncated; delete it"):
        fetch(source(server))


def test_an_unknown_hash_is_recorded_and_checked_from_then_on(server: str, cache: Path) -> None:
    path = fetch(source(server, None))
    assert (cache / "corpora" / "list.csv.sha256").read_text() == HASH
    assert fetch(source(server, None)) == path
    path.write_bytes(BODY[:-3])
    with pytest.raises(ValueBiasError, match=f"expected {HASH}"):
        fetch(source(server, None))
    (cache / "corpora" / "list.csv.sha256").unlink()
    with pytest.raises(ValueBiasError, match="Delete the file so that it is downloaded again"):
        fetch(source(server, None))


def test_a_file_that_the_server_lacks_is_named(server: str, cache: Path) -> None:
    absent = Source("corpora/absent.csv", f"{server}/absent.csv", HASH, None)
    with pytest.raises(ValueBiasError, match=r"absent.csv cannot be downloaded \(HTTPError\)"):
        fetch(absent)
    assert names(cache) == []


def test_without_a_network_it_says_what_to_do() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ValueBiasError, match=r"Without a network, set .*VALUEBIAS_DATA"):
            fetch(source(f"http://127.0.0.1:{port}"))


def test_nothing_is_downloaded_where_that_is_forbidden(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEBIAS_OFFLINE", "1")
    with pytest.raises(ValueBiasError, match=r"VALUEBIAS_OFFLINE forbids it\. Unset it, or set"):
        fetch(source(server))
    monkeypatch.setenv("VALUEBIAS_OFFLINE", "0")
    fetch(source(server))
    monkeypatch.setenv("VALUEBIAS_OFFLINE", "1")
    assert fetch(source(server)).is_file()
    assert names(cache) == ["corpora/list.csv"]


def test_a_data_folder_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEBIAS_DATA", "/no/such/folder")
    with pytest.raises(ValueBiasError, match="'/no/such/folder', which is no folder"):
        fetch(source("http://127.0.0.1:9"))


def test_every_address_is_fixed_to_a_commit() -> None:
    for local in registry()["files"]:
        file = released(local)
        commit = "e82618bb58d9" if local.startswith("elo/") else "5d8d2e9d879b"
        assert re.search(f"/{commit}[0-9a-f]{{28}}/data/", file.url)
        assert file.url.startswith("https://raw.githubusercontent.com/brchristian/")
        assert (file.sha256 is None) == local.startswith("reward_scores_mfd2/")


@pytest.mark.released_data
def test_the_manifest_has_the_hashes_of_the_released_files(released_data: Path) -> None:
    theirs = sums(released_data)
    for local, entry in registry()["files"].items():
        if "sha256" in entry and not local.startswith("elo/"):
            assert theirs[local] == entry["sha256"]
            assert (released_data / local).stat().st_size == entry["size"]


@pytest.mark.released_data
def test_the_manifest_has_the_hashes_of_the_human_ratings(
    elo: xr.Dataset, released_data: Path
) -> None:
    folder = next(f / "elo" for f in (released_data, released_data.parent) if (f / "elo").is_dir())
    theirs = sums(folder) if (folder / "SHA256SUMS").is_file() else {}
    for local in datasets.info("christian2025-elo").files:
        entry, path = registry()["files"][local], folder / Path(local).name
        assert theirs.get(path.name, sha256(path)) == entry["sha256"]
        assert path.stat().st_size == entry["size"]


def sums(folder: Path) -> dict[str, str]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name.removeprefix("./"): digest for digest, name in (line.split() for line in lines)}
