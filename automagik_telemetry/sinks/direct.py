"""HTTP/1.1 over a socket of our own: one request at a time, with one deadline for the whole exchange.

A library would take a tenth of a second to import, and for each request as long as a hundred events take; and each time
that it asks the kernel for something, this thread waits for its turn among the host's.
"""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from automagik_telemetry.sinks.connection import BrokenError, ConnectError, ExchangeTimeoutError, Reply, bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHUNK = 65_536
_OVER = "the time for the whole exchange is over"
_MAX_HEAD = 65_536
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_SAFE = "/%:@!$&'()*+,;=~-._?"


class DirectConnection:
    """A connection to the host and port of `url`, with TLS if that says https."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for a URL that has no host, or no port that is a number."""
        "".encode("idna")  # what a look-up would import
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._host = host if host.isascii() else host.encode("idna").decode()
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        name = f"[{self._host}]" if ":" in self._host else self._host
        authority = name if parts.port is None else f"{name}:{parts.port}"
        target = quote(parts.path or "/", _SAFE) + (f"?{quote(parts.query, _SAFE)}" if parts.query else "")
        self._start = f"POST {target} HTTP/1.1\r\nHost: {authority}\r\n"
        self._socket: socket.socket | None = None
        self._armed = 0.0
        self._received = bytearray()
        self._whole = False

    def post(self, headers: Mapping[str, str], body: bytes, deadline: float) -> Reply:
        """See `Connection`."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{self._start}{lines}Content-Length: {len(body)}\r\n\r\n"
        if self._socket is None:
            self._socket = self._connect(deadline)
        try:
            self._arm(self._socket, deadline)
            self._socket.sendall(head.encode("latin-1") + body)
            return self._answer(deadline)
        except TimeoutError as error:
            raise ExchangeTimeoutError(_OVER) from error
        except OSError as error:
            raise BrokenError(str(error)) from error

    def close(self) -> None:
        """See `Connection`."""
        opened, self._socket = self._socket, None
        self._received.clear()
        if opened is not None:
            opened.close()

    def abandon(self) -> None:
        """See `Connection`."""
        self.close()

    def _connect(self, deadline: float) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConnectError(str(error)) from error
        # Each address has a fair share of the time, so that one that never answers does not take the others' too.
        failure: Exception | None = None
        for waiting, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            opened = socket.socket(family, kind, protocol)
            try:
                self._arm(opened, time.monotonic() + (deadline - time.monotonic()) / waiting)
                opened.connect(address)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secured(opened, deadline) if self._secure else opened
            except (OSError, ExchangeTimeoutError) as error:
                opened.close()
                failure = error
        if isinstance(failure, (TimeoutError, ExchangeTimeoutError)):
            raise ExchangeTimeoutError("nobody answered in time") from failure
        raise ConnectError(str(failure or f"no address for {self._host}")) from failure

    def _secured(self, opened: socket.socket, deadline: float) -> socket.socket:
        from automagik_telemetry.sinks.trust import trusted  # noqa: PLC0415 - TLS is much to import

        self._arm(opened, deadline)
        return trusted().wrap_socket(opened, server_hostname=self._host)

    def _arm(self, opened: socket.socket, deadline: float) -> None:
        """Let the next operation take what is left of the time, or little more; raises an error if nothing is."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise ExchangeTimeoutError(_OVER)
        if opened is not self._socket or abs(self._armed - left) > left / 8:  # for it is a system call of its own
            opened.settimeout(left)
            self._armed = left

    def _receive(self, deadline: float) -> bool:
        """Wait for more of the answer; False if there is none, for the other side has hung up."""
        if self._socket is None:
            return False
        self._arm(self._socket, deadline)
        received = self._socket.recv(_CHUNK)
        self._received += received
        return bool(received)

    def _answer(self, deadline: float) -> Reply:
        status = 0
        while status < 200:  # noqa: PLR2004 - interim answers may come first (RFC 9110, 15.2), but not for ever
            if time.monotonic() > deadline:
                raise ExchangeTimeoutError(_OVER)
            status, version, headers = self._head(deadline)
        self._whole = False
        body = bounded(self._parts(status, headers, deadline), headers.get("content-encoding", ""))
        if not self._whole or version == 0 or self._received or "close" in headers.get("connection", "").lower():
            self.close()
        return Reply(status, headers, body)

    def _head(self, deadline: float) -> tuple[int, int, dict[str, str]]:
        """Return the next answer's status, the minor version of its HTTP, and its headers."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _MAX_HEAD or not self._receive(deadline):
                raise BrokenError("the answer has no head")
        first, *lines = bytes(self._received[:end]).split(b"\r\n")
        del self._received[: end + 4]
        if (matched := _STATUS.fullmatch(first)) is None:
            raise BrokenError("the answer is no HTTP")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        return int(matched[2]), int(matched[1]), headers

    def _parts(self, status: int, headers: Mapping[str, str], deadline: float) -> Iterator[bytes]:
        """Yield the body as it comes; `_whole` says at the end whether another answer can follow."""
        if status in {204, 304}:
            self._whole = True
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            while size := self._size_of_chunk(deadline):
                yield from self._exactly(size, deadline)
                self._line(deadline)
            while self._line(deadline):
                pass
            self._whole = True
        elif (length := headers.get("content-length", "")).isdecimal():
            yield from self._exactly(int(length), deadline)
            self._whole = True
        else:
            yield self._taken(len(self._received))
            while self._receive(deadline):
                yield self._taken(len(self._received))

    def _exactly(self, size: int, deadline: float) -> Iterator[bytes]:
        while size:
            if not self._received and not self._receive(deadline):
                raise BrokenError("the answer ends within its body")
            part = self._taken(size)
            size -= len(part)
            yield part

    def _taken(self, size: int) -> bytes:
        part = bytes(self._received[:size])
        del self._received[: len(part)]
        return part

    def _size_of_chunk(self, deadline: float) -> int:
        try:
            return int(self._line(deadline).partition(b";")[0], 16)
        except ValueError as error:
            raise BrokenError("the answer's body is no chunks") from error

    def _line(self, deadline: float) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            if len(self._received) > _MAX_HEAD or not self._receive(deadline):
                raise BrokenError("the answer ends within a line")
        line = self._taken(end)
        del self._received[:2]
        return line
