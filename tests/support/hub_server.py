"""A hub on this machine: the few addresses of the Hugging Face hub that a download needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

__all__ = ["COMMIT", "asked_of", "serve"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The one commit that every repository has, but for its tags."""


@contextmanager
def serve(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folders owner/name below `root`; give the address and a log of what was asked.

    They are models, and those below `root`/datasets datasets. A folder owner/name@tag is what the
    repository holds at that tag, which is a commit of its own. Where a folder has a file "refused",
    its configuration and its CSV files are, for the reason that the file states.
    """
    log: list[str] = []

    class Handler(_Handler):
        folder = root
        asked = log

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def asked_of(url: str, home: Path) -> Iterator[None]:
    """Ask the hub at `url` in this process, and keep what it gives in `home`.

    As HF_ENDPOINT and HF_HOME say it to a process that has not imported huggingface_hub yet.
    """
    from huggingface_hub import constants, hf_api

    with pytest.MonkeyPatch.context() as patch:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(hf_api.api, "endpoint", url)
        yield


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on stderr."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        found = re.fullmatch(
            r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/]+))?", path
        )
        if found:
            repository = f"datasets/{found[2]}" if found[1] == "datasets" else found[2]
            self._listing(repository, found[3] or "main", is_tree="/tree/" in path, body=body)
            return
        found = re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found:
            folder, commit = self._at(found[1], found[2])
            self._file(folder, commit, found[3], body=body)
            return
        self._send(404, b"", {}, body=body)

    def _at(self, repository: str, revision: str) -> tuple[Path, str]:
        """Find what a repository holds at a revision, and the commit that this is."""
        folder = self.folder / repository
        for tagged in folder.parent.glob(f"{folder.name}@*"):
            tag = tagged.name.partition("@")[2]
            commit = hashlib.sha1(tag.encode(), usedforsecurity=False).hexdigest()
            if revision in (tag, commit):
                return tagged, commit
        return folder, COMMIT

    def _listing(self, repository: str, revision: str, *, is_tree: bool, body: bool) -> None:
        folder, commit = self._at(repository, revision)
        if not folder.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body=body)
            return
        if commit == COMMIT and revision not in ("main", COMMIT):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
            return
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        content: object
        if is_tree:
            content = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": COMMIT}
                for name, file in zip(names, files, strict=True)
            ]
        else:
            siblings = [{"rfilename": name} for name in names]
            content = {"_id": "1", "id": repository, "sha": commit, "siblings": siblings}
        kind = {"Content-Type": "application/json"}
        self._send(200, json.dumps(content).encode(), kind, body=body)

    def _file(self, folder: Path, commit: str, name: str, *, body: bool) -> None:
        path = folder / name
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
            return
        content = path.read_bytes()
        refused = folder / "refused"
        if refused.is_file() and (name == "config.json" or name.endswith(".csv")):
            code = refused.read_text()
            self._send(403, b"", {"X-Error-Code": code} if code else {}, body=body)
            return
        # Large files are known by their SHA-256 there, small ones by git's SHA-1.
        is_large = path.suffix in (".safetensors", ".gguf")
        digest = hashlib.sha256(content).hexdigest()
        etag = digest if is_large else digest[:40]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        self._send(200, content, headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
