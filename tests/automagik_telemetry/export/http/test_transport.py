"""The system calls of a request, and connections whose descriptor the application closes."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpcore
import pytest

from automagik_telemetry._descriptors import Identity
from automagik_telemetry.export.http._transport import DeadlineTransport, _Socket, _SocketStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Made = tuple[_SocketStream, DeadlineTransport, socket.socket]


@pytest.fixture
def made() -> Iterator[Made]:
    """A stream that has time, its transport, and the other end."""
    transport = DeadlineTransport()
    transport.deadline = time.monotonic() + 60.0
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = _Socket(socket.AF_INET, socket.SOCK_STREAM)
        own.connect(server.getsockname())
        other, _ = server.accept()
    with other:
        stream = _SocketStream(transport, own)
        yield stream, transport, other
        stream.close()


def test_a_request_is_written_as_a_whole(made: Made) -> None:
    """Headers and body are sent together, once, when the response is read."""
    stream, _, other = made
    for request in (b"1", b"2"):
        stream.write(b"headers")
        stream.write(b"body" + request)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        other.setblocking(True)
        other.sendall(b"answer")
        assert stream.read(3) == b"ans"
        assert stream.read(9) == b"wer"
        assert other.recv(100) == b"headersbody" + request


def test_a_request_that_the_kernel_takes_in_pieces_is_sent_whole(made: Made) -> None:
    """A request is sent whole, however slowly the server reads."""
    stream, _, other = made
    body = os.urandom(8_000_000)
    stream.write(body)
    received = bytearray()

    def read() -> None:
        while len(received) < len(body):
            received.extend(other.recv(100_000))
        other.sendall(b"done")

    reading = threading.Thread(target=read)
    reading.start()
    assert stream.read(9) == b"done"
    reading.join()
    assert received == body


@pytest.mark.parametrize(("unsent", "late"), [(b"request", httpcore.WriteTimeout), (b"", httpcore.ReadTimeout)])
def test_no_operation_begins_after_the_deadline(made: Made, unsent: bytes, late: type[Exception]) -> None:
    """The deadline is that of the exchange, however long its parts wait."""
    stream, transport, _ = made
    if unsent:
        stream.write(unsent)
    transport.deadline = time.monotonic()
    with pytest.raises(late):
        stream.read(1)


@pytest.mark.fault(69)
@pytest.mark.parametrize("moment", ["before", "while it waits"])
def test_a_descriptor_of_the_application_is_not_touched(made: Made, tmp_path: Path, moment: str) -> None:
    """The descriptor is neither read, written nor closed, for any data from the server."""
    stream, _, other = made
    number = stream._socket.fileno()
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"of the application")

    def take_over() -> None:
        os.dup2(file, number)
        os.lseek(number, 0, os.SEEK_SET)
        other.sendall(b"answer")

    stream.write(b"request")
    if moment == "before":
        take_over()
    else:
        threading.Timer(0.2, take_over).start()
    with pytest.raises((httpcore.ReadError, httpcore.WriteError)):
        stream.read(100)
    assert stream.get_extra_info("is_readable") is True, "the pool must not use it again"
    stream.close()
    del stream
    assert Identity.of(number) == Identity.of(file)
    assert os.lseek(number, 0, os.SEEK_CUR) == 0
    assert (tmp_path / "file").read_bytes() == b"of the application"
    os.close(number)
    os.close(file)
