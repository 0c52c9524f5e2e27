"""What the doctor looks at, each as a finding: the disk, what waits, the stats, and the endpoint."""

from __future__ import annotations

import datetime as dt
import os
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from automagik_telemetry._private_files import UnsafeDirectoryError, private_directory
from automagik_telemetry.cli._delivery import plural, reasons
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.export._body import gzip
from automagik_telemetry.export._contract import Outcome
from automagik_telemetry.export._held_file import created

if TYPE_CHECKING:
    from automagik_telemetry.export._contract import ExportResult
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.settings import Settings

_DAY = 86_400.0
_SKEW = 120.0
_MIN_FREE_BYTES = 16 * 1024 * 1024


class Finding(NamedTuple):
    """What was found about something, whether it is as it should be, and what to do if it isn't."""

    state: Literal["ok", "note", "wrong"]
    about: str
    says: str
    do: str = ""


def state_directory(settings: Settings) -> Finding:
    """Return whether events can wait on disk."""
    about, path = "state directory", identity.state_directory(settings.state_dir)
    memory = "events wait in memory, and are lost with their process"
    try:
        private_directory(path)
        private_directory(os.path.join(path, "queue"))  # noqa: PTH118 - as the spool has it
        room = os.statvfs(path)
    except UnsafeDirectoryError:
        says = f"{path} or what is in it is a link, someone else's, or open to others; {memory}."
        return Finding("wrong", about, says, f"Make it yours alone: chown -R $USER {path}; chmod -R go= {path}")
    except OSError as error:
        says = f"{path} can't be used ({error.strerror}); {memory}."
        return Finding("wrong", about, says, "Make it writable, or name another in AUTOMAGIK_STATE_DIR.")
    free = room.f_bavail * room.f_frsize
    if free < _MIN_FREE_BYTES:
        return Finding("wrong", about, f"{path}: the disk is full ({free:,} bytes free); {memory}.", "Make room on it.")
    return Finding("ok", about, path)


def delivery(handler: BatchQueueHandler) -> list[Finding]:
    """Return what waits in a sink's folder, and the delivery stats of all its processes."""
    spool = handler.build().spool
    if spool is None:
        return [Finding("note", handler.sink, "events wait in memory only; there are no stats on disk.")]
    names, totals = spool.names(), spool.totals()
    state = totals.state
    age = time.time() - created(names[0]) if names else 0.0
    events = plural(spool.pending(), "event")
    waits = f"{events} in {plural(len(names), 'batch', 'es')} wait{'s' * (len(names) == 1)}, {spool.usage():,} bytes"
    found = [Finding("ok", handler.sink, f"{waits}.")]
    if age > _DAY:
        says = f"{waits}, the oldest for {age / _DAY:.1f} days."
        found = [
            Finding("wrong", handler.sink, says, "See what is said of the endpoint, then: automagik-telemetry flush")
        ]
    if state["failures"]:
        wait = max(0.0, max(state["retry_at"], spool.not_before()) - time.time())
        failed = "attempt" if state["failures"] == 1 else f"{state['failures']} attempts"
        says = f"the last {failed} failed: {state['last_error']}; the next is {_in(wait)}."
        found.append(Finding("note", handler.sink, says))
    elif spool.not_before() > time.time():
        found.append(
            Finding("note", handler.sink, f"the endpoint asked to wait {_in(spool.not_before() - time.time())}.")
        )
    if state["last_success"]:
        found.append(Finding("ok", handler.sink, f"last success {_ago(state['last_success'])}."))
    counted = [*reasons(totals.dropped), *reasons(totals.recorded)]
    return [*found, *(Finding("note", handler.sink, f"{line}.") for line in counted)]


def endpoint(handler: BatchQueueHandler, timeout: float) -> list[Finding]:
    """Ask a sink's endpoint to take a request without an event, and return what comes of it."""
    exporter = handler.build().worker.exporter
    key = "resourceLogs" if handler.chain.signal == "logs" else "resourceSpans"
    started = time.monotonic()
    result = exporter.export(gzip(f'{{"{key}":[]}}'.encode()), timeout)
    seconds = time.monotonic() - started
    exporter.shutdown()
    url = exporter.url.partition("?")[0]
    about = f"{handler.sink} endpoint"
    if result.outcome is Outcome.SUCCESS:
        found = [Finding("ok", about, f"{url} answers in {seconds:.2f} s.")]
    else:
        says, do = explain(result)
        found = [Finding("wrong", about, f"{url}: {says} ({result.detail}).", do)]
    return [*found, *_clock(getattr(exporter, "last_date", None))]


def explain(result: ExportResult) -> tuple[str, str]:
    """Return in plain words why a request failed, and what to do."""
    for sign, says, do in _SIGNS:
        if sign in result.detail:
            return says, do
    if result.outcome is Outcome.RETRY:
        return "it can't be reached", "Check the address, the network and the proxy (HTTPS_PROXY, NO_PROXY)."
    return "it refuses what is sent", "Check that the address is an OTLP/HTTP endpoint that takes JSON."


# What stands in the detail of a result, the most telling first.
_SIGNS = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not to be trusted",
     "Correct the certificate or the clock, or name who vouches for it in SSL_CERT_FILE."),
    ("SSL", "no secure connection can be made", "Check that the address is right: https:// where it speaks TLS."),
    ("[Errno -2]", "its name is unknown", "Correct the name, or the network's DNS."),  # EAI_NONAME
    ("[Errno -5]", "its name has no address", "Correct the name, or the network's DNS."),  # EAI_NODATA
    ("[Errno -3]", "its name can't be looked up now", "Check the network and its DNS."),  # EAI_AGAIN
    ("getaddrinfo failed", "its name is unknown", "Correct the name, or the network's DNS."),
    ("nodename nor servname", "its name is unknown", "Correct the name, or the network's DNS."),
    ("Connection refused", "nobody listens there", "Start it, or correct the address."),
    ("Timeout", "it does not answer in time", "Check the network and firewalls; events wait meanwhile."),
    ("HTTP 401", "it does not accept the key", "Renew or correct the key."),
    ("HTTP 403", "the key may not do this", "Give the key the right to send, or take another."),
    ("HTTP 402", "the account there is not paid", "Settle that with the endpoint's owner."),
    ("HTTP 404", "there is nothing at this path", "Correct the path; OTLP's is /v1/traces or /v1/logs."),
    ("HTTP 405", "this path takes no POST", "Correct the path; OTLP's is /v1/traces or /v1/logs."),
    ("HTTP 429", "it is busy and asks for patience", "Wait: events are kept and sent when it allows."),
    ("HTTP 503", "it is out of service for now", "Wait: events are kept and sent when it is back."),
    ("web page", "something else answers, such as a login page of the network", "Log in to the network."),
    ("something else than the endpoint", "something else answers, such as a login page", "Log in to the network."),
)  # fmt: skip


def _clock(said: str | None) -> list[Finding]:
    """Return how far our clock is from the endpoint's, if that says and it matters."""
    try:
        date = parsedate_to_datetime(said or "")
        skew = time.time() - (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return []
    if abs(skew) < _SKEW:
        return [Finding("ok", "clock", "agrees with the endpoint's.")]
    way = "ahead of" if skew > 0 else "behind"
    return [Finding("wrong", "clock", f"{abs(skew):,.0f} s {way} the endpoint's.", "Set it right, by NTP best.")]


def _in(seconds: float) -> str:
    return "due now" if seconds <= 0 else f"in {seconds:,.0f} s"


def _ago(when: float) -> str:
    seconds = max(0.0, time.time() - when)
    return f"{seconds:,.0f} s ago" if seconds < _DAY else f"{seconds / _DAY:.1f} days ago"
