"""The langwatch sink: full traces, to the user's own LangWatch project, as OTLP over HTTP.

httpx sends them. If the application has imported LangWatch's SDK, or logging.yaml enables it, the SDK's HTTP client and
headers are used. The SDK is never set up, and no tracer provider is touched.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from automagik_telemetry._version import __version__
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import decision
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import DEFAULT_LANGWATCH, OFF, Secret, Settings

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.export._contract import Permission
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.handlers.formatter import ChainFormatter

__all__ = ["TraceHandler", "langwatch_handler"]

PATH = "/api/otel/v1/traces"
_MEGABYTE = 1024 * 1024
# The first name is of the integration guide, unknown to LangWatch's server; the second is of its older protocol.
_MEANING_THE_SAME = ("/api/v1/traces", "/api/collector", PATH, "/api/otel")


class TraceHandler(BatchQueueHandler):
    """A sink that takes whole traces, and leaves every other record alone wherever it is attached.

    Args:
        name: The name of the sink, such as "langwatch".
        **parts: See `BatchQueueHandler`.
    """

    for_traces = True

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.recorded: Callable[[], Mapping[str, int]] = dict

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if it is a trace."""
        return "spans" in record.__dict__ and super().handle(record)

    def warm_up(self) -> None:
        """Start the worker while a trace is open, so that it can be sent as soon as it ends."""
        if self.level < OFF:
            with contextlib.suppress(Exception):
                (self._pipeline or self._start()).worker.start()


def langwatch_handler(
    endpoint: str | None = None,
    service_name: str | None = None,
    service_version: str | None = None,
    *,
    durable: bool = True,
    sdk: bool | None = None,
) -> TraceHandler:
    """Return the handler of the langwatch sink. Nothing is opened before the first trace.

    Args:
        endpoint: The base URL of LangWatch, or the URL of its traces. The variable LANGWATCH_ENDPOINT goes first.
        service_name: The name of the application that sends. See `telemetry_handler`.
        service_version: The version of the application. See `telemetry_handler`.
        durable: Whether queued traces are kept in files that only the user can read, for a day at most. With False
            they are in memory, and end with their process. The default is True.
        sdk: Whether the HTTP client of LangWatch's SDK sends the traces. By default, if the application has imported
            it.

    Returns:
        The handler. It needs a `ChainFormatter` that ends in `LangWatchTrace`.

    Raises:
        TypeError: An argument is not a str.
        ValueError: The endpoint is not an http or https URL without credentials, or the name or version is empty, too
            long, or not printable.
    """
    sender = application.of_handler(service_name=service_name, service_version=service_version, endpoint=endpoint)
    return _handler(sender, durable=durable, sdk=sdk)


def _handler(sender: Application, *, durable: bool, sdk: bool | None) -> TraceHandler:
    endpoint = sender.endpoint

    def verify(chain: ChainFormatter) -> None:
        if chain.signal != "traces":
            raise ValueError("LangWatch takes traces; the chain's last processor must be LangWatchTrace")

    def build(_chain: ChainFormatter, stats: DeliveryStats, permitted: Callable[[], Permission]) -> Pipeline:
        settings = Settings.from_environ()
        service = {"service.name": sender.name(settings), "service.version": sender.version(settings)}
        url = traces_url(_base(endpoint))

        def recorded() -> dict[str, int]:
            return {name: count for name, count in handler.recorded().items() if not name.startswith("open_")}

        return _build(url, service, stats, permitted, durable=durable, sdk=sdk, recorded=recorded)

    handler = TraceHandler(
        "langwatch",
        consent=lambda: decision.decide_sink("langwatch", Settings.from_environ()),
        verify=verify,
        pipeline=build,
    )

    def of_application(name: str, folder: str) -> BatchQueueHandler | None:
        from automagik_telemetry.export._spool import spool_directory

        settings = Settings.from_environ()
        parts = _destination(settings, traces_url(_base(endpoint)), name)
        if folder != spool_directory(identity.state_directory(settings.state_dir), *parts, for_traces=True):
            return None
        other = _handler(sender.stating(service_name=name), durable=durable, sdk=sdk)
        other.setFormatter(handler.chain)
        return other

    handler.of_application = of_application
    return handler


def traces_url(endpoint: str) -> str:
    """Return the URL that traces are posted to: `endpoint` is LangWatch's base URL, or the URL of its traces."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    base = next((path.removesuffix(tail) for tail in _MEANING_THE_SAME if path.endswith(tail)), path)
    return parts._replace(path=base + PATH).geturl()


def _destination(settings: Settings, url: str, application: str) -> tuple[str, ...]:
    """Return the parts that identify a destination. A key identifies a project."""
    key = settings.langwatch_api_key or Secret("")
    return "langwatch", url, key.reveal(), application


def _base(configured: str | None) -> str:
    chosen = Settings.from_environ().langwatch_endpoint
    return configured if configured is not None and chosen == DEFAULT_LANGWATCH else chosen or DEFAULT_LANGWATCH


def _build(  # noqa: PLR0913 - everything known before the first event
    url: str,
    service: dict[str, str],
    stats: DeliveryStats,
    permitted: Callable[[], Permission],
    *,
    durable: bool,
    sdk: bool | None,
    recorded: Callable[[], Mapping[str, int]],
) -> Pipeline:
    """Return the parts that the handler needs from its first trace on."""
    # A process that never logs a trace must not import the exporter.
    from automagik_processors import envelope
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import MAX_TRACE_AGE, Limits
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._spool import open_spool
    from automagik_telemetry.sinks.langwatch._http import LangWatchExporter

    settings = Settings.from_environ()
    key = settings.langwatch_api_key or Secret("")
    resource = {
        **service,
        "telemetry.sdk.name": "automagik-telemetry",
        "telemetry.sdk.version": __version__,
        "telemetry.sdk.language": "python",
    }
    return Pipeline(
        envelope=Envelope(*envelope("traces", resource, "automagik_telemetry", __version__)),
        exporter=LangWatchExporter(url, key, settings.langwatch_project_id, sdk=sdk),
        stats=stats,
        limits=Limits(
            max_queue_size=settings.max_queue_size,
            max_export_batch_size=settings.batch_size,
            schedule_delay=0.0,
            export_timeout=settings.export_timeout,
            max_event_bytes=4 * _MEGABYTE,
            max_export_batch_bytes=8 * _MEGABYTE,  # LangWatch takes 10 in one request, before and after compression
            segment_bytes=_MEGABYTE // 4,
            max_segment_bytes=4 * _MEGABYTE + 64 * 1024,  # the largest trace, and the text before and after it
            max_disk_bytes=16 * _MEGABYTE,
            max_memory_bytes=16 * _MEGABYTE,
            max_age=MAX_TRACE_AGE,
        ),
        spool=open_spool(
            identity.state_directory(settings.state_dir),
            *_destination(settings, url, service["service.name"]),
            for_traces=True,
            application=service["service.name"],
        ),
        durable=durable,
        allowed=permitted,
        recorded=recorded,
    )
