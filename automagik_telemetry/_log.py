"""Our own logger, `automagik_telemetry`, whose records go to handlers of the application and never to stderr."""

from __future__ import annotations

import contextlib
import logging
from functools import cache

logger = logging.getLogger("automagik_telemetry")


def printable(text: str) -> str:
    """Return a text of another program with marks in place of control, bidirectional and other invisible characters.

    A terminal would obey them, and a line break would begin another line of a log.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def warn(message: str, *arguments: object) -> None:
    """Log a warning. It is discarded if the application has no handler."""
    _log(logging.WARNING, message, *arguments)


def inform(message: str, *arguments: object) -> None:
    """Log at INFO. It is discarded if the application has no handler."""
    _log(logging.INFO, message, *arguments)


def _log(level: int, message: str, *arguments: object) -> None:
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    import structlog  # an application that has no handler for us need not have it

    # An application's handler may raise anything, and `ProcessorFormatter` a DropEvent, which is a BaseException.
    with contextlib.suppress(structlog.DropEvent):
        logger.log(level, message, *arguments)


@cache
def warn_once(message: str) -> None:
    """Log a warning as `warn` does, once a process."""
    warn("%s", message)
