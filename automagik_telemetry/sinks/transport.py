"""httpx's transport, with one deadline for the whole exchange: for what goes through a proxy, or LangWatch's SDK.

It is used without httpx's client, which would follow the host's netrc, log every request and read proxies for itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpcore
import httpx

from automagik_telemetry.sinks.connection import BrokenError, ExchangeError, Reply, bounded
from automagik_telemetry.sinks.trust import trusted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CHUNK = 65_536


class DeadlineTransport(httpx.HTTPTransport):
    """`deadline` is a time of `time.monotonic()` after which every network operation fails as a timeout."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - httpx's options
        super().__init__(retries=0, limits=httpx.Limits(max_connections=1), **options)
        self.deadline = time.monotonic()
        self.socket: socket.socket | None = None
        # httpx offers no other way to give its pool a network backend; a test holds us to its presence.
        self._pool._network_backend = _DeadlineBackend(self, self._pool._network_backend)  # noqa: SLF001 - see above

    def remaining(self, failure: type[Exception]) -> float:
        """Return the seconds that are left; raises `failure` if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise failure("the time for the whole exchange is over")
        return left

    def abandon(self) -> None:
        """Close the socket alone: in the child of a fork, a lock of the pool may be held by a thread that is lost."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.close()


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, transport: DeadlineTransport, inner: httpcore.NetworkBackend) -> None:
        self._transport = transport
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline stands in for it, here and below
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        # Each address has a fair share of the time, so that one that never answers does not take the others' too.
        for waiting, (*_, address) in zip(range(len(found), 0, -1), found, strict=True):
            share = self._transport.remaining(httpcore.ConnectTimeout) / waiting
            try:
                stream = self._inner.connect_tcp(str(address[0]), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if waiting == 1:
                    raise
            else:
                return _DeadlineStream(self._transport, stream)
        raise httpcore.ConnectError(f"no address for {host}")


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, transport: DeadlineTransport, inner: httpcore.NetworkStream) -> None:
        self._transport = transport
        self._inner = inner
        transport.socket = inner.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see above
        return self._inner.read(max_bytes, self._transport.remaining(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see above
        # In pieces, for httpcore gives each piece that the other side takes, however small, the whole time anew.
        for start in range(0, len(buffer), _CHUNK):
            self._inner.write(buffer[start : start + _CHUNK], self._transport.remaining(httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - see above
    ) -> httpcore.NetworkStream:
        left = self._transport.remaining(httpcore.ConnectTimeout)
        return _DeadlineStream(self._transport, self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._inner.get_extra_info(info)


def open_transport(url: str, proxy: str | None) -> DeadlineTransport:
    """Return a transport for `url` that goes through `proxy`, if any."""
    "".encode("idna")  # what a look-up would import
    secure = "https" in (urlsplit(url).scheme, urlsplit(proxy or "").scheme)
    # In the clear there is nothing to trust, so that nothing need be read; this context trusts nobody.
    return DeadlineTransport(proxy=proxy, verify=trusted() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class Transport(Protocol):
    """What of a `DeadlineTransport` is needed to send through it."""

    deadline: float

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send."""

    def close(self) -> None:
        """Close the connection."""

    def abandon(self) -> None:
        """Close our copy of it."""


class TransportConnection:
    """A `Connection` to `url` by such a transport."""

    def __init__(self, url: str, transport: Transport) -> None:
        self._url = url
        self._transport = transport

    def post(self, headers: Mapping[str, str], body: bytes, deadline: float) -> Reply:
        """See `Connection`."""
        self._transport.deadline = deadline
        request = httpx.Request("POST", self._url, headers=dict(headers), content=body)
        try:
            response = self._transport.handle_request(request)
            try:
                read = bounded(response.iter_raw(), response.headers.get("content-encoding", ""))
            finally:
                response.close()
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            raise BrokenError(str(error)) from error
        except httpx.HTTPError as error:
            raise ExchangeError(f"{type(error).__name__}: {error}") from error
        return Reply(response.status_code, response.headers, read)

    def close(self) -> None:
        """See `Connection`."""
        self._transport.close()

    def abandon(self) -> None:
        """See `Connection`."""
        self._transport.abandon()
