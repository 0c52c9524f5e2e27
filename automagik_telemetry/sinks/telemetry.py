"""The telemetry sink: anonymous usage, to the configured OTLP endpoint, as far as the user allows."""

from __future__ import annotations

import hashlib
import os
import platform
from typing import TYPE_CHECKING

from automagik_processors import OTLPLogRecord, OTLPSpan, envelope

from automagik_telemetry import consent, identity
from automagik_telemetry.delivery.handler import BatchQueueHandler
from automagik_telemetry.delivery.limits import Limits
from automagik_telemetry.delivery.pipeline import Pipeline
from automagik_telemetry.delivery.segment import Envelope
from automagik_telemetry.delivery.spool import Spool
from automagik_telemetry.private_files import private_directory
from automagik_telemetry.settings import Settings, check_endpoint
from automagik_telemetry.sinks.endpoint import signal_of, url_for
from automagik_telemetry.sinks.otlp_http import OTLPHTTPExporter
from automagik_telemetry.version import __version__

if TYPE_CHECKING:
    from automagik_telemetry.delivery.chain import ChainFormatter
    from automagik_telemetry.delivery.ledger import Ledger


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

    def build(chain: ChainFormatter, ledger: Ledger) -> Pipeline:
        settings = Settings.from_environ()
        url = destination(chain)
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
            envelope=Envelope(*envelope(chain.signal, resource, "automagik_telemetry", __version__)),
            exporter=OTLPHTTPExporter(url),
            ledger=ledger,
            limits=Limits(
                max_queue_size=settings.max_queue_size,
                max_export_batch_size=settings.batch_size,
                schedule_delay=settings.schedule_delay,
                export_timeout=settings.export_timeout,
            ),
            spool=_spool(directory, "telemetry", url),
            allowed=lambda: consent.decide_telemetry(Settings.from_environ()).given,
        )

    return BatchQueueHandler(
        "telemetry",
        strictest=lambda: consent.decide_telemetry(Settings.from_environ()).level,
        verify=destination,
        pipeline=build,
    )


def otlp(prefix: str = "event.", endpoint: str | None = None) -> OTLPSpan | OTLPLogRecord:
    """Return the last processor of the telemetry chain: log records for an endpoint that ends in /v1/logs, else spans."""
    kind = OTLPLogRecord if signal_of(_endpoint(Settings.from_environ(), endpoint)) == "logs" else OTLPSpan
    return kind(prefix, attributes=_system())


def _endpoint(settings: Settings, configured: str | None) -> str:
    if configured is not None and "AUTOMAGIK_TELEMETRY_ENDPOINT" not in os.environ:
        return configured
    return settings.telemetry_endpoint or ""


def _system() -> dict[str, str]:
    """Return what the format wants to know of the machine; none of it tells one from another."""
    return {
        "system.os": platform.system(),
        "system.python_version": platform.python_version(),
        "system.architecture": platform.machine(),
    }


def _spool(state_directory: str, sink: str, url: str, key: str = "") -> Spool | None:
    """Return the folder of one destination, so that none ships what is another's; None where there can't be one."""
    destination = hashlib.sha256("\n".join((sink, url, key)).encode()).hexdigest()[:16]
    try:
        private_directory(state_directory)
        return Spool(os.path.join(state_directory, "queue", destination))
    except OSError:
        return None
