"""The receiver as a running server: uvicorn on a thread of its own, for a command, a demo or a test alike."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import uvicorn

from automagik_telemetry.collector import _app as app
from automagik_telemetry.collector import _body as body
from automagik_telemetry.collector._store import Store

if TYPE_CHECKING:
    from types import TracebackType

    from automagik_telemetry.collector._queries import Report

_GRACE_SECONDS: Final = 5
# Longer than senders wait between two batches, so that they find their connection still open.
_KEEP_ALIVE_SECONDS: Final = 75


class Collector:
    """A collector that runs while its `with` block does, prints nothing and handles no signals.

    Entering it opens the store and listens; leaving it answers what is under way, then closes both. uvicorn's loggers
    are silenced below CRITICAL in the whole process.

    Args:
        store: the path of the DuckDB file.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        limit: the largest request body taken, in bytes, before and after decompression.
        patience: how many seconds a body may take to come.
        connections: how many there may be at a time; who comes beyond gets 503, and so comes again later.

    Raises:
        OSError: on entering, when the address is in use or not this machine's.
        StoreError: on entering, when the store cannot be opened.
    """

    def __init__(  # noqa: PLR0913 - each limit has a name and a default
        self,
        store: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limit: int = body.DEFAULT_LIMIT,
        patience: float = app.DEFAULT_PATIENCE,
        connections: int = 256,
    ) -> None:
        self._path = Path(store)
        self._address = host, port
        self._limit = limit
        self._patience = patience
        self._connections = connections
        self._listener: socket.socket
        self._url: str
        self._server: _Server
        self._thread: threading.Thread
        self.store: Store

    @property
    def url(self) -> str:
        """The base URL, such as `http://127.0.0.1:4318`; OTLP goes to `/v1/traces` and `/v1/logs` below it."""
        return self._url

    def report(self) -> Report:
        """The answers to all questions, as `render` and `GET /api/report` show them."""
        return self.store.report()

    def stop(self) -> None:
        """Ask the server to end, without waiting; safe in a signal handler."""
        self._server.should_exit = True

    def wait(self) -> None:
        """Wait until the server has ended."""
        # In steps, for an endless wait keeps Ctrl-C from being seen on Windows.
        while self._thread.is_alive():
            self._thread.join(1.0)

    def __enter__(self) -> Self:
        listener = _listen(*self._address)
        try:
            self.store = Store(self._path)
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        host, port = listener.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server = _Server(
            uvicorn.Config(
                app.build(self.store, self._limit, self._patience),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                limit_concurrency=self._connections,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._run, name="automagik-collector", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.wait()
        self.store.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        finally:
            self._server.ready.set()


class _Server(uvicorn.Server):
    """uvicorn's server, which also says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _listen(host: str, port: int) -> socket.socket:
    family, _kind, _protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # asyncio switches off Nagle's delay, 40 ms for each small answer, only where the socket names its protocol.
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
