"""The langwatch sink: full traces, to the user's own LangWatch project, as OTLP over HTTP.

httpx alone carries them. Where the application has imported LangWatch's SDK, or logging.yaml asks for it, the SDK's
HTTP client and headers do; it is never set up, and no tracer provider is touched.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from automagik_telemetry._version import __version__
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import decision
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import DEFAULT_LANGWATCH, OFF, Secret, Settings, check_endpoint

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.handlers.formatter import ChainFormatter

PATH = "/api/otel/v1/traces"
_MEGABYTE = 1024 * 1024
# The first is the guide's, which LangWatch's server does not know; the second is of its older protocol.
_MEANING_THE_SAME = ("/api/v1/traces", "/api/collector", PATH, "/api/otel")


class TraceHandler(BatchQueueHandler):
    """A sink that takes whole traces, and leaves every other record alone wherever it is attached.

    `recorded` returns the counts of what was recorded, cut or sampled out, which are kept with the sink's stats.
    """

    for_traces = True

    def __init__(self, name: str, **parts: Any) -> None:  # noqa: ANN401 - see BatchQueueHandler
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
    service_name: str = "automagik-agents",
    service_version: str = "unknown",
    *,
    durable: bool = False,
    sdk: bool | None = None,
) -> TraceHandler:
    """Return the handler of the langwatch sink.

    `endpoint` is where LangWatch is if LANGWATCH_ENDPOINT does not say; the service is the application that sends. What
    waits to be sent is in memory only, unless `durable`: then in files that only the user can read. `sdk` says whether
    LangWatch's SDK sends it; None if the application has imported it. Raises ValueError for an endpoint that is no
    usable URL. Nothing is opened before the first trace.
    """
    if endpoint is not None:
        try:
            check_endpoint(endpoint)
        except ValueError as error:
            raise ValueError(f"endpoint: {endpoint!r} is not {error}") from None

    def verify(chain: ChainFormatter) -> None:
        if chain.signal != "traces":
            raise ValueError("LangWatch takes traces; the chain's last processor must be LangWatchTrace")

    def build(_chain: ChainFormatter, stats: DeliveryStats, permitted: Callable[[], bool]) -> Pipeline:
        service = {"service.name": service_name, "service.version": service_version}
        url = traces_url(_base(endpoint))

        def recorded() -> dict[str, int]:
            return {name: count for name, count in handler.recorded().items() if not name.startswith("open_")}

        return _build(url, service, stats, permitted, durable=durable, sdk=sdk, recorded=recorded)

    handler = TraceHandler(
        "langwatch",
        strictest=lambda: decision.decide_langwatch(Settings.from_environ()).level,
        verify=verify,
        pipeline=build,
    )
    return handler


def traces_url(endpoint: str) -> str:
    """Return the URL that traces are posted to: `endpoint` is LangWatch's base URL, or one that names its traces."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    base = next((path.removesuffix(tail) for tail in _MEANING_THE_SAME if path.endswith(tail)), path)
    return parts._replace(path=base + PATH).geturl()


def _base(configured: str | None) -> str:
    chosen = Settings.from_environ().langwatch_endpoint
    return configured if configured is not None and chosen == DEFAULT_LANGWATCH else chosen or DEFAULT_LANGWATCH


def _build(  # noqa: PLR0913 - what is known before the first event
    url: str,
    service: dict[str, str],
    stats: DeliveryStats,
    permitted: Callable[[], bool],
    *,
    durable: bool,
    sdk: bool | None,
    recorded: Callable[[], Mapping[str, int]],
) -> Pipeline:
    """Return what the handler needs from its first trace on."""
    # A process that never logs a trace need not import the machinery.
    from automagik_processors import envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.export._body import Envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.export._contract import Limits  # noqa: PLC0415 - see above
    from automagik_telemetry.export._pipeline import Pipeline  # noqa: PLC0415 - see above
    from automagik_telemetry.export._spool import open_spool  # noqa: PLC0415 - see above
    from automagik_telemetry.sinks.langwatch._http import LangWatchExporter  # noqa: PLC0415 - see above

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
            schedule_delay=min(settings.schedule_delay, 1.0),
            export_timeout=settings.export_timeout,
            max_event_bytes=4 * _MEGABYTE,
            max_export_batch_bytes=8 * _MEGABYTE,  # LangWatch takes 10 in one request, before and after compression
            segment_bytes=8 * _MEGABYTE,
            max_disk_bytes=64 * _MEGABYTE,
            max_memory_bytes=64 * _MEGABYTE,
        ),
        spool=open_spool(identity.state_directory(settings.state_dir), "langwatch", url, key.reveal()),
        durable=durable,
        allowed=permitted,
        recorded=recorded,
    )
