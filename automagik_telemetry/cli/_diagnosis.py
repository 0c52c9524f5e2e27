"""The checks of `automagik-telemetry doctor`: state directory, queue, delivery stats, endpoint and clock."""

from __future__ import annotations

import datetime as dt
import os
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from automagik_telemetry._private_files import UnsafeDirectoryError, private_directory
from automagik_telemetry.cli._delivery import destinations, fields, plural, reasons
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.export._body import gzip
from automagik_telemetry.export._contract import Outcome
from automagik_telemetry.export._held_file import created
from automagik_telemetry.export._spool import Waiting
from automagik_telemetry.settings import without_credentials

if TYPE_CHECKING:
    from automagik_telemetry.export._contract import ExportResult
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.settings import Settings

_DAY = 86_400.0
_MAX_SKEW_SECONDS = 120.0
_MIN_FREE_BYTES = 16 * 1024 * 1024


class Finding(NamedTuple):
    """Result of a check: its status, the subject, a message, and the action to take if it failed."""

    status: Literal["ok", "note", "fail"]
    subject: str
    message: str
    action: str = ""


def state_directory(settings: Settings) -> Finding:
    """Check that events can be stored on disk."""
    subject, path = "state directory", identity.state_directory(settings.state_dir)
    effect = "Events are kept in memory and lost with their process."
    try:
        private_directory(path)
        private_directory(os.path.join(path, "queue"))  # noqa: PTH118 - as in the spool
        disk = os.statvfs(path)
    except UnsafeDirectoryError:
        message = f"{path} or a directory in it is a link, another user's, or open to others. {effect}"
        return Finding(
            "fail", subject, message, f"Restrict it to your user: chown -R $USER {path}; chmod -R go= {path}"
        )
    except OSError as error:
        message = f"{path} can't be used: {error.strerror}. {effect}"
        return Finding("fail", subject, message, "Make it writable, or set AUTOMAGIK_STATE_DIR to another directory.")
    free = disk.f_bavail * disk.f_frsize
    if free < _MIN_FREE_BYTES:
        return Finding("fail", subject, f"{path}: the disk is full ({free:,} bytes free). {effect}", "Free some space.")
    return Finding("ok", subject, f"{path}.")


def delivery(handler: BatchQueueHandler) -> list[Finding]:
    """Check a sink's queue on disk, and report the delivery stats of all its processes."""
    spool = handler.build().spool
    if spool is None:
        return [Finding("note", handler.sink, "events are queued in memory only; there are no stats on disk.")]
    names, waiting, totals = spool.names(), spool.waiting(), spool.totals()
    state = totals.state
    age = time.time() - created(names[0]) if names else 0.0
    queued = _queued(waiting, for_traces=spool.for_traces)
    found = [Finding("ok", handler.sink, f"{queued}.")]
    if age > _DAY:
        message = f"{queued}; the oldest is {age / _DAY:.1f} days old."
        action = "Correct the endpoint as shown below, then run: automagik-telemetry flush"
        found = [Finding("fail", handler.sink, message, action)]
    if state["failures"]:
        wait = max(0.0, max(state["retry_at"], spool.not_before()) - time.time())
        failed = "attempt" if state["failures"] == 1 else f"{state['failures']} attempts"
        message = f"the last {failed} failed: {state['last_error']}. The next attempt is {_in(wait)}."
        found.append(Finding("note", handler.sink, message))
    elif spool.not_before() > time.time():
        message = f"the endpoint set a wait: the next attempt is {_in(spool.not_before() - time.time())}."
        found.append(Finding("note", handler.sink, message))
    if state["last_success"]:
        found.append(Finding("ok", handler.sink, f"last success {_ago(state['last_success'])}."))
    counted = [*reasons(totals.dropped), *reasons(totals.recorded), *fields(totals.dropped_fields)]
    return [*found, *(Finding("note", handler.sink, f"{line}.") for line in counted)]


def held(handler: BatchQueueHandler) -> Finding | None:
    """Report the queue on disk of a sink that is off; None if it is empty."""
    found = [each for each in destinations() if each["traces"] == handler.for_traces and each["pending_batches"]]
    if not found:
        return None
    events, size, segments = (sum(each[f"pending{key}"] for each in found) for key in ("", "_bytes", "_batches"))
    queued = _queued(Waiting(segments, events, size), for_traces=handler.for_traces)
    return Finding("note", handler.sink, f"{queued}, held until it is on.", "To delete: automagik-telemetry purge")


def _queued(waiting: Waiting, *, for_traces: bool) -> str:
    events = plural(waiting.events, "trace" if for_traces else "event")
    batches = plural(waiting.segments, "batch", "es")
    return f"{events} queued in {batches}, {plural(waiting.bytes, 'byte')}"


def endpoint(handler: BatchQueueHandler, timeout: float) -> list[Finding]:
    """Send a request without an event to a sink's endpoint, and report the result."""
    pipeline = handler.build()
    subject = f"{handler.sink} endpoint"
    if not pipeline.sends:
        return [Finding("note", subject, "development mode: events are printed, and nothing is sent. Not checked.")]
    exporter = pipeline.worker.exporter
    if not exporter.url:
        return [Finding("note", subject, "telemetry is local: events are recorded, and nothing is sent. Not checked.")]
    key = "resourceLogs" if handler.chain.signal == "logs" else "resourceSpans"
    started = time.monotonic()
    result = exporter.export(gzip(f'{{"{key}":[]}}'.encode()), timeout)
    seconds = time.monotonic() - started
    exporter.shutdown()
    url = without_credentials(exporter.url.partition("?")[0])
    if result.outcome == Outcome.SUCCESS:
        found = [Finding("ok", subject, f"{url}: success in {seconds:.2f} s.")]
    else:
        problem, action = explain(result)
        found = [Finding("fail", subject, f"{url}: {problem} ({result.detail}).", action)]
    return [*found, *_clock(getattr(exporter, "last_date", None))]


def explain(result: ExportResult) -> tuple[str, str]:
    """Return why a request failed, in plain words, and the action to take."""
    for sign, problem, action in _SIGNS:
        if sign in result.detail:
            return problem, action
    if result.outcome == Outcome.RETRY:
        return "connection failed", "Check the URL, the network and the proxy (HTTPS_PROXY, NO_PROXY)."
    return "request rejected", "Check that the URL is an OTLP/HTTP endpoint that accepts JSON."


# Parts of a result's detail, the most specific first.
_SIGNS = (
    ("names no certificates", "certificates can't be read", "Correct the path in the variable, or unset it."),
    ("is not a usable proxy", "proxy can't be used", "Correct the variable, or add the host to NO_PROXY."),
    ("CERTIFICATE_VERIFY_FAILED", "certificate not trusted",
     "Correct the certificate or the clock, or set SSL_CERT_FILE to the certificate of the issuer."),
    ("by the proxy in", "connection through the proxy failed",
     "Correct the proxy in the variable, or add the host to NO_PROXY."),
    ("SSL", "TLS handshake failed", "Check the URL: https:// is for an endpoint with TLS."),
    ("[Errno -2]", "unknown host name", "Correct the host name, or the network's DNS."),  # EAI_NONAME
    ("[Errno -5]", "host name without an address", "Correct the host name, or the network's DNS."),  # EAI_NODATA
    ("[Errno -3]", "host name lookup failed", "Check the network and its DNS."),  # EAI_AGAIN
    ("getaddrinfo failed", "unknown host name", "Correct the host name, or the network's DNS."),
    ("nodename nor servname", "unknown host name", "Correct the host name, or the network's DNS."),
    ("Connection refused", "connection refused", "Start the collector or check the URL."),
    ("Timeout", "timeout", "Check the network and firewalls. Events stay queued meanwhile."),
    ("HTTP 401", "key not accepted", "Renew or correct the key."),
    ("HTTP 403", "key without permission", "Grant the key write access, or use another."),
    ("HTTP 402", "plan of the endpoint exhausted or unpaid", "Contact the owner of the endpoint."),
    ("HTTP 404", "no endpoint at this path", "Correct the path. OTLP's paths are /v1/traces and /v1/logs."),
    ("HTTP 405", "POST not accepted at this path", "Correct the path. OTLP's paths are /v1/traces and /v1/logs."),
    ("HTTP 429", "too many requests", "Wait: events stay queued and are sent later."),
    ("HTTP 503", "service unavailable", "Wait: events stay queued and are sent later."),
    ("web page", "a web page responded, such as a network's login page", "Log in to the network."),
    ("not the response of an OTLP endpoint", "another server responded, such as a network's login page",
     "Log in to the network."),
)  # fmt: skip


def _clock(date_header: str | None) -> list[Finding]:
    """Compare this machine's clock with the endpoint's Date header, if there is one."""
    try:
        date = parsedate_to_datetime(date_header or "")
        skew = time.time() - (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return []
    if abs(skew) < _MAX_SKEW_SECONDS:
        return [Finding("ok", "clock", "in sync with the endpoint.")]
    direction = "ahead of" if skew > 0 else "behind"
    message = f"{abs(skew):,.0f} s {direction} the endpoint."
    return [Finding("fail", "clock", message, "Set the clock, for example by NTP.")]


def _in(seconds: float) -> str:
    return "due now" if seconds <= 0 else f"in {seconds:,.0f} s"


def _ago(when: float) -> str:
    seconds = max(0.0, time.time() - when)
    return f"{seconds:,.0f} s ago" if seconds < _DAY else f"{seconds / _DAY:.1f} days ago"
