"""A small Hugging Face hub, its CDN and a package index, on this machine, that misbehave on request."""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "cafe"
CHUNK = 1 << 14


@dataclass(frozen=True)
class Seen:
    """A request that arrived. `server` is hub or cdn."""

    server: str
    path: str
    headers: dict[str, str]


@dataclass
class Faults:
    """What goes wrong. All of it is about file bodies, unless it says otherwise."""

    ignore_range: bool = False
    wrong_range: bool = False
    cut_after: int | None = None  # the connection breaks after so many bytes, each time
    cuts: int = 1_000  # how often that happens
    corrupt: bool = False
    longer: bool = False
    no_length: bool = False
    statuses: list[int] = field(default_factory=list)  # answered first, one each, also to the listing
    pause_at: int | None = None  # `reached` is set there, and the body goes on after `go_on`


class Hub:
    """Repositories `owner/name` of files, and packages of the index. Every count is by path."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.small: set[str] = set()  # names of files that are not in LFS
        self.wheels: dict[str, bytes] = {}  # by file name
        self.token: str | None = None  # asked for by the hub, if set
        self.gated: set[str] = set()
        self.index_password: tuple[str, str] | None = None
        self.etags = True
        self.hashes = True  # whether the index promises hashes
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.served: Counter[str] = Counter()  # body bytes sent, by path on the server that sent them
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._servers = [_server(self, "hub"), _server(self, "cdn")]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def close(self) -> None:
        """Stop both servers, and let every handler end."""
        self.go_on.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def reset(self) -> None:
        """Forget what was seen and served. A response still under way counts for the time before."""
        with self._lock:
            self.seen, self.served = [], Counter()

    def note(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def next_status(self) -> int | None:
        with self._lock:
            return self.faults.statuses.pop(0) if self.faults.statuses else None

    def next_cut(self) -> int | None:
        with self._lock:
            if self.faults.cut_after is None or self.faults.cuts <= 0:
                return None
            self.faults.cuts -= 1
            return self.faults.cut_after

    def bodies(self, ending: str) -> int:
        """Bytes sent of files whose path ends so."""
        return sum(size for path, size in self.served.items() if path.endswith(ending))

    def requests(self, ending: str, server: str) -> list[Seen]:
        """Requests to a server for paths that end so."""
        return [seen for seen in self.seen if seen.server == server and seen.path.endswith(ending)]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that is closed at the end."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()


def _server(hub: Hub, name: str) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"hub": hub, "name": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    name: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Quiet."""

    def handle(self) -> None:
        """A client that is killed resets its connection, which is what these tests are about."""
        with suppress(ConnectionError):
            super().handle()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.note(Seen(self.name, path, {key.lower(): value for key, value in self.headers.items()}))
        routes: list[tuple[str, Callable[..., None]]] = [
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._listing),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
            (r"/lfs/([^/]+/[^/]+)/(.+)", self._lfs),
            (r"/simple/([^/]+)/", self._index),
            (r"/wheels/(.+)", self._wheel),
        ]
        status = self.hub.next_status()
        found = next((call, match) for route, call in routes if (match := re.fullmatch(route, path)))
        if status is not None:
            self._plain(status, b"")
        else:
            found[0](*found[1].groups())

    def _listing(self, repo: str, revision: str) -> None:
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._plain(401, b"", {"X-Error-Code": "RepoNotFound"})
        if repo in self.hub.gated:
            return self._plain(403, b"", {"X-Error-Code": "GatedRepo"})
        if repo not in self.hub.repos:
            return self._plain(404, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in {"main", COMMIT}:
            return self._plain(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = [self._sibling(name, body) for name, body in self.hub.repos[repo].items()]
        return self._plain(200, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode())

    def _sibling(self, name: str, body: bytes) -> dict[str, Any]:
        about: dict[str, Any] = {"rfilename": name, "size": len(body)}
        about["blobId"] = hashlib.sha1(f"blob {len(body)}\0".encode() + body).hexdigest()
        if name.rpartition("/")[2] not in self.hub.small:
            about["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
        return about

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        body = self.hub.repos.get(repo, {}).get(name)
        if body is None or revision != COMMIT:
            self._plain(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif name.rpartition("/")[2] in self.hub.small:
            self._file(body)
        else:
            self._plain(302, b"", {"Location": f"{self.hub.cdn}/lfs/{repo}/{name}"})

    def _lfs(self, repo: str, name: str) -> None:
        self._file(self.hub.repos[repo][name])

    def _index(self, package: str) -> None:
        if not self._may_use_index():
            return self._plain(401, b"", {"WWW-Authenticate": "Basic"})
        links = []
        for name, body in self.hub.wheels.items():
            if name.split("-")[0].replace("_", "-") == package:
                promise = f"#sha256={hashlib.sha256(body).hexdigest()}" if self.hub.hashes else ""
                links.append(f'<a href="../../wheels/{name}{promise}">{name}</a>')
        page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        return self._plain(200 if links else 404, page, {"Content-Type": "text/html"})

    def _wheel(self, name: str) -> None:
        if self._may_use_index():
            self._file(self.hub.wheels[name])
        else:
            self._plain(401, b"", {"WWW-Authenticate": "Basic"})

    def _may_use_index(self) -> bool:
        if self.hub.index_password is None:
            return True
        wanted = base64.b64encode(":".join(self.hub.index_password).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _plain(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, body: bytes) -> None:
        faults = self.hub.faults
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        asked = self._range(etag, len(body))
        start, end = asked or (0, len(body))
        if asked and start >= len(body):
            return self._plain(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        self.send_response(206 if asked else 200)
        if asked:
            shift = 7 if faults.wrong_range else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{end - 1}/{len(body)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        if self.hub.etags:
            self.send_header("ETag", etag)
        sent = body[start:end] + (b"more" if faults.longer else b"")
        if faults.corrupt and sent:
            sent = bytes([sent[0] ^ 1]) + sent[1:]
        if faults.no_length:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(sent)
        return None

    def _range(self, etag: str, size: int) -> tuple[int, int] | None:
        """First byte and the one behind the last that are asked for; None for all of it."""
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if found is None or self.hub.faults.ignore_range or self.headers.get("If-Range", etag) != etag:
            return None
        if not found[1]:
            return max(0, size - int(found[2])), size
        return min(int(found[1]), size), min(int(found[2]) + 1, size) if found[2] else size

    def _send(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        cut, faults, served = self.hub.next_cut(), self.hub.faults, self.hub.served
        for begin in range(0, len(body), CHUNK):
            if faults.pause_at is not None and begin >= faults.pause_at and not self.hub.go_on.is_set():
                self.hub.reached.set()
                self.hub.go_on.wait()
            chunk = body[begin : begin + CHUNK]
            if cut is not None and begin + len(chunk) > cut:
                chunk = chunk[: max(0, cut - begin)]
                self.close_connection = True
            self.wfile.write(chunk)
            served[path] += len(chunk)
            if self.close_connection and cut is not None:
                break
