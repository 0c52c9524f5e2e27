"""A real HTTP endpoint with injected faults, which stores accepted events. A fault is a short function."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    Answer = Callable[["Exchange"], None]

PATIENCE = 30.0
"""Maximum seconds that a test waits."""


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
    events = [event for scope in scopes for event in scope.get("spans") or scope["logRecords"]]
    # The client reports its own health at a time of its own, once a day.
    return [event["spanId"] for event in events if event.get("name", event.get("eventName")) != "telemetry.health"]


class Exchange(BaseHTTPRequestHandler):
    """One connection of an endpoint; `received` is its current request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer, in two writes, would take 40 ms
    received: Request
    raw_requestline: bytes

    @property
    def endpoint(self) -> Endpoint:
        """Return the endpoint that has the connection."""
        return cast("Endpoint", self.server)

    def do_POST(self) -> None:
        """Store the request, and respond by the endpoint's next answer. An incomplete request is ignored."""
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
        self.received = Request(self.path, dict(self.headers), body, self.client_address[1])
        self.endpoint.next_answer(self.received)(self)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Store a malformed request."""
        self.endpoint.malformed.append(self.raw_requestline)
        super().send_error(code, message, explain)

    def accept(self) -> None:
        """Store the events of the request."""
        self.endpoint.accept(self.received)

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
    """Respond with a status, a body and headers; accept the events for a 2xx."""

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
    """Store the events, then respond with another answer."""

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
        """Wait until `condition` holds, which is checked after each request."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "nothing arrived"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that has closed its connection."""

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop, and end requests that wait for a response."""
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def redirect(exchange: Exchange) -> None:
    """Answer as a network that wants a login first."""
    exchange.reply(302, b"", location="https://login.test/")


class Distant:
    """An endpoint at a distance: what is sent to `port` arrives there `seconds` later, and so do its answers."""

    def __init__(self, endpoint: Endpoint, seconds: float) -> None:
        self._target = ("127.0.0.1", endpoint.server_port)
        self._seconds = seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        """Begin to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Listen no more, and close all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                # The handshake of TCP, which the listener answers at once, takes the way there and back.
                threading.Thread(target=self._pass_on, args=(near, far, 3 * self._seconds), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(far, near, self._seconds), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, first: float) -> None:
        """Pass on all that comes, each piece after its time, and the end."""
        pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

        def deliver() -> None:
            with contextlib.suppress(OSError):
                while piece := pieces.get():
                    due, data = piece
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)

        threading.Thread(target=deliver, daemon=True).start()
        earliest = time.monotonic() + first
        data = b"-"
        while data:
            try:
                data = source.recv(65_536)
            except OSError:
                data = b""
            pieces.put((max(earliest, time.monotonic() + self._seconds), data))


def certificate(folder: Path, name: str = "IP:127.0.0.1", *, expired: bool = False) -> tuple[str, str]:
    """Make a certificate signed by itself, and return its path and its key's."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("the command openssl makes the certificate")
    paths = str(folder / "certificate.pem"), str(folder / "key.pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", paths[1]]
    names = ["-subj", "/CN=endpoint", "-addext", f"subjectAltName={name}"]
    request = [openssl, "req", "-x509", "-days", "1", *curve, *names, "-out", paths[0]]
    subprocess.run(request, check=True, capture_output=True)
    if expired:  # as soon as it is made
        again = [openssl, "x509", "-in", paths[0], "-signkey", paths[1], "-days", "0", "-out", paths[0]]
        subprocess.run(again, check=True, capture_output=True)
    return paths


def closed_port() -> int:
    """Return a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
