"""A real receiver, an environment that opts in to it, and a process whose logging is as before each test."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_telemetry import _log, manager, settings
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.events import _allowlist, _entry_points, _registry
from automagik_telemetry.events import _names as names
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.tracing import spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Receiver:
    """An OTLP endpoint that accepts everything and keeps it: `requests` are (path, headers, decoded body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer, in two writes, would take 40 ms

            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[dict[str, Any]]:
        """Return every span received."""
        return [
            span
            for _, _, body in self.requests
            for resource in body.get("resourceSpans", [])
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def records(self) -> list[dict[str, Any]]:
        """Return every log record received."""
        return [
            record
            for _, _, body in self.requests
            for resource in body.get("resourceLogs", [])
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]


def fields(event: dict[str, Any]) -> dict[str, Any]:
    """Return a span's or record's attributes as a plain dict."""
    plain: dict[str, Any] = {}
    for attribute in event["attributes"]:
        ((kind, value),) = attribute["value"].items()
        plain[attribute["key"]] = int(value) if kind == "intValue" else value
    return plain


@pytest.fixture(name="fields")
def _fields() -> Any:
    return fields


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running receiver."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


@pytest.fixture
def opted_in(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Receiver:
    """Opt in to telemetry, from a test run too, towards the receiver."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", receiver.url)
    return receiver


@pytest.fixture
def flush() -> Callable[[], None]:
    """Send all queued events, and check that they were sent."""

    def send_all() -> None:
        assert manager.get_tracing_manager().flush(10)

    return send_all


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """Restore the process's logging, structlog and our singletons."""
    restore_words, restore_events = _allowlist.snapshot(), _registry.snapshot()
    callbacks = dict(_registry._callbacks)
    root = logging.getLogger()
    before = list(root.handlers), root.level
    manager._manager, manager._retry_at = None, 0.0  # a thread that an earlier test left may have made one since
    yield
    for sink in loggers.sinks().values():
        sink.close()
    spans.record_with(None)
    loggers.detach()
    manager._retry_at = 0.0
    manager._noted.clear()
    for name in (loggers.LOGGER, *loggers.OWN_LOGGERS, "automagik.agents"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.filters.clear()
        logger.propagate = True
        logger.disabled = False
        logger.setLevel(logging.NOTSET)
    root.handlers[:], root.level = before
    logging.getLogger("automagik_telemetry").disabled = False
    manager._manager = None
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    restore_words()
    restore_events()
    _registry._callbacks.clear()
    _registry._callbacks.update(callbacks)
    names.reopen()
    names._names.sources.clear()
    application.give(application.Given())
    _entry_points._loaded.clear()
    for cached in (settings._warn_once, _log.warn_once):
        cached.cache_clear()
    identity.forget()


@pytest.fixture
def to_langwatch(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Receiver:
    """Opt in to full traces towards the receiver, and to nothing else; every trace is kept."""
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-key")
    monkeypatch.setenv("LANGWATCH_ENDPOINT", receiver.url)
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "1.0")
    return receiver
