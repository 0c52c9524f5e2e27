"""The values of the keys `level` and `timestamp` of an event dict."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from automagik_processors._scalars import seconds_of

SEVERITIES: Final = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
"""Python's level names, lower-case as structlog's `add_log_level` writes them, and their OTLP severity numbers."""

ERRORS: Final = frozenset({"error", "critical"})


def is_error_level(level: object) -> bool:
    """Return whether `level` is the name of an error level, without calling any method of `level`."""
    return type(level) is str and level in ERRORS


EARLIEST: Final = 946_684_800.0  # floats, because a float is compared with them fastest
"""The year 2000: earlier times are not sent by `Anonymize`."""

LATEST: Final = 4_102_444_800.0
"""The year 2100: later times are not sent by `Anonymize`."""

MAX_SECONDS: Final = float(2**64 // 1_000_000_000)
"""The year 2554, where a fixed64 of nanoseconds ends."""


def seconds(timestamp: Any, earliest: float, latest: float) -> float | int | None:
    """Return the Unix time in seconds if it is valid and in [earliest, latest), else None.

    A datetime or string without an offset is in local time, as in Python's `datetime.timestamp` and structlog's
    `TimeStamper(fmt="iso", utc=False)`.
    """
    try:
        if type(timestamp) is str:
            timestamp = dt.datetime.fromisoformat(timestamp)
        if issubclass(type(timestamp), dt.datetime):
            timestamp = dt.datetime.timestamp(timestamp)
        elif type(timestamp) not in {float, int}:
            timestamp = seconds_of(timestamp)
            if timestamp is None:
                return None
    except Exception:  # the string is not a date, or a tzinfo raises
        return None
    return timestamp if type(timestamp) in {float, int} and earliest <= timestamp < latest else None
