"""The exporter against real servers that misbehave."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry._version import __version__
from automagik_telemetry.export._body import join
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._exporter import MAX_REPLY_BYTES, OTLPHTTPExporter
from tests.faults.sending import ENVELOPE, fragment, ids
from tests.faults.server import (
    PATIENCE,
    Endpoint,
    Exchange,
    accept_and,
    black_hole,
    closed_port,
    drip,
    hang_up,
    reply,
    reset,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.server import Answer

BODY = join(ENVELOPE, [fragment(number) for number in range(3)])
GZIPPED = gzip.compress(BODY)
SUCCESS = ExportResult(Outcome.SUCCESS)


def export(url: str, timeout: float = PATIENCE) -> ExportResult:
    """Send one body with a fresh exporter."""
    exporter = OTLPHTTPExporter(url)
    try:
        return exporter.export(GZIPPED, timeout)
    finally:
        exporter.shutdown()


def test_a_request_has_our_headers_and_no_others() -> None:
    """Exactly these headers, and the body unchanged."""
    with Endpoint() as endpoint:
        assert export(f"{endpoint.url}/v1/traces") == SUCCESS
    (request,) = endpoint.requests
    length = request.headers.pop("Content-Length")
    assert int(length) < len(BODY)
    assert request.headers == {
        "Host": endpoint.url.removeprefix("http://"),
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "User-Agent": f"automagik-telemetry/{__version__}",
        "Accept": "application/json",
    }
    assert (request.path, request.body) == ("/v1/traces", BODY)


def test_a_connection_is_kept() -> None:
    """Requests follow one another on it."""
    with Endpoint() as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        assert [exporter.export(GZIPPED, PATIENCE) for _ in range(3)] == [SUCCESS] * 3
        exporter.shutdown()
    assert len({request.connection for request in endpoint.requests}) == 1


@pytest.mark.fault(1)
def test_refused() -> None:
    """No one listens, so later."""
    result = export(f"http://127.0.0.1:{closed_port()}")
    assert result.outcome is Outcome.RETRY
    assert "ConnectError" in result.detail


@pytest.mark.fault(21)
def test_an_unknown_host_name() -> None:
    """The name is one that tests make unknown: DNS has no answer, so later."""
    result = export("http://telemetry.namastex.ai/v1/traces")
    assert (result.outcome, "ConnectError" in result.detail) == (Outcome.RETRY, True)


@pytest.mark.slow
@pytest.mark.fault(2)
def test_no_address_takes_the_others_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with one dead and one working address gets its events within the deadline."""
    look_up = socket.getaddrinfo

    def two(host: str, port: int, *args: Any, **options: Any) -> Any:
        hosts = ("127.0.0.2", "127.0.0.1") if host == "two.test" else (host,)
        return [each for host in hosts for each in look_up(host, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with Endpoint() as endpoint, deaf("127.0.0.2", endpoint.server_port):
        assert export(f"http://two.test:{endpoint.server_port}", timeout=3.0) == SUCCESS


@contextlib.contextmanager
def deaf(host: str, port: int) -> Iterator[None]:
    """Provide an address where a connection waits for ever: its backlog is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((host, port))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@pytest.mark.slow
@pytest.mark.fault(2, 3)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(black_hole, id="black hole"),
        pytest.param(drip(b""), id="dripping status"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nX-Drip: "), id="dripping headers"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), id="dripping body"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n\r\n"), id="body without an end"),
    ],
)
def test_one_deadline_for_the_whole_exchange(answer: Answer) -> None:
    """An answer that never comes, or never ends, is given up in time, however many bytes arrive."""
    with Endpoint(answer) as endpoint:
        started = time.monotonic()
        result = export(endpoint.url, timeout=0.3)
        assert time.monotonic() - started < PATIENCE / 2
    assert result.outcome is Outcome.RETRY
    assert "Timeout" in result.detail


@pytest.mark.fault(3)
def test_endless_interim_responses() -> None:
    """Interim answers (1xx) without end do not reset the deadline."""

    def announce(exchange: Exchange) -> None:
        while not exchange.endpoint.closing.is_set():
            exchange.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with Endpoint(announce) as endpoint:
        assert export(endpoint.url, timeout=0.3).outcome is Outcome.RETRY


@pytest.mark.fault(2)
def test_a_server_that_does_not_read() -> None:
    """Writing has the same deadline."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        noise = os.urandom(16 * 1024 * 1024)  # more than sockets buffer
        exporter = OTLPHTTPExporter(f"http://127.0.0.1:{server.getsockname()[1]}")
        result = exporter.export(noise, 0.5)
        exporter.shutdown()
    assert (result.outcome, "Timeout" in result.detail) == (Outcome.RETRY, True)


@pytest.mark.fault(10)
def test_a_response_before_the_body_was_read_counts() -> None:
    """A server that rejects a body for its size may respond before its end, and close."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(refusal)

        thread = threading.Thread(target=refuse)
        thread.start()
        exporter = OTLPHTTPExporter(f"http://127.0.0.1:{server.getsockname()[1]}")
        result = exporter.export(os.urandom(16 * 1024 * 1024), PATIENCE)
        exporter.shutdown()
        thread.join()
    assert result.outcome is Outcome.TOO_LARGE


class Flood:
    """An answer of a gigabyte, in chunks, plain or as a gzip bomb; counts what the client took of it."""

    def __init__(self, *, bomb: bool) -> None:
        self.taken = 0
        self.done = threading.Event()
        zeros = bytes(1024 * 1024)
        encoder = zlib.compressobj(9, zlib.DEFLATED, 31)
        self.chunks = (
            encoder.compress(zeros) + encoder.flush(zlib.Z_SYNC_FLUSH) if bomb else zeros for _ in range(1024)
        )
        self.encoding = "Content-Encoding: gzip\r\n" if bomb else ""

    def __call__(self, exchange: Exchange) -> None:
        """Answer until the client hangs up."""
        exchange.accept()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{self.encoding}Connection: close\r\n\r\n"
        try:
            exchange.wfile.write(head.encode())
            for chunk in self.chunks:
                exchange.wfile.write(chunk)
                self.taken += 1
        except OSError:
            self.done.set()


@pytest.mark.fault(12)
@pytest.mark.parametrize("bomb", [False, True])
def test_a_reply_without_measure_is_not_read(*, bomb: bool) -> None:
    """At most 4 MiB of it, decompressed; the batch was accepted, and the next request has a new connection."""
    flood = Flood(bomb=bomb)
    with Endpoint(flood, reply()) as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        assert exporter.export(GZIPPED, PATIENCE) == SUCCESS
        assert flood.done.wait(PATIENCE), "the client should hang up"
        assert exporter.export(GZIPPED, PATIENCE) == SUCCESS
        exporter.shutdown()
    buffers = 64  # MiB that lie in sockets, or compressed in a few packets
    assert flood.taken <= MAX_REPLY_BYTES // 1024**2 + buffers


@pytest.mark.fault(13)
def test_a_compressed_reply_is_understood() -> None:
    """A compressed response is read, although none was requested."""
    partial = gzip.compress(b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}')
    with Endpoint(reply(200, partial, content_encoding="gzip")) as endpoint:
        assert export(endpoint.url) == ExportResult(Outcome.SUCCESS, rejected=2, detail="partial success: no")


@pytest.mark.fault(99)
def test_a_text_of_the_endpoint_is_harmless() -> None:
    """Characters that control a terminal, or begin another line of a log, are replaced."""
    text = r"a\u001b[31m\r\nb\u202ec\u009b"
    body = f'{{"partialSuccess":{{"rejectedSpans":1,"errorMessage":"{text}"}}}}'.encode()
    with Endpoint(reply(200, body)) as endpoint:
        detail = export(endpoint.url).detail
    assert detail.isprintable()
    assert detail.startswith("partial success: a\N{REPLACEMENT CHARACTER}[31m")


@pytest.mark.fault(15)
def test_a_redirect_is_not_followed() -> None:
    """A redirect is not followed, to a known address or not."""
    with Endpoint() as elsewhere, Endpoint(reply(302, b"", location=elsewhere.url)) as endpoint:
        assert export(endpoint.url).outcome is Outcome.RETRY
    assert (len(endpoint.requests), elsewhere.requests) == (1, [])


@pytest.mark.fault(16)
def test_a_web_page_is_no_success() -> None:
    """The 200 of a captive portal is not a success."""
    with Endpoint(reply(200, b"<html>Log in</html>", content_type="text/html")) as endpoint:
        assert export(endpoint.url).outcome is Outcome.RETRY


@pytest.mark.fault(20)
@pytest.mark.parametrize("end", [hang_up, reset])
def test_a_kept_connection_that_has_died_is_replaced_at_once(end: Answer) -> None:
    """One immediate attempt on a new one, no failure."""
    with Endpoint(reply(), end, reply()) as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        assert [exporter.export(GZIPPED, PATIENCE) for _ in range(2)] == [SUCCESS] * 2
        exporter.shutdown()
    assert len(endpoint.requests) == 3
    assert len({request.connection for request in endpoint.requests}) == 2


@pytest.mark.fault(18)
@pytest.mark.parametrize("end", [hang_up, reset])
def test_a_new_connection_that_dies_is_a_failure(end: Answer) -> None:
    """No second attempt at once: the next one comes later, with the same ids."""
    with Endpoint(end, end, reply()) as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        assert exporter.export(GZIPPED, PATIENCE).outcome is Outcome.RETRY
        assert len(endpoint.requests) == 1
        assert exporter.export(GZIPPED, PATIENCE).outcome is Outcome.RETRY
        assert exporter.export(GZIPPED, PATIENCE) == SUCCESS
        exporter.shutdown()
    assert endpoint.accepted == ids(0, 1, 2)


@pytest.mark.fault(19)
def test_a_lost_response_is_a_failure() -> None:
    """If the response of a server that accepted is lost, the same IDs are sent again, for the store to compare."""
    with Endpoint(accept_and(reset), reply()) as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        assert exporter.export(GZIPPED, PATIENCE).outcome is Outcome.RETRY
        assert exporter.export(GZIPPED, PATIENCE) == SUCCESS
        exporter.shutdown()
    assert endpoint.accepted == ids(0, 1, 2) * 2


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH\r\n", b"\0" * 100, b"HTTP/1.1 999999 \r\n\r\n", b"HTTP/9 200\r\n\r\n"]
)
def test_what_is_no_http_is_a_failure(garbage: bytes) -> None:
    """Another service on the port."""

    def talk(exchange: Exchange) -> None:
        exchange.wfile.write(garbage)
        exchange.close_connection = True

    with Endpoint(talk) as endpoint:
        assert export(endpoint.url).outcome is Outcome.RETRY


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_taken_from_the_environment(variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the request with the whole URL, which need not even exist."""
    with Endpoint() as proxy:
        monkeypatch.setenv(variable, scheme + proxy.url.removeprefix("http://"))
        assert export("http://endpoint.test/v1/traces") == SUCCESS
    assert proxy.requests[0].path == "http://endpoint.test/v1/traces"


def test_a_url_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Endpoint() as endpoint:
        assert export(endpoint.url) == SUCCESS


@pytest.mark.parametrize("proxy", ["http://", "gopher://127.0.0.1", "http://127.0.0.1:port", "::::"])
def test_a_proxy_that_makes_no_sense_is_a_failure(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised, and nothing goes past it."""
    monkeypatch.setenv("http_proxy", proxy)
    with Endpoint() as endpoint:
        assert export(endpoint.url).outcome is Outcome.RETRY
    assert endpoint.requests == []


def test_credentials_of_the_machine_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its netrc nor its OTEL_EXPORTER_OTLP_HEADERS."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login host password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    with Endpoint() as endpoint:
        assert export(endpoint.url) == SUCCESS
    assert "Authorization" not in endpoint.requests[0].headers


@pytest.mark.parametrize(("name", "value"), [("X-Key", "a\r\nX-Evil: 1"), ("X\n", "a"), ("X-Key", "\0")])
def test_a_header_that_would_be_two_is_refused(name: str, value: str) -> None:
    """At once, with its name and not its value."""
    with pytest.raises(ValueError, match=re.escape(repr(name))) as caught:
        OTLPHTTPExporter("http://127.0.0.1", {name: value})
    assert value == "a" or value not in str(caught.value)
