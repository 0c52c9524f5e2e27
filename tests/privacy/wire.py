"""A receiver that stores every byte of its requests."""

from __future__ import annotations

import gzip
import socketserver
from itertools import takewhile
from typing import NamedTuple, cast


class Sent(NamedTuple):
    """One request: the bytes of its head (request line and headers), and its body, decompressed."""

    head: bytes
    body: bytes


class Wire(socketserver.ThreadingTCPServer):
    """An HTTP endpoint that accepts everything and tries to set a cookie; `requests` are the raw requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.requests: list[Sent] = []
        self._taken = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def take(self) -> list[Sent]:
        """Return the requests that came since they were taken last."""
        start, self._taken = self._taken, len(self.requests)
        return self.requests[start : self._taken]

    def content(self) -> bytes:
        """Return all bytes sent."""
        return b"\n".join(part for request in self.requests for part in request)


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Take requests until the connection is closed."""
        lines = iter(self.rfile.readline, b"")  # which is the end
        while head := b"".join(takewhile(lambda line: line != b"\r\n", lines)):
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            body = self.rfile.read(int(fields[b"content-length"]))
            cast("Wire", self.server).requests.append(Sent(head, gzip.decompress(body)))
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: seen=before\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )
