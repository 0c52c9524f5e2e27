"""Every client that is measured, in a few lines each: how an event is logged with it, and how all are delivered.

A client imports what it needs when it is made, so that one that is not installed hinders no other.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

Fields = dict[str, Any]

NAME = "agent.run"
_LARGE = 2_000_000


def events(count: int = 1_000) -> list[Fields]:
    """Return the guide's agent run with its eight attributes, `count` times with other numbers."""
    numbers = random.Random(7)
    return [
        {
            "agent_name": "simple",
            "framework": "pydantic_ai",
            "success": True,
            "duration_ms": numbers.lognormvariate(7, 1),
            "has_multimodal": False,
            "token_count": int(numbers.lognormvariate(7, 1)),
            "anonymous_id": "6a0ffe66-2c5d-4c3a-9d0c-0d5a4b8e3f10",
            "session_id": "0f6a5a52-8f7a-4b66-8f4e-3a4c0f4a7a11",
        }
        for _ in range(count)
    ]


class Client(NamedTuple):
    """`log` takes the fields of one event; `deliver` returns when all that it ever delivers is delivered."""

    log: Callable[[Fields], object]
    deliver: Callable[[], object] = lambda: None


def _by_logging(logger: logging.Logger) -> Callable[[Fields], object]:
    return lambda fields: logger.info(NAME, extra=fields)


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("bench", logging.INFO)
    logger.addHandler(handler)
    return logger


# The floors: what logging costs without us.


def disabled(_url: str) -> Client:
    """Return a logger whose level is above the event's."""
    return Client(_by_logging(logging.Logger("bench", logging.WARNING)))


def noop(_url: str) -> Client:
    """Return a logger with a handler that does nothing."""

    class Nothing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pass

    return Client(_by_logging(_logger(Nothing())))


def queue_listener(_url: str) -> Client:
    """Return the standard library's queue and listener, which write a line to a file."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    file = logging.FileHandler(os.devnull)
    listener = logging.handlers.QueueListener(waiting, file)
    listener.start()

    def deliver() -> None:
        listener.stop()
        listener.start()

    return Client(_by_logging(_logger(logging.handlers.QueueHandler(waiting))), deliver)


# Ours, by the three ways in.


def _manager(url: str) -> Any:
    os.environ |= {"AUTOMAGIK_TELEMETRY_ENDPOINT": url, "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true"}
    os.environ.setdefault("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    import automagik_telemetry

    return automagik_telemetry.configure()


def ours(url: str) -> Client:
    """Return the standard logger, with everything at its default."""
    manager = _manager(url)
    return Client(_by_logging(logging.getLogger("automagik.agents")), manager.flush)


def ours_structlog(url: str) -> Client:
    """Return structlog as `configure` sets it up."""
    manager = _manager(url)
    import structlog

    log = structlog.get_logger("automagik.agents").bind()
    return Client(lambda fields: log.info(NAME, **fields), manager.flush)


def ours_track_event(url: str) -> Client:
    """Return the facade's call."""
    manager = _manager(url)
    from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent

    track = manager.telemetry.track_event
    return Client(lambda fields: track(AgentExecutionEvent(**fields)), manager.flush)


def ours_off(url: str) -> Client:
    """Return the standard logger of a user who did not opt in."""
    os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "false"
    return ours(url)


def ours_below(url: str) -> Client:
    """Return the standard logger for events below the level."""
    manager = _manager(url)
    logger = logging.getLogger("automagik.agents")
    return Client(lambda fields: logger.debug(NAME, extra=fields), manager.flush)


def ours_langwatch(url: str) -> Client:
    """Return a span of ours for LangWatch, each a trace of its own, of which all are kept."""
    os.environ |= {"LANGWATCH_API_KEY": "none", "LANGWATCH_ENDPOINT": url, "AUTOMAGIK_SAMPLING_RATE": "1"}
    os.environ |= {"AUTOMAGIK_TRACES_PER_MINUTE": "1000000000", "AUTOMAGIK_TELEMETRY_ENABLED": "false"}
    manager = _manager(url)
    from automagik_telemetry.observability.recording import open_span

    return Client(lambda fields: open_span(NAME, "agent", attributes=fields).end(), manager.flush)


# The peers.


def _otel_logs(url: str, **limits: Any) -> Client:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs", compression=Compression.Gzip)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **limits))
    return Client(_by_logging(_logger(LoggingHandler(logger_provider=provider))), provider.force_flush)


def otel_logs(url: str) -> Client:
    """Return OpenTelemetry's handler with a queue that loses nothing."""
    return _otel_logs(url, max_queue_size=_LARGE)


def otel_logs_defaults(url: str) -> Client:
    """Return OpenTelemetry's handler with its own queue."""
    return _otel_logs(url)


def _otel_spans(url: str, **limits: Any) -> Client:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter, **limits))
    tracer = provider.get_tracer("bench")
    return Client(lambda fields: tracer.start_span(NAME, attributes=fields).end(), provider.force_flush)


def otel_spans(url: str) -> Client:
    """Return OpenTelemetry's tracer with a queue that loses nothing."""
    return _otel_spans(url, max_queue_size=_LARGE)


def otel_spans_defaults(url: str) -> Client:
    """Return OpenTelemetry's tracer with its own queue."""
    return _otel_spans(url)


def logfire(url: str) -> Client:
    """Return Pydantic Logfire, which builds on OpenTelemetry."""
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(_LARGE)
    import logfire as sdk

    options = sdk.AdvancedOptions(base_url=url)
    sdk.configure(token="none", console=False, advanced=options, inspect_arguments=False)  # noqa: S106 - there is none
    return Client(lambda fields: sdk.info(NAME, **fields), sdk.force_flush)


def sentry_logs(url: str) -> Client:
    """Return Sentry's structured logs."""
    import sentry_sdk
    from sentry_sdk import logger

    sentry_sdk.init(dsn=url.replace("//", "//none@") + "/1", enable_logs=True, default_integrations=False)
    return Client(lambda fields: logger.info(NAME, attributes=fields), lambda: sentry_sdk.flush(60))


def langwatch(url: str) -> Client:
    """Return a span of LangWatch's SDK."""
    import langwatch as sdk

    sdk.setup(api_key="none", endpoint_url=url)
    from opentelemetry import trace

    provider: Any = trace.get_tracer_provider()

    def log(fields: Fields) -> None:
        with sdk.trace(name=NAME, type="agent") as span:
            root: Any = span.root_span
            root.set_attributes(fields)

    return Client(log, provider.force_flush)


CLIENTS: dict[str, Callable[[str], Client]] = {
    client.__name__: client
    for client in (
        disabled,
        noop,
        queue_listener,
        ours,
        ours_structlog,
        ours_track_event,
        ours_langwatch,
        ours_off,
        ours_below,
        otel_logs,
        otel_logs_defaults,
        otel_spans,
        otel_spans_defaults,
        logfire,
        sentry_logs,
        langwatch,
    )
}

SILENT = ("disabled", "noop", "queue_listener", "ours_off", "ours_below")
"""Clients that send nothing, by their nature."""
