"""What processes have told of a destination, as lines for a person."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.delivery.told import Told


def told_lines(told: Told) -> Iterator[str]:
    """Yield the lines."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(told["dropped"].items())) or "none"
    yield f"so far, to {told['endpoint']}"
    yield f"  delivered     {told['processed']:,} events; dropped: {dropped}"
    yield f"  last success  {_time(told['last_success'])}"
    if told["failures"]:
        yield f"  failing       {told['failures']} times in a row: {told['last_error']}"
        yield f"  next attempt  {_time(told['retry_at'])} at the earliest"
    elif told["last_error"]:
        yield f"  last error    {told['last_error']}"


def _time(seconds: float | None) -> str:
    """Return a time of day here, or that there was none."""
    if not seconds:
        return "never"
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().isoformat(" ", "seconds")
