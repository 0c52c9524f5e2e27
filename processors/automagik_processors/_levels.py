"""What level names mean: which are known, their OpenTelemetry severity numbers, which are errors."""

from __future__ import annotations

from typing import Final

SEVERITIES: Final = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
"""Python's level names, lower-case as structlog's `add_log_level` writes them, and their OTLP severity numbers."""

NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The same names, and their numbers in `logging`."""

ERRORS: Final = frozenset({"error", "critical"})


def is_error_level(level: object) -> bool:
    """Say whether `level` names an error, without calling any method of `level`."""
    return type(level) is str and level in ERRORS
