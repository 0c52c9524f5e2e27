"""Every measured client in a few lines: how it logs one event, and how it delivers all of them.

A client imports its dependencies when it is created, so that a missing package affects no other client.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.events import NAME, Fields

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGE_QUEUE = 2_000_000


class Client(NamedTuple):
    """`log` takes the fields of one event; `deliver` returns when every event is delivered or dropped."""

    log: Callable[[Fields], object]
    deliver: Callable[[], object] = lambda: None


def _by_logging(logger: logging.Logger) -> Callable[[Fields], object]:
    return lambda fields: logger.info(NAME, extra=fields)


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("bench", logging.INFO)
    logger.addHandler(handler)
    return logger


# The baselines: what logging costs without this package.


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
    """Return the standard library's QueueHandler and QueueListener, which write one line to a file."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    file = logging.FileHandler(os.devnull)
    listener = logging.handlers.QueueListener(waiting, file)
    listener.start()

    def deliver() -> None:
        listener.stop()
        listener.start()

    return Client(_by_logging(_logger(logging.handlers.QueueHandler(waiting))), deliver)


# This package, by its three ways in.


def _manager(url: str) -> Any:
    os.environ |= {"AUTOMAGIK_TELEMETRY_ENDPOINT": url, "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true"}
    os.environ.setdefault("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    import automagik_telemetry

    return automagik_telemetry.configure()


def ours(url: str) -> Client:
    """Return the standard logger, with everything at its defaults."""
    manager = _manager(url)
    return Client(_by_logging(logging.getLogger("automagik.agents")), manager.flush)


def _structlog(*processors: Any) -> Callable[[Fields], object]:
    """Configure structlog as an application does, with a renderer that drops the event."""
    import structlog

    def drop(_logger: Any, _method_name: str, _event_dict: Any) -> Any:
        raise structlog.DropEvent

    chain = [structlog.contextvars.merge_contextvars, *processors, drop]
    structlog.configure(processors=chain, cache_logger_on_first_use=True)
    log = structlog.get_logger()
    return lambda fields: log.info(NAME, **fields)


def plain_structlog(_url: str) -> Client:
    """Return structlog with the chain `[merge_contextvars, a renderer that drops]`, without this package."""
    return Client(_structlog())


def ours_structlog(url: str) -> Client:
    """Return structlog with the chain `[merge_contextvars, emit_event, a renderer that drops]`."""
    from automagik_telemetry import emit_event

    log = _structlog(emit_event)
    return Client(log, _manager(url).flush)


def _structlog_defaults() -> Callable[[Fields], object]:
    """Leave structlog unconfigured: its PrintLogger prints to standard output, here os.devnull."""
    import structlog

    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it stays open until the process ends
    log = structlog.get_logger()
    return lambda fields: log.info(NAME, **fields)


def plain_structlog_defaults(_url: str) -> Client:
    """Return structlog with its defaults, printing to os.devnull, without this package."""
    return Client(_structlog_defaults())


def ours_structlog_defaults(url: str) -> Client:
    """Return structlog with its defaults, printing to os.devnull, after `configure()`."""
    log = _structlog_defaults()
    return Client(log, _manager(url).flush)


def ours_track_event(url: str) -> Client:
    """Return `track_event` of the telemetry facade."""
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
    """Return this package's span for LangWatch, each in its own trace, with every trace kept."""
    os.environ |= {"LANGWATCH_API_KEY": "none", "LANGWATCH_ENDPOINT": url, "AUTOMAGIK_SAMPLING_RATE": "1"}
    os.environ |= {"AUTOMAGIK_TRACES_PER_MINUTE": "1000000000", "AUTOMAGIK_TELEMETRY_ENABLED": "false"}
    manager = _manager(url)
    from automagik_telemetry.tracing.spans import open_span

    return Client(lambda fields: open_span(NAME, "agent", attributes=fields).end(), manager.flush)


# The other clients.


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
    """Return OpenTelemetry's handler with a queue large enough to drop nothing."""
    return _otel_logs(url, max_queue_size=_LARGE_QUEUE)


def otel_logs_defaults(url: str) -> Client:
    """Return OpenTelemetry's handler with its default queue."""
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
    """Return OpenTelemetry's tracer with a queue large enough to drop nothing."""
    return _otel_spans(url, max_queue_size=_LARGE_QUEUE)


def otel_spans_defaults(url: str) -> Client:
    """Return OpenTelemetry's tracer with its default queue."""
    return _otel_spans(url)


def logfire(url: str) -> Client:
    """Return Pydantic Logfire, which is built on OpenTelemetry."""
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(_LARGE_QUEUE)
    import logfire as sdk

    options = sdk.AdvancedOptions(base_url=url)
    sdk.configure(token="none", console=False, advanced=options, inspect_arguments=False)  # noqa: S106 - not a real token
    return Client(lambda fields: sdk.info(NAME, **fields), sdk.force_flush)


def sentry_logs(url: str) -> Client:
    """Return Sentry's structured logs."""
    import sentry_sdk
    from sentry_sdk import logger

    sentry_sdk.init(dsn=url.replace("//", "//none@") + "/1", enable_logs=True, default_integrations=False)
    return Client(lambda fields: logger.info(NAME, attributes=fields), lambda: sentry_sdk.flush(60))


def langwatch(url: str) -> Client:
    """Return the span of LangWatch's SDK, each in its own trace."""
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
        plain_structlog,
        plain_structlog_defaults,
        ours,
        ours_structlog,
        ours_structlog_defaults,
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

SILENT = (
    *("disabled", "noop", "queue_listener", "plain_structlog", "plain_structlog_defaults"),
    *("ours_off", "ours_below"),
)
"""Clients that send nothing by design."""
