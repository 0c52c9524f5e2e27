"""The receiver as a server: uvicorn on a thread of its own, for a command, a demo or a test."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import ssl
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import uvicorn

from automagik_telemetry.collector import _app as app
from automagik_telemetry.collector import _body as body
from automagik_telemetry.collector import _control as control
from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._errors import ExposureError
from automagik_telemetry.collector._exposure import Exposure
from automagik_telemetry.collector._flow import DEFAULT_BYTES_IN_FLIGHT
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._maintenance import DEFAULT_INTERVAL, Maintenance
from automagik_telemetry.collector._protocol import (
    DEFAULT_CONNECTIONS_PER_ADDRESS,
    DEFAULT_HEADER_TIMEOUT,
    protocol,
)
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from automagik_telemetry.collector._queries import Report
    from automagik_telemetry.collector._stats import Stats

_GRACE_SECONDS: Final = 5
# Longer than the interval of a sender's batches, so that the connection stays open.
_KEEP_ALIVE_SECONDS: Final = 75
# A minute of uvicorn's ticks, ten a second.
_LOG_TICKS: Final = 600


class Collector:
    """A collector that runs inside its `with` block. It prints nothing and handles no signals.

    On an address of this machine alone, undeclared events are stored too, apart. On any other, only declared events
    with their declared fields are stored, and the rest is refused and counted.

    On entry it opens the store and listens. On exit it completes requests in progress and closes both. uvicorn's
    loggers are silenced below CRITICAL in the whole process.

    Args:
        store: Path of the DuckDB file.
        events: Paths of catalogues of applications' events, which `automagik-telemetry events --json` prints.
        raw_seconds: Age at which spans and log records as they came are deleted; 0 keeps events alone, without them.
            By default they are kept.
        keep_seconds: Age at which events are deleted, once their day (in UTC) has ended. By default they are kept. The
            roll-ups by day are kept in any case.
        host: Address to listen on.
        port: Port to listen on; 0 chooses a free one.
        names: Names by which it may be called, beside `localhost` and addresses. Any other Host header is refused.
        tokens: A TOML file with the tokens of senders and readers, which an address other than this machine's requires.
        certificate: The files of a TLS certificate and of its key. By default it speaks HTTP.
        proxies: Addresses of proxies, which may have any number of connections.
        limit: Maximum size of a request body in bytes, before and after decompression.
        bytes_in_flight: Maximum number of bytes of all requests in progress. Further ones get 503.
        header_timeout: Maximum number of seconds until the headers of a request are received, and of a TLS handshake.
        body_timeout: Maximum number of seconds until a body is received.
        connections: Maximum number of connections. Further ones get 503, so that their senders retry later.
        connections_per_address: Maximum number of connections from one address. This machine and proxies have none.
        maintenance_interval: Number of seconds between two runs of roll-ups, retention and compaction.

    Raises:
        OSError: On entry, if the address is in use or not on this machine.
        CatalogueError: On entry, if a catalogue cannot be read.
        ExposureError: On entry, if other machines reach it and there are no tokens, or they cannot be read.
        StoreError: On entry, if the store cannot be opened.
    """

    def __init__(  # noqa: PLR0913 - each limit has a name and a default
        self,
        store: str | Path,
        *,
        events: Iterable[str | Path] = (),
        raw_seconds: float | None = None,
        keep_seconds: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Iterable[str] = (),
        tokens: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        proxies: Iterable[str] = (),
        limit: int = body.DEFAULT_LIMIT,
        bytes_in_flight: int = DEFAULT_BYTES_IN_FLIGHT,
        header_timeout: float = DEFAULT_HEADER_TIMEOUT,
        body_timeout: float = app.DEFAULT_BODY_TIMEOUT,
        connections: int = 256,
        connections_per_address: int = DEFAULT_CONNECTIONS_PER_ADDRESS,
        maintenance_interval: float = DEFAULT_INTERVAL,
    ) -> None:
        self._path = Path(store)
        self._events = [Path(file) for file in events]
        self._raw_seconds = raw_seconds
        self._keep_seconds = keep_seconds
        self._maintenance_interval = maintenance_interval
        self._address = host, port
        self._limits = app.Limits(limit, bytes_in_flight, body_timeout)
        self._header_timeout = header_timeout
        self._connections = connections
        self._connections_per_address = connections_per_address
        self._names = list(names)
        self._tokens = None if tokens is None else Path(tokens)
        self._certificate = certificate
        self._proxies = frozenset(proxies)
        self._listener: socket.socket
        self._url: str
        self._server: _Server
        self._thread: threading.Thread
        self._writer: Writer
        self._maintenance: Maintenance
        self.store: Store

    @property
    def url(self) -> str:
        """The base URL, such as `http://127.0.0.1:4318`. OTLP is sent to `/v1/traces` and `/v1/logs` below it."""
        return self._url

    def report(self) -> Report:
        """Return the results of all queries, which `render` and `GET /api/report` show.

        Returns:
            The report of all events in the store.
        """
        return self.store.report()

    def stop(self) -> None:
        """Begin to stop the server, without waiting. Safe in a signal handler."""
        self._server.should_exit = True

    def wait(self) -> None:
        """Wait until the server has ended."""
        # In steps, because an endless wait blocks Ctrl-C on Windows.
        while self._thread.is_alive():
            self._thread.join(1.0)

    def __enter__(self) -> Self:
        catalogue = Catalogue(self._events)
        token = secrets.token_urlsafe(32)
        exposure = Exposure(self._address[0], self._tokens, self._names, token)
        certificate, key = self._certificate or (None, None)
        if certificate is not None:
            _check_certificate(certificate, key)
        listener = _listen(*self._address)
        try:
            self.store = Store(self._path, catalogue, raw_seconds=self._raw_seconds, keep_seconds=self._keep_seconds)
            undeclared = self._undeclared()
        except BaseException:
            listener.close()
            raise
        self._writer = Writer(self.store)
        self._maintenance = Maintenance(self.store, self._maintenance_interval)
        gate = Gate(
            catalogue,
            strict=not exposure.is_local,
            events_only=self._raw_seconds == 0,
            undeclared=undeclared,
        )
        receiver = app.Receiver(self.store, self._writer, gate, exposure, self._limits)
        self._listener = listener
        host, port = listener.getsockname()[:2]
        scheme = "http" if certificate is None else "https"
        self._url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        self._server = _Server(
            receiver.stats,
            self._header_timeout,
            uvicorn.Config(
                receiver.app(),
                loop="asyncio",
                http=protocol(
                    receiver.stats,
                    header_timeout=self._header_timeout,
                    connections_per_address=self._connections_per_address,
                    proxies=self._proxies,
                ),
                proxy_headers=False,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                limit_concurrency=self._connections,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            ),
        )
        control.write(self.store.path, control.make(self._url, token, certificate))
        self._thread = threading.Thread(target=self._run, name="automagik-collector", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.wait()
        self._writer.close()
        self._maintenance.close()
        control.remove(self.store.path)
        self.store.close()

    def _undeclared(self) -> list[str]:
        try:
            return self.store.undeclared_events()
        except BaseException:
            self.store.close()
            raise

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        finally:
            self._server.ready.set()


def _check_certificate(certificate: str | Path, key: str | Path | None) -> None:
    """Raise ExposureError if the server could not use a certificate."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # also an ssl.SSLError
        raise ExposureError(f"The TLS certificate {certificate} with the key {key} can't be used: {error}.") from error


class _Server(uvicorn.Server):
    """uvicorn's server with an event that is set when it is ready, and a log of what it refuses."""

    def __init__(self, stats: Stats, handshake_timeout: float, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._handshake_timeout = handshake_timeout
        self.ready = threading.Event()
        self._stats = stats

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn does not pass asyncio's deadline of TLS handshakes, which is a minute.
        loop: Any = asyncio.get_running_loop()
        if self.config.is_ssl:
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=self._handshake_timeout)
        await super().startup(sockets)
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _LOG_TICKS == 0:
            self._stats.log()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._stats.log()


def _listen(host: str, port: int) -> socket.socket:
    family, _kind, _protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # asyncio disables Nagle's delay, 40 ms for each small response, only if the socket has its protocol set.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
