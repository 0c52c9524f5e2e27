"""The counts of the event that reports the client's health, from the stats of a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from automagik_telemetry.export._stats import Totals

INTERVAL: Final = 86_400.0
"""Seconds between two reports of an application to a recipient."""
REASONS: Final = (
    *("unknown_event", "sampled", "queue_full", "rejected", "expired", "too_large", "corrupt", "processor_error"),
    "not_recorded",
)
"""Reasons of drops that have a count of their own. The others are counted together."""


def changes(totals: Totals) -> dict[str, int]:
    """Return the counts since the last report, by the field of the event; counts of drops only if they are not 0."""
    dropped = {f"dropped_{reason}": totals.dropped.get(reason, 0) for reason in REASONS}
    dropped["dropped_other"] = sum(totals.dropped.values()) - sum(dropped.values())
    dropped["dropped_fields"] = sum(totals.dropped_fields.values())
    now = {"sent": totals.delivered, "hashed": totals.recorded.get("hashed", 0), **dropped}
    # A page that could not be read, or was deleted, makes a total smaller.
    since = {name: max(0, count - totals.reported.get(name, 0)) for name, count in now.items()}
    return {name: count for name, count in since.items() if count or name in ("sent", "hashed")}
