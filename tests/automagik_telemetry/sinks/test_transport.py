"""How a request goes to the kernel."""

from __future__ import annotations

import time
from typing import Any

import httpcore
import pytest

from automagik_telemetry.sinks.transport import _PIECE, DeadlineTransport, _DeadlineStream


class Wire(httpcore.NetworkStream):
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Keep it; whoever writes says how long it may take."""
        assert timeout is not None
        self.written.append(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Answer."""
        assert timeout is not None
        return b"answer"[:max_bytes]

    def get_extra_info(self, info: str) -> Any:
        """Know nothing."""


Made = tuple[_DeadlineStream, DeadlineTransport, Wire]


@pytest.fixture
def made() -> Made:
    """A stream that has time, its transport and its wire."""
    transport, wire = DeadlineTransport(), Wire()
    transport.deadline = time.monotonic() + 60.0
    return _DeadlineStream(transport, wire), transport, wire


def test_a_request_is_written_as_a_whole(made: Made) -> None:
    """Headers and body together, once the answer is asked for, and each once."""
    stream, _, wire = made
    for request in (b"1", b"2"):
        stream.write(b"headers")
        stream.write(b"body" + request)
        assert wire.written == []
        assert stream.read(3) == b"ans"
        assert stream.read(9) == b"answer"
        assert wire.written == [b"headersbody" + request]
        wire.written.clear()


def test_a_large_one_is_written_in_pieces(made: Made) -> None:
    """So that each has what is left of the time."""
    stream, _, wire = made
    stream.write(bytes(2 * _PIECE + 1))
    stream.read(1)
    assert list(map(len, wire.written)) == [_PIECE, _PIECE, 1]


def test_nothing_is_written_when_the_time_is_over(made: Made) -> None:
    """The deadline is that of the exchange, however long its parts wait."""
    stream, transport, wire = made
    stream.write(b"request")
    transport.deadline = time.monotonic()
    with pytest.raises(httpcore.WriteTimeout):
        stream.read(1)
    assert wire.written == []
