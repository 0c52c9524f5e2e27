"""The langwatch sink: full traces, to the user's own LangWatch project, as OTLP over HTTP.

httpx alone carries them. Where the host has imported LangWatch's SDK, or logging.yaml asks for it, the SDK's HTTP
client and headers do; it is never set up, and no tracer provider is touched.
"""

from __future__ import annotations

import atexit
import contextlib
import weakref
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from automagik_telemetry import consent, identity
from automagik_telemetry.delivery.chain import ChainFormatter
from automagik_telemetry.delivery.envelope import SEPARATOR
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.handler import BatchQueueHandler
from automagik_telemetry.settings import DEFAULT_LANGWATCH, OFF, Secret, Settings, check_endpoint
from automagik_telemetry.sinks import langwatch_account
from automagik_telemetry.version import __version__

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from automagik_processors.langwatch_fused import FusedTrace
    from automagik_processors.open_trace import Decision, OpenSpan, OpenTrace
    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.pipeline import Pipeline

PATH = "/api/otel/v1/traces"
_MEGABYTE = 1024 * 1024
# The first is the guide's, which LangWatch's server does not know; the second is of its older protocol.
_MEANING_THE_SAME = ("/api/v1/traces", "/api/collector", PATH, "/api/otel")


class TraceHandler(BatchQueueHandler):
    """A sink that takes whole traces, and leaves every other record alone wherever it is attached.

    `recorded` returns the counts of what was recorded, cut and left out, which join the sink's own in the account that
    `status` reads.
    """

    for_traces = True

    def __init__(self, name: str, **parts: Any) -> None:  # noqa: ANN401 - see BatchQueueHandler
        super().__init__(name, **parts)
        self.recorded: Callable[[], Mapping[str, int]] = dict
        self._told: dict[str, Counter[str]] = {}
        self._fused: FusedTrace | None = None

    def take_trace(self, trace: OpenTrace, spans: Sequence[OpenSpan], ended: float, decision: Decision) -> bool:
        """Encode and queue a trace as it was collected; False if it has to be handled as a record."""
        if self._fused is None or self.filters or guard.busy:
            return False
        fragment = self._fused.encode(trace, spans, ended, decision)
        if fragment is None:
            return False
        try:
            (self._pipeline or self._start()).append(fragment + SEPARATOR)
        except Exception as error:  # noqa: BLE001 - nothing of ours reaches the application as an exception
            self._fail(error)
        return True

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        """Set the chain of processors."""
        super().setFormatter(fmt)
        self._fused = None
        if isinstance(fmt, ChainFormatter) and fmt.signal == "traces":
            # A process without a chain for traces needs none of it.
            from automagik_processors.langwatch_fused import fuse_trace  # noqa: PLC0415 - see above

            self._fused = fuse_trace(fmt.processors)

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit the record if it is a trace."""
        return "spans" in record.__dict__ and super().handle(record)

    def warm_up(self) -> None:
        """Start what will ship the trace that has just begun, so that it can leave as soon as it ends."""
        if self.level < OFF:
            with contextlib.suppress(Exception):
                (self._pipeline or self._start()).listener.start()

    def write_account(self) -> None:
        """Add to the account what is new since the last time. Raises nothing."""
        with contextlib.suppress(Exception):
            if self._pipeline is not None and self.level < OFF:
                self._write_account(self.metrics())

    def _write_account(self, metrics: Mapping[str, Any]) -> None:
        tracer = metrics["tracer"]
        counts = {
            "sent": Counter(sent=tracer["processed"]),
            "dropped": Counter(tracer["dropped_by_reason"]),
            "traces": Counter({name: count for name, count in self.recorded().items() if not name.startswith("open_")}),
        }
        new = {name: count - self._told.get(name, Counter()) for name, count in counts.items()}
        if any(new.values()):
            self._told = counts
            line = {"sent": new["sent"]["sent"], "dropped": new["dropped"], "traces": new["traces"]}
            last = {name: metrics[name] for name in ("last_success", "last_error")}
            langwatch_account.add(identity.state_directory(Settings.from_environ().state_dir), {**line, **last})

    def _start(self) -> Pipeline:
        _writing_at_exit()  # before the pipeline's own end is registered, to come after it
        _handlers.add(self)
        return super()._start()

    def after_fork_in_child(self) -> None:
        """Begin an account of its own."""
        self._told = {}
        super().after_fork_in_child()


_handlers: weakref.WeakSet[TraceHandler] = weakref.WeakSet()


@cache
def _writing_at_exit() -> None:
    atexit.register(_write_accounts)


def _write_accounts() -> None:
    for handler in list(_handlers):
        handler.write_account()


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
    LangWatch's SDK sends it; None if the host has imported it. Raises ValueError for an endpoint that is no usable URL.
    Nothing is opened before the first trace.
    """
    if endpoint is not None:
        try:
            check_endpoint(endpoint)
        except ValueError as error:
            raise ValueError(f"endpoint: {endpoint!r} is not {error}") from None

    def verify(chain: ChainFormatter) -> None:
        if chain.signal != "traces":
            raise ValueError("LangWatch takes traces; the chain's last processor must be LangWatchTrace")

    def build(_chain: ChainFormatter, ledger: Ledger, permitted: Callable[[], bool]) -> Pipeline:
        service = {"service.name": service_name, "service.version": service_version}
        url = traces_url(_base(endpoint))
        return _build(url, service, ledger, permitted, durable=durable, sdk=sdk, sent=handler.write_account)

    handler = TraceHandler(
        "langwatch",
        strictest=lambda: consent.decide_langwatch(Settings.from_environ()).level,
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
    ledger: Ledger,
    permitted: Callable[[], bool],
    *,
    durable: bool,
    sdk: bool | None,
    sent: Callable[[], None],
) -> Pipeline:
    """Return what the handler needs from its first trace on."""
    # A process that never logs a trace need not import the machinery.
    from automagik_processors import envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.delivery.envelope import Envelope  # noqa: PLC0415 - see above
    from automagik_telemetry.delivery.limits import Limits  # noqa: PLC0415 - see above
    from automagik_telemetry.delivery.pipeline import Pipeline  # noqa: PLC0415 - see above
    from automagik_telemetry.delivery.spool import open_spool  # noqa: PLC0415 - see above
    from automagik_telemetry.sinks.langwatch_http import LangWatchExporter  # noqa: PLC0415 - see above

    settings = Settings.from_environ()
    key = settings.langwatch_api_key or Secret("")
    resource = {
        **service,
        "telemetry.sdk.name": "automagik-telemetry",
        "telemetry.sdk.version": __version__,
        "telemetry.sdk.language": "python",
    }
    directory = identity.state_directory(settings.state_dir) if durable else ""
    return Pipeline(
        envelope=Envelope(*envelope("traces", resource, "automagik_telemetry", __version__)),
        exporter=LangWatchExporter(url, key, settings.langwatch_project_id, sdk=sdk, sent=sent),
        ledger=ledger,
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
        spool=open_spool(directory, "langwatch", url, key.reveal()) if durable else None,
        allowed=permitted,
    )
