"""Delivery stats of all destinations, for `status` and `doctor`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.settings import Settings, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REASONS: Final = {
    "rejected": "rejected by the endpoint; see the last error",
    "queue_full": "dropped because the queue was full: logged too fast, or a long outage of the endpoint",
    "too_large": "larger than the limit",
    "expired": "not delivered within a week, or a day for traces",
    "consent_withdrawn": "deleted because consent was withdrawn",
    "purged": "deleted by `automagik-telemetry purge`",
    "corrupt": "damaged on disk",
    "undeclared": "queued under a name that is not declared",
    "foreign": "queued for another application, user or ID",
    "unreadable": "in files that could not be read",
    "processor": "dropped by a processor",
    "processor_error": "dropped because a processor failed; a warning named the class of the error",
    "reentrant": "logged while the same thread processed another event",
    "not_recorded": "not recorded, because an object of the application could not be read",
    "not_started": "dropped because the queue could not be opened",
    "expired_event": "logged after the event's declaration expired",
    "unknown_event": "record{s} without the name of a declared event",
    "sampled": "sampled out",
    "not_a_trace": "without a valid span",
    "hashed": "string{s} sent as a hash, not on the allowlist",
    "traces": "trace{s} recorded and logged",
    "not_sampled": "run{s} sampled out",
    "rate_limited": "run{s} sampled at a lower rate, because their type is frequent",
    "truncated_spans": "span{s} above the limit of one trace",
    "too_many_open_traces": "run{s} that began while too many others were open; check that every span is ended",
    "abandoned": "run{s} that never ended",
    "expired_spans": "span{s} older than the destination accepts",
    "cut_values": "input{s} or output{s} omitted, because the trace was too large",
    "cut_text": "string{s} cut to the limit",
    "too_deep_or_many": "values nested too deeply, too many, or containing themselves",
    "not_serializable": "object{s} replaced by the name of their class",
    "bad_call": "call{s} of a provider with invalid arguments",
    "failed": "run{s} that could not be logged",
    "other": "for another reason",
}
"""Description of each reason, to be printed after a count; `{s}` is the plural."""

_INVALID: Final = "invalid."
_ERRORS: Final = {
    "401": "the key is not valid; check the variables of the key and of the project: automagik-telemetry settings",
    "402": "the plan of the project is used up",
    "403": "the key has no write access to this project",
    "404": "there is no OTLP endpoint at this URL",
}


def queues() -> list[Path]:
    """Return the directories of segments, one for each destination."""
    from automagik_telemetry.export._spool import spool_directories

    return list(map(Path, spool_directories(identity.state_directory(Settings.from_environ().state_dir))))


def destinations() -> list[dict[str, Any]]:
    """Return the delivery stats of each destination: counts of events, times in Unix seconds."""
    from automagik_telemetry.export._spool import Spool, application_of

    found = []
    for folder in queues():
        try:
            spool = Spool(str(folder))
        except OSError:
            continue
        totals, waiting = spool.totals(), spool.waiting()
        found.append(
            {
                **totals.state,
                "endpoint": without_credentials(totals.state["endpoint"] or "") or None,
                "delivered": totals.delivered,
                "dropped": totals.dropped,
                "application": application_of(str(folder)),
                "folder": str(folder),
                "traces": spool.for_traces,
                "pending": waiting.events,
                "pending_bytes": waiting.bytes,
                "pending_batches": waiting.segments,
                "recorded": totals.recorded,
                "dropped_fields": totals.dropped_fields,
            }
        )
    return found


def lines(destination: Mapping[str, Any]) -> Iterator[str]:
    """Yield the stats of a destination as lines of text."""
    noun = "trace" if destination["traces"] else "event"
    sender = f" of {destination['application']}" * bool(destination["application"])
    yield f"delivery of {noun}s{sender} to {destination['endpoint'] or 'an endpoint that has not been reached yet'}"
    yield f"  delivered     {plural(destination['delivered'], noun)}; {destination['pending']:,} pending"
    yield f"  waiting       {plural(destination['pending_bytes'], 'byte')} on disk"
    for reason in reasons(destination["dropped"]):
        yield f"  dropped       {reason}"
    for reason in reasons(destination["recorded"]):
        yield f"  recorded      {reason}"
    for line in fields(destination["dropped_fields"]):
        yield f"  fields        {line}"
    yield f"  last success  {_time(destination['last_success'])}"
    if destination["failures"]:
        failed = plural(destination["failures"], "attempt")
        yield f"  failing       {failed} in a row: {explained(destination['last_error'] or '')}"
        yield f"  next attempt  not before {_time(destination['retry_at'])}"
    elif destination["last_error"]:
        yield f"  last error    {explained(destination['last_error'])}"


def reasons(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [_reason(reason, count) for reason, count in ordered]


def _reason(reason: str, count: int) -> str:
    if reason.startswith(_INVALID):
        return f"{plural(count, 'value')} of {reason.removeprefix(_INVALID)} dropped: not valid"
    text = REASONS[reason].format(s="" if count == 1 else "s") if reason in REASONS else reason
    return f"{count:,} {text}"


def fields(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each field of which values were dropped, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [f"{plural(count, 'value')} of {name} dropped: not of the field's kind" for name, count in ordered]


def explained(error: str) -> str:
    """Return an error with its meaning, if that is known."""
    meaning = next((meaning for status, meaning in _ERRORS.items() if f"HTTP {status}" in error), None)
    return f"{error} ({meaning})" if meaning else error


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Return a count with its noun, such as "1 batch" or "2 batches"."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def _time(seconds: float | None) -> str:
    """Return a local time, or "never"."""
    if not seconds:
        return "never"
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().isoformat(" ", "seconds")
