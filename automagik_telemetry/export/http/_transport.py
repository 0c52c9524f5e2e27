"""An httpx transport with one deadline for the whole exchange, so that a slow response can't block the worker."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpcore
import httpx

from automagik_telemetry._descriptors import Identity, standard_descriptors_kept
from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export.http._network_settings import proxy_for, trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

_T = TypeVar("_T")
_MAX_WAIT = 0.1  # seconds between checks of the descriptor
_RECORD = 65_536  # bytes: more than a record of TLS has


def _is_the_applications(_record: logging.LogRecord) -> bool:
    """Return whether a record of the HTTP client is about a request of the application, and not of our worker."""
    return not guard.busy


for _name in list(logging.Logger.manager.loggerDict):
    if _name.partition(".")[0] in {"httpx", "httpcore"}:
        logging.getLogger(_name).addFilter(_is_the_applications)


class DeadlineTransport(httpx.HTTPTransport):
    """A transport whose network operations time out after `deadline`, a time of `time.monotonic()`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(retries=0, limits=httpx.Limits(max_connections=1), **options)
        self.deadline = time.monotonic()
        self.stream: _SocketStream | None = None
        self.proxy_variable: str | None = None
        """Variable that names the proxy, if there is one."""
        # httpx has no public way to set the network backend of its pool. A test checks that this one works.
        self._pool._network_backend = _DeadlineBackend(self)  # noqa: SLF001 - see above

    def remaining(self, failure: type[Exception]) -> float:
        """Return the remaining seconds; raise `failure` if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise failure("the deadline of the request has passed")
        return left

    def abandon(self) -> None:
        """Close the socket alone, because in the child of a fork a lost thread may hold a lock of the pool."""
        if self.stream is not None:
            self.stream.close()


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self, transport: DeadlineTransport) -> None:
        self._transport = transport

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline replaces it, here and below
        local_address: str | None = None,  # noqa: ARG002 - never set
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - see above
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        # Each address has a share of the time, so that one that never responds leaves time for the others.
        for waiting, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            share = self._transport.remaining(httpcore.ConnectTimeout) / waiting
            try:
                connection = _Socket.connected((family, kind, protocol), address, share)
            except OSError as error:
                if waiting == 1:
                    late = isinstance(error, TimeoutError)
                    raise (httpcore.ConnectTimeout if late else httpcore.ConnectError)(str(error)) from error
            else:
                self._transport.stream = _SocketStream(self._transport, connection)
                return self._transport.stream
        raise httpcore.ConnectError(f"no address for {host}")


class _Socket(socket.socket):
    """Socket that does not close a descriptor of the application."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._identity = Identity.of(self.fileno())

    @classmethod
    def connected(cls, kind: tuple[int, int, int], address: Any, timeout: float) -> Self:
        """Return a socket with a connection. Raises OSError, a TimeoutError after `timeout` seconds."""
        with standard_descriptors_kept():
            made = cls(*kind)
        try:
            made._check_new()
            made.settimeout(timeout)
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            made.close()
            raise
        return made

    def _check_new(self) -> None:
        """Raise OSError if the application reused the descriptor before its identity was read."""
        try:
            self.getpeername()
        except OSError as error:
            if error.errno == errno.ENOTCONN and self.is_ours():
                return
        self._identity = None
        raise OSError(errno.EBADF, "the descriptor was closed by the application")

    def is_ours(self) -> bool:
        """Return whether the descriptor still refers to this socket."""
        if os.name != "posix":  # a socket is not a descriptor there, and its number is not reused for a file
            return self.fileno() >= 0
        return self.fileno() >= 0 and self._identity is not None and self._identity.is_of(self.fileno())

    def close(self) -> None:
        """Close the socket, or discard the number if it is not ours any more."""
        if self.is_ours():
            super().close()
        else:
            self.detach()


class _Stream(httpcore.NetworkStream):
    """Stream whose writes are buffered until `flush`."""

    def flush(self) -> None:
        """Send buffered writes."""
        raise NotImplementedError

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - see above
    ) -> httpcore.NetworkStream:
        return _TLSStream(self, ssl_context, server_hostname)


class _SocketStream(_Stream):
    """Reads and writes a socket, until the transport's deadline.

    The application may close the descriptor and reuse its number at any time, also while a read waits. Therefore its
    identity is checked before each read and write, and the socket never blocks in between.

    A request is sent as a whole when its response is read, because each system call releases the GIL, and reacquiring
    it from a busy thread takes 5 ms.
    """

    def __init__(self, transport: DeadlineTransport, connection: _Socket) -> None:
        self._transport = transport
        self._socket = connection
        self._unsent: list[bytes] = []
        connection.settimeout(0.0)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see above
        with contextlib.suppress(httpcore.WriteError):  # as in httpcore: a server that closed early may have responded
            self.flush()
        while True:
            self._wait(httpcore.ReadTimeout, httpcore.ReadError, to_read=True)
            try:
                return self._socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see above
        self._unsent.append(buffer)

    def flush(self) -> None:
        """Send buffered writes."""
        unsent = memoryview(b"".join(self._unsent))
        self._unsent = []
        while unsent:
            self._wait(httpcore.WriteTimeout, httpcore.WriteError, to_read=False)
            try:
                unsent = unsent[self._socket.send(unsent) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def _wait(self, late: type[Exception], lost: type[Exception], *, to_read: bool) -> None:
        """Wait until the socket can be read or written."""
        while True:
            left = self._transport.remaining(late)
            if not self._socket.is_ours():
                raise lost("the application closed the descriptor")
            if _is_ready(self._socket, min(left, _MAX_WAIT), to_read=to_read) and self._socket.is_ours():
                return

    def close(self) -> None:
        self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # true of an idle connection only if either side closed it
            return not self._socket.is_ours() or _is_ready(self._socket, 0.0, to_read=True)
        return None


def _is_ready(connection: _Socket, timeout: float, *, to_read: bool) -> bool:
    """Return whether a socket can be read or written, within `timeout` seconds."""
    if not hasattr(select, "poll"):  # Windows
        ready = select.select([connection] if to_read else [], [] if to_read else [connection], [], timeout)
        return any(ready)
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN if to_read else select.POLLOUT)
    return bool(poll.poll(timeout * 1000))


class _TLSStream(_Stream):
    """TLS over another stream, which itself may be TLS to a proxy."""

    def __init__(self, inner: _Stream, context: ssl.SSLContext, server_hostname: str | None) -> None:
        """Perform the handshake. Raises httpcore.ConnectError for a certificate that is not trusted."""
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        try:
            self._exchange(self._tls.do_handshake)
        except (ssl.SSLError, httpcore.NetworkError, httpcore.TimeoutException) as error:
            with contextlib.suppress(httpcore.NetworkError, httpcore.TimeoutException):
                inner.flush()  # the alert with the reason
            inner.close()
            late = isinstance(error, httpcore.TimeoutException)
            raise (httpcore.ConnectTimeout if late else httpcore.ConnectError)(str(error)) from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see above
        try:
            return self._exchange(lambda: self._tls.read(max_bytes))
        except ssl.SSLError as error:  # closed without a close_notify; HTTP detects a truncated response
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - see above
        try:
            if buffer:
                self._exchange(lambda: self._tls.write(buffer))
        except ssl.SSLError as error:
            raise httpcore.WriteError(str(error)) from error

    def _exchange(self, operation: Callable[[], _T]) -> _T:
        """Perform an operation, with the reads and writes that it needs."""
        while True:
            try:
                done = operation()
            except ssl.SSLWantReadError:
                self._inner.write(self._outgoing.read())
                received = self._inner.read(_RECORD)
                self._incoming.write(received) if received else self._incoming.write_eof()
            except ssl.SSLError:
                self._inner.write(self._outgoing.read())
                raise
            else:
                self._inner.write(self._outgoing.read())
                return done

    def flush(self) -> None:
        """Send buffered writes."""
        self._inner.flush()

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else self._inner.get_extra_info(info)


def open_transport(url: str) -> DeadlineTransport:
    """Return a transport for `url`, through the proxy in the environment if there is one.

    Raises:
        httpx.ProxyError: The proxy can't be used.
        httpx.ConnectError: The trusted certificates can't be read.
    """
    "".encode("idna")  # imports what a host name lookup needs
    setting = proxy_for(url)
    secure = "https" in (urlsplit(url).scheme, setting.url.scheme if setting else "")
    # Without TLS no certificates are loaded; this context trusts none.
    verify = trusted() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = httpx.Proxy(setting.url, ssl_context=verify if setting.url.scheme == "https" else None) if setting else None
    transport = DeadlineTransport(proxy=proxy, verify=verify)
    transport.proxy_variable = setting.variable if setting else None
    return transport
