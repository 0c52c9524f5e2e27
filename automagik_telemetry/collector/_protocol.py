"""uvicorn's HTTP protocol with a deadline for headers, and a limit of connections from one address."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from automagik_telemetry.collector._exposure import is_loopback

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from automagik_telemetry.collector._stats import Stats

DEFAULT_HEADER_TIMEOUT: Final = 10.0
"""Maximum number of seconds from the beginning of a request to the end of its headers."""

DEFAULT_CONNECTIONS_PER_ADDRESS: Final = 64
"""Maximum number of connections from one address, but from this machine and from trusted proxies."""

_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connections:
    """The connections of a server.

    Args:
        stats: Counts the connections that are refused.
        header_timeout: Maximum number of seconds from the beginning of a request to the end of its headers.
        per_address: Maximum number of connections from one address.
        proxies: Addresses that may have any number of connections, as those of this machine.
    """

    def __init__(self, stats: Stats, header_timeout: float, per_address: int, proxies: Collection[str]) -> None:
        self.stats = stats
        self.header_timeout = header_timeout
        self._per_address = per_address
        self._proxies = proxies
        # In memory alone, and only while they are connected.
        self._connected: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection, and return whether it may stay."""
        self._connected[address] += 1
        unlimited = not address or address in self._proxies or is_loopback(address.removeprefix("::ffff:"))
        return unlimited or self._connected[address] <= self._per_address

    def leave(self, address: str) -> None:
        """Count a connection that has ended."""
        self._connected[address] -= 1
        if self._connected[address] <= 0:
            del self._connected[address]


class Protocol(H11Protocol):
    """A connection. A subclass has the `group` to which it belongs."""

    group: ClassVar[Connections]
    _address = ""
    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers, or refuse the connection."""
        super().connection_made(transport)
        self._address = (transport.get_extra_info("peername") or ("",))[0]
        if self.group.enter(self._address):
            self._watch()
        else:
            self._refused = True
            self.group.stats.respond(503)
            transport.write(_BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline."""
        self._unwatch()
        self.group.leave(self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data, unless the connection is refused."""
        if not self._refused:
            super().data_received(data)
            self._watch_headers()

    def on_response_complete(self) -> None:
        """Begin with the next request, of which the headers may be here in part."""
        super().on_response_complete()
        self._watch_headers()

    def _watch_headers(self) -> None:
        """Watch a connection on which headers have begun, and none on which they are complete."""
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self.conn.trailing_data[0]:
            self._watch()
        elif self.cycle is not None:
            self._unwatch()

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.group.header_timeout, self._expire)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.group.stats.respond(408)
            self.transport.abort()


def protocol(
    stats: Stats, *, header_timeout: float, connections_per_address: int, proxies: Collection[str]
) -> type[Protocol]:
    """Return the protocol of one server, with the arguments of `Connections`."""
    group = Connections(stats, header_timeout, connections_per_address, proxies)
    return type("ServerProtocol", (Protocol,), {"group": group})
