"""A small Hugging Face hub on this machine: its paths, its headers, and its failures on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Repositories are folders `root/owner/name`; a failure is set by a repository's name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.status: dict[str, int] = {}  # answers of this kind instead of files
        self.cut: dict[str, int] = {}  # downloads of a `.safetensors` broken off in the middle
        self.flipped: set[str] = set()  # repositories whose files arrive with one wrong bit
        self.requests: list[tuple[str, str, str]] = []  # (method, path, range)
        self.tokens: set[str] = set()
        self.url = ""

    def downloads(self) -> list[str]:
        """Names of the files that were asked for, once per request."""
        paths = [path for method, path, _ in self.requests if method == "GET"]
        return [path.rsplit("/", 1)[1] for path in paths if "/resolve/" in path]


@contextmanager
def serving(root: Path) -> Iterator[LocalHub]:
    hub = LocalHub(root)

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        asked = self.headers.get("Range", "")
        self.hub.requests.append((self.command, self.path, asked))
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        _, _, name = rest.partition("/")
        status = self.hub.status.get(repository)
        if status is None and not (self.hub.root / repository).is_dir():
            status = 404
        if status is not None:
            self._error(status, "RepoNotFound" if status in (401, 404) else "")
            return
        path = self.hub.root / repository / name
        if not path.is_file():
            self._error(404, "EntryNotFound")
            return
        self._send(repository, path, asked, body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, repository: str, path: Path, asked: str, body: bool) -> None:
        content = path.read_bytes()
        large = path.suffix == ".safetensors"
        digest = hashlib.sha256(content).hexdigest() if large else _git_hash(content)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        part = bytearray(content[start:])
        if repository in self.hub.flipped and large:
            part[len(part) // 2] ^= 1
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{digest}"')
        if large:
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(content)))
        if asked:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if not body:
            return
        if large and self.hub.cut.get(repository, 0):
            self.hub.cut[repository] -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
