"""Delivery stats of all destinations, for `status` and `doctor`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry.cli.purge import queues

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REASONS: Final = {
    "rejected": "refused by the endpoint; see the last error",
    "queue_full": "logged faster than they could be sent, or the endpoint could not be reached for long",
    "too_large": "larger than the limit",
    "expired": "not delivered within a week",
    "consent_withdrawn": "deleted because consent was withdrawn",
    "purged": "deleted by `automagik-telemetry purge`",
    "corrupt": "damaged on disk",
    "unreadable": "in files that could not be read",
    "processor": "dropped by a processor",
    "processor_error": "dropped because a processor failed; a warning named the class of the error",
    "reentrant": "logged while an event of the same thread was being processed",
    "unknown_event": "log records that are not declared events",
    "sampled": "sampled out",
    "not_a_trace": "without a readable span",
    "traces": "traces recorded and logged",
    "not_sampled": "runs sampled out",
    "rate_limited": "runs sampled at a lower rate, because their type came too often",
    "truncated_spans": "spans beyond the limit of one trace",
    "too_many_open_traces": "runs that began while too many others were open; is a span never ended?",
    "abandoned": "runs begun and never ended",
    "expired_spans": "spans older than LangWatch accepts",
    "cut_values": "inputs or outputs left out, because their trace was too large",
    "cut_text": "texts cut to the limit",
    "too_deep_or_many": "values nested too deeply, too many, or containing themselves",
    "not_serializable": "objects represented by the name of their class",
    "bad_call": "calls of a provider with invalid arguments",
    "failed": "runs that could not be logged",
    "other": "for other reasons",
}
"""Meaning of each reason, to follow a count."""

_ERRORS: Final = {
    "401": "the key is wrong: check LANGWATCH_API_KEY, and LANGWATCH_PROJECT_ID for a key of no single project",
    "402": "the plan of the LangWatch project is used up",
    "403": "the key may not write to this project",
    "404": "no OTLP endpoint at this address",
}


def destinations() -> list[dict[str, Any]]:
    """Return the delivery stats of each destination so far: counts of events, times in Unix seconds."""
    from automagik_telemetry.export._spool import Spool

    found = []
    for folder in queues():
        try:
            spool = Spool(str(folder))
        except OSError:
            continue
        totals = spool.totals()
        found.append(
            {
                **totals.state,
                "delivered": totals.delivered,
                "dropped": totals.dropped,
                "pending": spool.pending(),
                "recorded": totals.recorded,
            }
        )
    return found


def lines(destination: Mapping[str, Any]) -> Iterator[str]:
    """Yield the stats of a destination as lines for a person."""
    yield f"delivery to {destination['endpoint'] or 'an endpoint that was not reached yet'}"
    yield f"  delivered     {plural(destination['delivered'], 'event')}; {destination['pending']:,} pending"
    for reason in reasons(destination["dropped"]):
        yield f"  dropped       {reason}"
    for reason in reasons(destination["recorded"]):
        yield f"  recorded      {reason}"
    yield f"  last success  {_time(destination['last_success'])}"
    if destination["failures"]:
        yield f"  failing       {destination['failures']} times in a row: {explained(destination['last_error'] or '')}"
        yield f"  next attempt  {_time(destination['retry_at'])} at the earliest"
    elif destination["last_error"]:
        yield f"  last error    {explained(destination['last_error'])}"


def reasons(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return [f"{count:,} {REASONS.get(reason, reason)}" for reason, count in ordered]


def explained(error: str) -> str:
    """Return an error with what it means, if that is known."""
    meaning = next((meaning for status, meaning in _ERRORS.items() if f"HTTP {status}" in error), None)
    return f"{error} ({meaning})" if meaning else error


def plural(count: int, noun: str, ending: str = "s") -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else ending}"


def _time(seconds: float | None) -> str:
    """Return a local time, or that there was none."""
    if not seconds:
        return "never"
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().isoformat(" ", "seconds")
