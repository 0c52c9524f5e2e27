"""An httpx transport with one deadline for the whole exchange, so that a reply that drips can't hold the listener."""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable


class DeadlineTransport(httpx.HTTPTransport):
    """`deadline` is a time of `time.monotonic()` after which every network operation fails as a timeout."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - httpx's options
        super().__init__(retries=0, limits=httpx.Limits(max_connections=1), **options)
        self.deadline = time.monotonic()
        # httpx offers no other way to give its pool a network backend; a test holds us to its presence.
        self._pool._network_backend = _DeadlineBackend(self, self._pool._network_backend)  # noqa: SLF001 - see above

    def remaining(self, timeout: float | None) -> float:
        """Return the seconds that an operation may take, at least a moment, for 0 would mean not to block."""
        left = max(self.deadline - time.monotonic(), 0.001)
        return left if timeout is None else min(left, timeout)


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, transport: DeadlineTransport, inner: httpcore.NetworkBackend) -> None:
        self._transport = transport
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._transport.remaining(timeout)
        stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _DeadlineStream(self._transport, stream)


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, transport: DeadlineTransport, inner: httpcore.NetworkStream) -> None:
        self._transport = transport
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._transport.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._transport.remaining(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = self._transport.remaining(timeout)
        return _DeadlineStream(self._transport, self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._inner.get_extra_info(info)


def open_transport(url: str) -> DeadlineTransport:
    """Return a transport for `url` that goes through the proxy that the environment names for it, if any."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
        proxy = None
    return DeadlineTransport(proxy=proxy)
