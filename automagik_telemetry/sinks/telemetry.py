"""The telemetry sink: anonymous usage, to the configured OTLP endpoint, as far as the user allows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from automagik_telemetry._version import __version__
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import decision
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import Settings, check_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.handlers.formatter import ChainFormatter


def telemetry_handler(
    endpoint: str | None = None, service_name: str = "automagik-agents", service_version: str = "unknown"
) -> BatchQueueHandler:
    """Return the handler of the telemetry sink.

    `endpoint` is where to send if AUTOMAGIK_TELEMETRY_ENDPOINT does not say; the service is the application that sends.
    Raises ValueError for an endpoint that is no usable URL. Nothing is opened before the first event.
    """
    if endpoint is not None:
        try:
            check_endpoint(endpoint)
        except ValueError as error:
            raise ValueError(f"endpoint: {endpoint!r} is not {error}") from None

    def destination(chain: ChainFormatter) -> str:
        return url_for(configured_endpoint(Settings.from_environ(), endpoint), chain.signal)

    def build(chain: ChainFormatter, stats: DeliveryStats, permitted: Callable[[], bool]) -> Pipeline:
        return _build(chain.signal, destination(chain), service_name, service_version, stats, permitted)

    return BatchQueueHandler(
        "telemetry",
        strictest=lambda: decision.decide_telemetry(Settings.from_environ()).level,
        verify=destination,
        pipeline=build,
    )


def _build(  # noqa: PLR0913, PLR0917 - what is known before the first event
    signal: Signal,
    url: str,
    service_name: str,
    service_version: str,
    stats: DeliveryStats,
    permitted: Callable[[], bool],
) -> Pipeline:
    """Return what the handler needs from its first event on."""
    # A process that never logs an event need not import the machinery.
    from automagik_processors import envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.export._body import Envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.export._contract import Limits  # noqa: PLC0415 - see above
    from automagik_telemetry.export._pipeline import Pipeline  # noqa: PLC0415 - see above
    from automagik_telemetry.export._spool import open_spool  # noqa: PLC0415 - see above
    from automagik_telemetry.export.http._exporter import OTLPHTTPExporter  # noqa: PLC0415 - see above

    settings = Settings.from_environ()
    directory = identity.state_directory(settings.state_dir)
    resource = {
        "service.name": service_name,
        "service.version": service_version,
        "service.organization": "namastex",
        "user.id": identity.anonymous_id(directory),
        "session.id": identity.session_id(),
        "telemetry.sdk.name": "automagik-telemetry",
        "telemetry.sdk.version": __version__,
    }
    return Pipeline(
        envelope=Envelope(*envelope(signal, resource, "automagik_telemetry", __version__)),
        exporter=OTLPHTTPExporter(url),
        stats=stats,
        limits=Limits(
            max_queue_size=settings.max_queue_size,
            max_export_batch_size=settings.batch_size,
            schedule_delay=settings.schedule_delay,
            export_timeout=settings.export_timeout,
        ),
        spool=open_spool(directory, "telemetry", url),
        allowed=permitted,
    )


def configured_endpoint(settings: Settings, configured: str | None) -> str:
    """Return the endpoint of the environment, else the `configured` one, else the default."""
    if configured is not None and not os.environ.get("AUTOMAGIK_TELEMETRY_ENDPOINT", "").strip():
        return configured
    return settings.telemetry_endpoint or ""


Signal = Literal["traces", "logs"]


def signal_of(endpoint: str) -> Signal:
    """Return which signal an endpoint takes: logs if its path ends in /v1/logs, else traces."""
    return "logs" if urlsplit(endpoint).path.rstrip("/").endswith("/v1/logs") else "traces"


def url_for(endpoint: str, signal: Signal) -> str:
    """Return the URL to post `signal` to: a base URL gets the signal's path (OTLP exporter specification).

    Raises ValueError if the endpoint is for the other signal.
    """
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    for named in ("traces", "logs"):
        if path.endswith(f"/v1/{named}"):
            if named != signal:
                raise ValueError(f"endpoint: {endpoint} takes {named}, but the chain's last processor makes {signal}")
            return endpoint
    return parts._replace(path=f"{path}/v1/{signal}").geturl()
