"""Attaches sinks to the logger `automagik` so that the application's own logging sees what it would see without us."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from automagik_telemetry.handlers.handler import BatchQueueHandler

if TYPE_CHECKING:
    from collections.abc import Iterable

LOGGER = "automagik"
"""The logger that agents, CLI and API log to, and below."""
EVENT_LOGGER = "automagik.telemetry"
"""The logger of `track_*`: nobody's but ours, so that the application does not see what it did not log."""
TRACE_LOGGER = "automagik.traces"
"""The logger of whole traces, content and all: only sinks for traces stand there, and nothing propagates."""


class ApplicationHandler(logging.Handler):
    """Hands on to the loggers above what they would have got without us.

    For usage events to be logged at all, the logger's level must let INFO through, which an application that never set
    one did not ask for: by itself that would put every INFO line of `automagik.*` on its console. So the logger no
    longer propagates, and this handler propagates what passes the level that would have held.
    """

    def __init__(self, logger: logging.Logger, level_set: int) -> None:
        super().__init__()
        self._logger = logger
        self._level_set = level_set

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass the record to the handlers of the loggers above, if it is theirs to see."""
        above = self._logger.parent
        if above is None or self._logger.propagate or record.name == EVENT_LOGGER:
            return False
        if record.levelno < above.getEffectiveLevel() and record.levelno < self._level_below(record.name):
            return False
        if not above.hasHandlers() and self._heard_below(record.name):
            return False  # or `logging` would print it as a line that nobody handles
        above.callHandlers(record)
        return True

    def _heard_below(self, name: str) -> bool:
        """Return whether the application has a handler on the record's logger, between it and ours, or on ours."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None and logger is not self._logger.parent:
            if any(not isinstance(handler, ApplicationHandler | BatchQueueHandler) for handler in logger.handlers):
                return True
            logger = logger.parent
        return False

    def _level_below(self, name: str) -> int:
        """Return the level that the application set between the record's logger and ours, else one above all."""
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None and logger is not self._logger:
            if logger.level:
                return logger.level
            logger = logger.parent
        own = self._logger.level
        return logging.CRITICAL + 1_000 if own == self._level_set else own


def sinks() -> dict[str, BatchQueueHandler]:
    """Return the sinks that are attached, whoever attached them, by name."""
    found: dict[str, BatchQueueHandler] = {}
    for name in (LOGGER, EVENT_LOGGER, TRACE_LOGGER):
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            for handler in logger.handlers:
                if isinstance(handler, BatchQueueHandler):
                    found.setdefault(handler.sink, handler)
            logger = logger.parent if logger.propagate else None
    return found


def reset_own_loggers() -> None:
    """Undo what an earlier configuration did to the loggers of `track_*` and of traces."""
    for name in (EVENT_LOGGER, TRACE_LOGGER):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def attach(handlers: Iterable[BatchQueueHandler]) -> None:
    """Attach sinks to the logger `automagik`, which keeps the level and handlers that the application gave it.

    Sinks for traces go to the logger of traces, and that one hands nothing on.
    """
    given = list(handlers)
    attach_for_traces(handler for handler in given if handler.for_traces)
    handlers = [handler for handler in given if not handler.for_traces]
    logger = logging.getLogger(LOGGER)
    if handlers and not logger.level:
        # No higher than it was, or the application would lose lines that it asked for.
        logger.setLevel(min(logger.getEffectiveLevel(), *(handler.level for handler in handlers)))
        if logger.propagate:
            logger.addHandler(ApplicationHandler(logger, logger.level))
            logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)


def attach_for_traces(handlers: Iterable[logging.Handler]) -> None:
    """Attach handlers to the logger of traces, which hands nothing on: no other handler is to see what users say."""
    logger = logging.getLogger(TRACE_LOGGER)
    for handler in handlers:
        logger.propagate = False
        if not logger.level:
            logger.setLevel(logging.INFO)
        logger.addHandler(handler)
