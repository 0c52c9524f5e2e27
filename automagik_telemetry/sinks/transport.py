"""An httpx transport with one deadline for the whole exchange, so that a reply that drips can't hold the listener."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
import urllib.request
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = 262_144
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")


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
    """Sends a request as a whole, once its answer is asked for: each call of the kernel lets go of the interpreter.

    To get it back from a busy thread takes 5 ms.
    """

    def __init__(self, transport: DeadlineTransport, inner: httpcore.NetworkStream) -> None:
        self._transport = transport
        self._inner = inner
        self._unsent: list[bytes] = []
        transport.socket = inner.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see above
        with contextlib.suppress(httpcore.WriteError):  # as httpcore does: who closed early may have answered before
            self._send()
        return self._inner.read(max_bytes, self._transport.remaining(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see above
        self._unsent.append(buffer)

    def _send(self) -> None:
        unsent, self._unsent = b"".join(self._unsent), []
        # In pieces, for httpcore gives each part that the other side takes, however small, the whole time anew.
        for start in range(0, len(unsent), _PIECE):
            self._inner.write(unsent[start : start + _PIECE], self._transport.remaining(httpcore.WriteTimeout))

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


def open_transport(url: str) -> DeadlineTransport:
    """Return a transport for `url` that goes through the proxy that the environment names for it, if any."""
    "".encode("idna")  # what a look-up would import
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        proxy = None
    elif "://" not in proxy:
        proxy = f"http://{proxy}"
    secure = "https" in (parts.scheme, urlsplit(proxy or "").scheme)
    # In the clear there is nothing to trust, so that nothing need be read; this context trusts nobody.
    verify = trusted(*map(os.environ.get, _TRUST)) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return DeadlineTransport(proxy=proxy, verify=verify)


@lru_cache(maxsize=1)
def trusted(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    """Return whom the host trusts, by the environment's word; kept, for it takes half a megabyte and 30 ms to read.

    `cache_clear` lets it be read anew.
    """
    return httpx.create_ssl_context()
