"""Counts what the receiver accepts and refuses, for `/health`, `/metrics` and the log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from automagik_telemetry._log import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_telemetry.collector._flow import Flow
    from automagik_telemetry.collector._writer import Writer


class Stats:
    """The counts since the start. Used on the event loop's thread alone.

    Args:
        flow: The bytes in flight.
        writer: The thread that stores items.
    """

    def __init__(self, flow: Flow, writer: Writer) -> None:
        self._flow = flow
        self._writer = writer
        self._accepted = 0
        self._long_trace_ids = 0
        self._refused: Counter[str] = Counter()
        self._responses: Counter[int] = Counter()
        self._logged: Counter[str] = Counter()

    def accept(self, items: int, long_trace_ids: int) -> None:
        """Count spans and records that are committed, or were before, and those of them with long trace IDs."""
        self._accepted += items
        self._long_trace_ids += long_trace_ids

    def refuse(self, reasons: Mapping[str, int]) -> None:
        """Count spans, records and values that are not stored, by reason."""
        self._refused.update(reasons)

    def respond(self, status: int) -> None:
        """Count a response."""
        self._responses[status] += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counts for `/health`."""
        return {
            "accepted": self._accepted,
            "stored": self._writer.stored,
            "long_trace_ids": self._long_trace_ids,
            "refused": dict(sorted(self._refused.items())),
            "responses": {str(status): count for status, count in sorted(self._responses.items())},
        }

    def as_prometheus(self) -> str:
        """Return the counts in the text format of Prometheus."""
        lines = [
            *_metric("items_accepted_total", "counter", "Spans and records answered with 200.", {"": self._accepted}),
            *_metric("items_stored_total", "counter", "Those that were not stored already.", {"": self._writer.stored}),
            *_metric(
                "long_trace_ids_total",
                "counter",
                "Accepted spans whose trace ID was cut to 32 digits.",
                {"": self._long_trace_ids},
            ),
            *_metric(
                "refused_total",
                "counter",
                "Spans, records and values that were not stored, by reason.",
                {f'reason="{reason}"': count for reason, count in sorted(self._refused.items())},
            ),
            *_metric(
                "responses_total",
                "counter",
                "Responses to senders, and errors of any request, by status.",
                {f'status="{status}"': count for status, count in sorted(self._responses.items())},
            ),
            *_metric("in_flight_bytes", "gauge", "Bytes of requests in progress.", {"": self._flow.used}),
        ]
        return "\n".join(lines) + "\n"

    def log(self) -> None:
        """Log what has been refused since the last call, as one sentence, if anything has."""
        refused = self._refused.copy()
        refused.update({f"HTTP {status}": count for status, count in self._responses.items() if status >= 400})  # noqa: PLR2004 - the first status of an error
        new = refused - self._logged
        self._logged = refused
        if new:
            warn("The collector refused: %s.", listed(new))


def listed(reasons: Mapping[str, int]) -> str:
    """Return reasons with their counts, as in "3 time, 1 sample_rate"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))


def _metric(name: str, kind: str, description: str, values: Mapping[str, int]) -> list[str]:
    full = f"automagik_collector_{name}"
    samples = [f"{full}{{{labels}}} {value}" if labels else f"{full} {value}" for labels, value in values.items()]
    return [f"# HELP {full} {description}", f"# TYPE {full} {kind}", *samples]
