"""Answers in every form that HTTP/1.1 allows, and what keeps the connection for the next request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.sinks.connection import BrokenError, Reply
from automagik_telemetry.sinks.direct import DirectConnection
from tests.faults.process import run
from tests.faults.server import PATIENCE, Endpoint, Exchange

if TYPE_CHECKING:
    from tests.faults.server import Answer

BODY = b'{"resourceSpans":[]}'


def verbatim(answer: bytes, *, close: bool = False) -> Answer:
    """Answer with exactly these bytes."""

    def write(exchange: Exchange) -> None:
        exchange.wfile.write(answer)
        exchange.close_connection = close

    return write


def post(connection: DirectConnection) -> Reply:
    """Send a request."""
    return connection.post({}, BODY, time.monotonic() + PATIENCE)


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes!", True),
        (b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nyes!", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nyes\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes!", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nyes!", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nyes!", False),
        (b"HTTP/1.1 200 OK\r\n\r\nyes!", False),
    ],
)
def test_an_answer_is_read_to_its_end(answer: bytes, *, kept: bool) -> None:
    """Whatever says where that is; the connection is used again only if another answer can follow."""
    with Endpoint(verbatim(answer, close=not kept)) as endpoint:
        connection = DirectConnection(endpoint.url)
        replies = [post(connection) for _ in range(2)]
        connection.close()
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"yes!")] * 2
    assert len({request.connection for request in endpoint.requests}) == (1 if kept else 2)


def test_an_answer_without_a_body_has_none() -> None:
    """204 has no length; the next answer follows at once."""
    with Endpoint(verbatim(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\nx-a: 2\r\n\r\n")) as endpoint:
        connection = DirectConnection(endpoint.url)
        assert [post(connection) for _ in range(2)] == [Reply(204, {"x-a": "1, 2"}, b"")] * 2
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nyes!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nyes!",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"",
    ],
)
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    """Nor one whose head has no end."""
    with Endpoint(verbatim(answer, close=True)) as endpoint:
        connection = DirectConnection(endpoint.url)
        with pytest.raises(BrokenError):
            post(connection)
        connection.close()


def test_more_than_was_asked_for_is_not_the_next_answer() -> None:
    """What follows an answer unasked is thrown away with the connection."""
    two = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"
    with Endpoint(verbatim(two)) as endpoint:
        connection = DirectConnection(endpoint.url)
        assert [post(connection).body for _ in range(2)] == [b"a", b"a"]
        connection.close()
    assert len({request.connection for request in endpoint.requests}) == 2


def test_the_target_is_what_the_url_says() -> None:
    """Its path and query, with what a request line can't hold percent-encoded."""
    with Endpoint() as endpoint:
        connection = DirectConnection(f"{endpoint.url}/v1/träces%20x?a=b c")
        assert post(connection).status == 200
        connection.close()
    assert endpoint.requests[0].path == "/v1/tr%C3%A4ces%20x?a=b%20c"


def test_no_library_is_imported_to_send() -> None:
    """Not for an endpoint in the clear without a proxy: importing one would take longer than all the rest."""
    code = """
        log(0)
        say(tracing.flush(20))
        say(sorted({"httpx", "httpcore", "http.client"} & set(sys.modules)))
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True", "[]"]
