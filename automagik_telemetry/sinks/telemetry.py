"""The telemetry sink: anonymous usage, to the configured OTLP endpoint, as far as the user allows."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from automagik_telemetry._version import __version__
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import decision
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import Settings, check_endpoint
from automagik_telemetry.sinks._endpoint import Signal, signal_of, url_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_processors import OTLPLogRecord, OTLPSpan
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.handlers.formatter import ChainFormatter

_SYSTEMS = frozenset({"AIX", "Android", "Darwin", "FreeBSD", "Linux", "NetBSD", "OpenBSD", "SunOS", "Windows", "iOS"})
_MACHINES = frozenset(
    {"AMD64", "ARM64", "aarch64", "amd64", "arm64", "armv6l", "armv7l", "armv8l", "i386", "i686", "loongarch64"}
    | {"ppc64", "ppc64le", "riscv64", "s390x", "x86", "x86_64"}
)


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
        return url_for(_endpoint(Settings.from_environ(), endpoint), chain.signal)

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
    from automagik_telemetry.export._envelope import Envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.export._limits import Limits  # noqa: PLC0415 - see above
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


def otlp(prefix: str = "event.", endpoint: str | None = None) -> OTLPSpan | OTLPLogRecord:
    """Return the last processor of the telemetry chain: log records for an endpoint in /v1/logs, else spans."""
    from automagik_processors import OTLPLogRecord, OTLPSpan  # noqa: PLC0415 - a sink that is off has no chain

    kind = OTLPLogRecord if signal_of(_endpoint(Settings.from_environ(), endpoint)) == "logs" else OTLPSpan
    return kind(prefix, attributes=_system())


def _endpoint(settings: Settings, configured: str | None) -> str:
    if configured is not None and not os.environ.get("AUTOMAGIK_TELEMETRY_ENDPOINT", "").strip():
        return configured
    return settings.telemetry_endpoint or ""


def _system() -> dict[str, str]:
    """Return what the format wants to know of the machine; none of it tells one from another.

    `platform` reads environment variables on Windows, and a kernel or an interpreter that someone built says what its
    builder chose, so that only known names leave, and of the version the three numbers.
    """
    system, machine = platform.system(), platform.machine()
    return {
        "system.os": system if system in _SYSTEMS else "other",
        "system.python_version": ".".join(map(str, sys.version_info[:3])),
        "system.architecture": machine if machine in _MACHINES else "other",
    }
