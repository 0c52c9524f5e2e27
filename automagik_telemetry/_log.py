"""Our own logger, `automagik_telemetry`: its records reach the handlers of the application, and never stderr."""

from __future__ import annotations

import logging

logger = logging.getLogger("automagik_telemetry")


def warn(message: str, *arguments: object) -> None:
    """Log a warning; without a handler of the application's it goes nowhere, not even to stderr."""
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.warning(message, *arguments)
