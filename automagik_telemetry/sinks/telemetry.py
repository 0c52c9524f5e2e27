"""The telemetry sink: anonymous usage to the configured OTLP endpoint, up to the level that the user allows."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import structlog

from automagik_telemetry._fork_lock import importing
from automagik_telemetry._version import __version__
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _identity as identities
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _records as records
from automagik_telemetry.consent import decision
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.events._allowlist import for_application
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import OFF, Settings, without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping

    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.consent._identity import Identity
    from automagik_telemetry.export._contract import Exporter, Permission
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.handlers.formatter import ChainFormatter

__all__ = ["telemetry_handler"]

_LOCAL_EXIT_TIMEOUT = 1.0
"""Seconds that the end of the process may wait until events are recorded that are not sent."""


def telemetry_handler(
    endpoint: str | None = None,
    service_name: str | None = None,
    service_version: str | None = None,
    organization: str | None = None,
    identity: Literal["random", "none"] | None = None,
) -> BatchQueueHandler:
    """Return the handler of the telemetry sink. Nothing is opened before the first event.

    Arguments of `configure()` come before those of this function, and these before the variables of the environment.

    Args:
        endpoint: The URL to send to: a base URL, or one that ends in /v1/traces or /v1/logs. The variable
            AUTOMAGIK_TELEMETRY_ENDPOINT goes first. Automagik Agents have a default; any other application has none,
            and its sink is off.
        service_name: The name of the application that sends. By default that of AUTOMAGIK_SERVICE_NAME or
            OTEL_SERVICE_NAME, else "automagik-agents".
        service_version: The version of the application. By default that of AUTOMAGIK_SERVICE_VERSION or
            OTEL_RESOURCE_ATTRIBUTES, else of the distribution whose module called `configure()`, else "unknown".
        organization: The organization that the application belongs to. By default none, except for Automagik Agents.
        identity: With "none", no ID of the installation or of the process is sent, and none is made. By default
            "random", unless the variable AUTOMAGIK_TELEMETRY_IDENTITY is none.

    Returns:
        The handler. It needs a `ChainFormatter`.

    Raises:
        TypeError: An argument is not a str.
        ValueError: The endpoint is not an http or https URL without credentials, or another argument is empty, too
            long, or not printable.
    """
    sender = application.of_handler(
        service_name=service_name,
        service_version=service_version,
        organization=organization,
        endpoint=endpoint,
        identity=identity,
    )
    for_application(sender.name(Settings.from_environ()))
    return _handler(sender, is_own=True)


def _handler(sender: Application, *, is_own: bool) -> BatchQueueHandler:
    """Return the handler of this application, or of another one whose queued events are to be sent."""

    def destination(chain: ChainFormatter) -> str | None:
        url = sender.url(Settings.from_environ())
        return None if url is None else url_for(url, chain.signal)

    created_in = os.getpid()
    sends = False

    def build(chain: ChainFormatter, stats: DeliveryStats, permitted: Callable[[], Permission]) -> Pipeline:
        def recorded() -> dict[str, int]:
            return {"hashed": _hashed_by(chain) - before}

        def health(counts: Mapping[str, int]) -> bytes | None:
            return _health(chain, handler.level, counts)

        before = 0 if os.getpid() == created_in else _hashed_by(chain)  # by the parent process
        # A sink that is on keeps its identity, even if consent can't be determined at this moment.
        identify = identities.of if handler.level >= OFF else identities.stored
        own = identify(sender, Settings.from_environ())
        made = _build(chain, destination(chain), sender, stats, permitted, own=own, recorded=recorded, health=health)
        nonlocal sends
        sends = sends or (made.sends and made.worker.exporter.url != "")
        if is_own:
            _remember_events(handler, chain, made.spool)
        return made

    # A queue that can send does not become one that only prints or records: what it holds is deleted.
    handler = BatchQueueHandler(
        "telemetry",
        consent=lambda: _consent(sender, sends=sends),
        verify=destination,
        pipeline=build,
    )
    handler.sender = sender
    handler.endpoint = lambda: sender.url(Settings.from_environ())
    handler.obstacle = lambda: sender.obstacle(Settings.from_environ())
    handler.on_first = partial(_close_allowlist, handler)
    handler.on_dropped = partial(_report_dropped, handler)
    if is_own:  # another one has the chain of the first, with which it encodes nothing
        handler.hash_key = lambda: identities.of(sender, Settings.from_environ()).hash_key

    def of_application(name: str, folder: str) -> BatchQueueHandler | None:
        from automagik_telemetry.export._spool import spool_directory

        settings = Settings.from_environ()
        state = identities.state_directory(settings.state_dir)
        # What the application recorded itself has its name in the scope of consent, and its endpoint.
        recorded = [each.sender for each in records.read(settings) if name in {each.name, *each.services}]
        for candidate in (*recorded, sender.stating(service_name=name)):
            url = candidate.url(settings)
            with contextlib.suppress(ValueError):  # an endpoint for the other signal
                if url and folder == spool_directory(state, "telemetry", url_for(url, handler.chain.signal), name):
                    other = _handler(candidate._replace(service=name), is_own=False)
                    other.setFormatter(handler.chain)
                    return other if other.obstacle() is None else None
        return None

    handler.of_application = of_application
    return handler


def _consent(sender: Application, *, sends: bool) -> decision.Consent:
    """Return the consent that applies to an application, or OFF if it can't send. `sends` is true if it has a queue."""
    settings = Settings.from_environ()
    if not sends and _prints_only(sender, settings):
        level = settings.telemetry_level
        level = decision.DEFAULT_LEVEL if level is None or level >= OFF else level
        return decision.Consent(level, "development mode")
    if reason := sender.obstacle(settings):
        return decision.Consent(OFF, reason)
    consent = decision.decide_telemetry(settings, sender=sender)
    return consent._replace(level=OFF, refused="everywhere") if sends and consent.local else consent


def _prints_only(sender: Application, settings: Settings) -> bool:
    """Return whether events are printed and not sent, in development mode."""
    if not application.debug_mode(settings):
        return False
    return decision.prints_only(settings, sender) or sender.obstacle(settings) is not None


def _close_allowlist(handler: BatchQueueHandler, name: object) -> bool:
    """Close the allowlist if this is the name of an event, and not another message; return whether it is."""
    # Only a process that records events imports this.
    from automagik_telemetry.events import _names as names
    from automagik_telemetry.events._drop_log import logged_name

    declared = _declared(handler.chain)
    event = logged_name(name)
    is_event = declared is None or (event is not None and event in declared)
    if is_event:
        names.close()
    return is_event


def _report_dropped(handler: BatchQueueHandler, name: object, reason: str, logger: str | None) -> None:
    """Report an event that is not sent, on our own logger at DEBUG and in development mode."""
    # Only a process that drops an event needs these.
    with importing:
        from automagik_telemetry.events._debug import printer
        from automagik_telemetry.events._drop_log import DropLog
        from automagik_telemetry.events._registry import CATALOGUE

    log = DropLog(CATALOGUE)
    shown = printer() if application.debug_mode(Settings.from_environ()) else None

    def report(name: object, reason: str, logger: str | None) -> None:
        if reason == "unknown_event":
            log.unknown(name)
        if shown is not None:
            shown.dropped(name, reason, logger or "structlog", logging.getLevelName(handler.level))

    handler.on_dropped = report
    report(name, reason, logger)


def _declared(chain: ChainFormatter) -> Collection[str] | None:
    """Return the names that a chain sends, later ones included; None if it sends any name."""
    from automagik_processors import Anonymize

    return next((step.declared for step in chain.processors if isinstance(step, Anonymize)), None)


def _remember_events(handler: BatchQueueHandler, chain: ChainFormatter, spool: Spool | None) -> None:
    """Keep the names of the application's own events on disk, now and after each registration, for our commands."""
    # A process that sends nothing must not import this.
    from automagik_telemetry.events._registry import call_when_registered, own_names

    names = _declared(chain)

    def remember() -> None:
        is_used = handler.level < OFF and not handler.is_replaced and preferences.simulated is None
        if is_used and spool is not None and names is not None:
            spool.remember_events(own_names(names))

    if spool is not None and names is not None:
        call_when_registered(spool.directory, remember)


def _hashed_by(chain: ChainFormatter) -> int:
    """Return the number of strings that the chain has replaced by a hash."""
    from automagik_processors import Anonymize

    return sum(step.hashed for step in chain.processors if isinstance(step, Anonymize))


def _health(chain: ChainFormatter, level: int, counts: Mapping[str, Any]) -> bytes | None:
    """Return the encoded event of the client's health; None if it is above the level, or the chain drops it."""
    with importing:
        from automagik_telemetry.events.catalogue import HealthEvent

    event = HealthEvent(**counts)
    if event.severity() >= level:
        with contextlib.suppress(Exception, structlog.DropEvent):
            return chain.encode_event(event.name, event.severity(), time.time(), event.as_fields())
    return None


def _build(  # noqa: PLR0913 - everything known before the first event
    chain: ChainFormatter,
    url: str | None,
    sender: Application,
    stats: DeliveryStats,
    permitted: Callable[[], Permission],
    *,
    own: Identity,
    recorded: Callable[[], Mapping[str, int]],
    health: Callable[[Mapping[str, int]], bytes | None],
) -> Pipeline:
    """Return the parts that the handler needs from its first event on."""
    # A process that never logs an event must not import the exporter.
    from automagik_processors import envelope
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Limits
    from automagik_telemetry.export._history import History, RecordingExporter
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export._spool import open_spool
    from automagik_telemetry.export.http._exporter import OTLPHTTPExporter

    settings = Settings.from_environ()
    if url is None or _prints_only(sender, settings):
        return _print_only(chain, stats)
    kind = _printing() if application.debug_mode(settings) else Pipeline
    is_local = decision.decide_telemetry(settings, sender=sender).local
    directory = identities.state_directory(settings.state_dir)
    name = sender.name(settings)
    scope = sender.scope(settings) or Scope(name, "")
    resource = {
        **sender.resource(settings),
        **({"user.id": own.anonymous_id, "session.id": own.session_id} if sender.has_id(settings) else {}),
        "telemetry.sdk.name": "automagik-telemetry",
        "telemetry.sdk.version": __version__,
        "telemetry.sdk.language": "python",
    }
    spool = None if is_local else open_spool(directory, "telemetry", url, name, application=name)
    names = _declared(chain)

    def declared() -> Container[str] | None:
        """Return the names that the application may have queued; None if its chain sends any name."""
        return names if names is None or spool is None else {*names, *spool.remembered_events()}

    exporter: Exporter | None = None if is_local else OTLPHTTPExporter(url)
    if exporter is None or preferences.simulated is None:
        exporter = RecordingExporter(History(directory, scope), exporter)
    return kind(
        envelope=Envelope(*envelope(chain.signal, resource, "automagik_telemetry", __version__)),
        exporter=exporter,
        stats=stats,
        limits=Limits(
            max_queue_size=settings.max_queue_size,
            max_export_batch_size=settings.batch_size,
            schedule_delay=settings.schedule_delay,
            export_timeout=settings.export_timeout,
            exit_timeout=_LOCAL_EXIT_TIMEOUT if is_local else Limits().exit_timeout,
        ),
        spool=spool,
        allowed=permitted,
        declared=declared,
        recorded=recorded,
        health=health,
    )


def _print_only(chain: ChainFormatter, stats: DeliveryStats) -> Pipeline:
    """Return a pipeline that prints events."""
    from automagik_processors import envelope
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Limits
    from automagik_telemetry.sinks._printing import NoExporter, PrintOnlyPipeline

    head_and_tail = Envelope(*envelope(chain.signal, {}, "automagik_telemetry", __version__))
    return PrintOnlyPipeline(envelope=head_and_tail, exporter=NoExporter(), stats=stats, limits=Limits(), spool=None)


def _printing() -> type[Pipeline]:
    """Return the pipeline that prints and sends events."""
    from automagik_telemetry.sinks._printing import PrintingPipeline

    return PrintingPipeline


def configured_endpoint(settings: Settings, configured: str | None) -> str:
    """Return the endpoint of an application whose handler has the `configured` one; "" if there is none."""
    return application.of_handler(endpoint=configured).url(settings) or ""


Signal = Literal["traces", "logs"]


def signal_of(endpoint: str) -> Signal:
    """Return the signal of an endpoint: logs if its path ends in /v1/logs, else traces."""
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
                shown = without_credentials(endpoint)
                raise ValueError(f"endpoint: {shown} takes {named}, but the chain's last processor makes {signal}")
            return endpoint
    return parts._replace(path=f"{path}/v1/{signal}").geturl()
