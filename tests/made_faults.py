"""Faults before an S3: a proxy that answers some requests itself, by a rule of the test."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
"""Headers of one connection, which are not handed on."""

SAID = {
    403: ("AccessDenied", "Access Denied"),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}
"""Status → code and message, as S3 words them."""


@dataclass(frozen=True)
class Asked:
    """One request: `number` counts from 1. A listing is a GET whose query begins `list-type`."""

    number: int
    method: str
    path: str
    query: str
    put_if_absent: bool

    @property
    def kind(self) -> str:
        """GET, PUT, HEAD, DELETE, POST or LIST."""
        return "LIST" if self.query.startswith("list-type") else self.method


@dataclass(frozen=True)
class Fault:
    """What the client is told; `after`: the store did what it was asked before that.

    Without a `status` it is told what the store says, `late` seconds after it asked.
    """

    status: int | None
    after: bool = False
    late: float = 0.0


Rule = Callable[[Asked], Fault | None]


@dataclass
class FaultyStore:
    """The proxy. `rule` decides about each request; `failed` are those that it let fail."""

    endpoint: str
    rule: Rule | None = None
    failed: list[Asked] = field(default_factory=list)
    asked: int = 0

    @contextmanager
    def failing(self, rule: Rule) -> Iterator[list[Asked]]:
        """Within the block `rule` holds; yields the requests that it let fail."""
        self.failed, self.asked, self.rule = [], 0, rule
        try:
            yield self.failed
        finally:
            self.rule = None


@contextmanager
def faulty_store(behind: str) -> Iterator[FaultyStore]:
    """Run a proxy before the S3 at the endpoint `behind` for the time of the block."""
    target = urlsplit(behind).netloc
    lock = threading.Lock()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, _, query = self.path.partition("?")
            with lock:
                store.asked += 1
                absent = self.headers.get("If-None-Match") == "*"
                asked = Asked(store.asked, self.command, path, query, absent)
                fault = store.rule(asked) if store.rule else None
                if fault is not None:
                    store.failed.append(asked)
            if fault is not None:
                time.sleep(fault.late)
            if fault is None or fault.after or fault.status is None:
                status, headers, answer = self.forward(body)
            if fault is not None and fault.status is not None:
                code, message = SAID[fault.status]
                text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
                status, headers, answer = fault.status, {}, text.encode()
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(answer))
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with suppress(BrokenPipeError):  # a client that did not wait for the answer
                    self.wfile.write(answer)

        def forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(target, timeout=60)
            try:
                passed = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                connection.request(self.command, self.path, body, passed)
                answer = connection.getresponse()
                kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP}
                if self.command == "HEAD" and (length := answer.getheader("Content-Length")):
                    kept["Content-Length"] = length
                return answer.status, kept, answer.read()
            finally:
                connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_request

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    store = FaultyStore(f"http://127.0.0.1:{server.server_address[1]}")
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
