"""A real HTTP endpoint that misbehaves as told and keeps what it accepts: a fault is an answer, a short function."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Answer = Callable[["Exchange"], None]

PATIENCE = 30.0
"""Seconds after which a test gives up waiting; nothing takes that long unless it hangs."""


class Request(NamedTuple):
    """One request as it came, its body decompressed."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def span_ids(self) -> list[str]:
        """Return the ids of the spans, or log records, in the body, in their order."""
        return span_ids(self.body)


def span_ids(body: bytes) -> list[str]:
    """Return the ids of the spans, or log records, in a request body, in their order."""
    request = json.loads(body)
    scopes = [
        scope
        for resource in request.get("resourceSpans", request.get("resourceLogs"))
        for scope in resource.get("scopeSpans") or resource["scopeLogs"]
    ]
    return [event["spanId"] for scope in scopes for event in scope.get("spans") or scope["logRecords"]]


class Exchange(BaseHTTPRequestHandler):
    """One connection; `request` is what it asks, `endpoint` whom."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer, in two writes, would take 40 ms
    asked: Request
    raw_requestline: bytes

    @property
    def endpoint(self) -> Endpoint:
        """Return the endpoint that has the connection."""
        return cast("Endpoint", self.server)

    def do_POST(self) -> None:
        """Keep the request, and answer as the endpoint was told; forget one whose client has gone before its end."""
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:
            self.close_connection = True
            return
        try:
            body = gzip.decompress(sent) if self.headers["Content-Encoding"] == "gzip" else sent
            if self.headers["Content-Type"] == "application/json":  # else it is another client's
                json.loads(body)
        except (ValueError, EOFError, OSError, zlib.error):
            self.endpoint.malformed.append(sent)
            raise
        self.asked = Request(self.path, dict(self.headers), body, self.client_address[1])
        self.endpoint.next_answer(self.asked)(self)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Keep what is not a request, or not one of a kind that we send."""
        self.endpoint.malformed.append(self.raw_requestline)
        super().send_error(code, message, explain)

    def accept(self) -> None:
        """Store the events of the request."""
        self.endpoint.accept(self.asked)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        """Write a complete answer."""
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""


def reply(status: int = 200, body: bytes = b"{}", **headers: str) -> Answer:
    """Answer with a status, a body and headers; what a 2xx answers is accepted."""

    def answer(exchange: Exchange) -> None:
        if 200 <= status < 300:
            exchange.accept()
        exchange.reply(status, body, **{"content_type": "application/json", **headers})

    return answer


def black_hole(exchange: Exchange) -> None:
    """Never answer."""
    exchange.endpoint.closing.wait(PATIENCE)


def drip(start: bytes) -> Answer:
    """Answer with `start`, then one more byte every now and then, for ever."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(start)
        while not exchange.endpoint.closing.wait(0.01):
            exchange.wfile.write(b"x")

    return answer


def hang_up(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    exchange.close_connection = True


def reset(exchange: Exchange) -> None:
    """Reset the connection (RST)."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.close_connection = True


def accept_and(answer: Answer) -> Answer:
    """Store the events, then do something else than say so."""

    def both(exchange: Exchange) -> None:
        exchange.accept()
        answer(exchange)

    return both


class Endpoint(ThreadingHTTPServer):
    """Answers requests by `answers` in turn, the last one for ever. A context manager, on a port of the loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Exchange)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}"
        self.answers = list(answers) or [reply()]
        self.requests: list[Request] = []
        self.accepted: list[str] = []
        self.malformed: list[bytes] = []
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def next_answer(self, request: Request) -> Answer:
        """Keep a request and return the answer that it gets."""
        with self._changed:
            self.requests.append(request)
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            self._changed.notify_all()
        return answer

    def accept(self, request: Request) -> None:
        """Store the ids of a request's events."""
        with self._changed:
            self.accepted += request.span_ids()
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Wait until `condition` holds, asked whenever something arrives."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "nothing arrived"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has gone."""

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop, and let go of whoever waits for an answer."""
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
