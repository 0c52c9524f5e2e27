"""Logs our own events, without a record if only our own handlers would get it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from automagik_telemetry.handlers._record import event_record
from automagik_telemetry.handlers.formatter import ChainFormatter
from automagik_telemetry.handlers.handler import BatchQueueHandler

if TYPE_CHECKING:
    from collections.abc import Mapping


def log_event(
    logger: logging.Logger, level: int, event: object, fields: Mapping[str, Any], *, is_trace: bool = False
) -> None:
    """Log an event for which the logger is enabled, see `ChainFormatter.encode_event`."""
    handlers = logger.handlers
    handler = handlers[0] if len(handlers) == 1 else None
    if (
        isinstance(handler, BatchQueueHandler)
        and handler.for_traces is is_trace
        and not (logger.propagate or logger.filters or handler.filters)
        and type(handler.formatter) is ChainFormatter
        and logging.getLogRecordFactory() is logging.LogRecord
    ):
        if level >= handler.level:
            handler.take(event, level, time.time(), fields)
    else:
        logger.handle(event_record(logger, level, event, fields))
