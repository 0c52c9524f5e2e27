"""Records of events without their source location, which saves two thirds of the cost of a record."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Record(logging.LogRecord):
    """A separate class, because the instances of one class share the table of their keys.

    Python 3.11 stops sharing for records with `extra` if two others precede the first of them, and structlog makes one.
    From then on a record with `extra` costs 5% more.
    """


EMPTY_RECORD: Final[dict[str, Any]] = vars(
    _Record("", logging.NOTSET, "(unknown file)", 0, "", (), None, "(unknown function)")
)
"""The attributes of an empty record, which has no source location."""

NOT_FIELDS: Final = (
    frozenset(EMPTY_RECORD)
    | {"message", "asctime", "taskName", "_logger", "_name"}
    | {"otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"}
)
"""Attributes of a record that `logging`, structlog and others add themselves. No field may have one of these names."""


_EMPTY: Final[dict[str, Any]] = EMPTY_RECORD | dict.fromkeys(("thread", "threadName", "processName", "process"))
"""The attributes that `logging` itself sets on a record without a known source location."""
_STARTED: Final = _EMPTY["created"] - _EMPTY["relativeCreated"] / 1e3


class SpanID(str):
    """An ID that `TraceContextFilter` put on a record: that of the enclosing span, not of the event itself.

    A filter of another handler may put it there before a sink gets the record. The sink finds the enclosing span by
    itself.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Pickle a plain string, because a receiver of records may not have this class."""
        return str, (str(self),)


def own_fields(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a record without the IDs of a `TraceContextFilter`."""
    if type(attributes.get("trace_id")) is not SpanID and type(attributes.get("span_id")) is not SpanID:
        return attributes
    return {name: value for name, value in attributes.items() if type(value) is not SpanID}


class EventRecord(logging.LogRecord):
    """A record with `fields` as its extra attributes, none of which is logging's own."""

    def __init__(self, name: str, level: int, event: object, fields: Mapping[str, Any]) -> None:
        now = time.time()
        # A copy keeps the capacity of the dict, and is not filled key by key.
        values = self.__dict__ = _EMPTY.copy()
        values["name"] = name
        values["msg"] = event
        values["levelno"] = level
        values["levelname"] = logging.getLevelName(level)
        values["created"] = now
        values["msecs"] = now * 1e3 % 1e3 // 1
        values["relativeCreated"] = (now - _STARTED) * 1e3
        if logging.logThreads:
            values["thread"] = threading.get_ident()
            values["threadName"] = threading.current_thread().name
        if logging.logProcesses:
            values["process"] = os.getpid()
        if logging.logMultiprocessing:
            values["processName"] = _process_name(sys.modules.get("multiprocessing"))
        if "taskName" in values and "asyncio" in sys.modules:
            values["taskName"] = _task_name(sys.modules["asyncio"])
        values.update(fields)


def _process_name(multiprocessing: Any) -> str:
    if multiprocessing is not None:
        with contextlib.suppress(Exception):  # its import may not have finished
            return multiprocessing.current_process().name  # type: ignore[no-any-return]  # as above
    return "MainProcess"


def _task_name(asyncio: Any) -> str | None:
    # By `getattr`, because it came with Python 3.12, as the name did.
    if not getattr(logging, "logAsyncioTasks", False) or asyncio._get_running_loop() is None:  # noqa: SLF001 - it raises nothing
        return None
    with contextlib.suppress(Exception):
        return asyncio.current_task().get_name()  # type: ignore[no-any-return]  # as above
    return None


def event_record(logger: logging.Logger, level: int, event: object, fields: Mapping[str, Any]) -> logging.LogRecord:
    """Return the record of an event, made by the application's own factory if it has set one."""
    if logging.getLogRecordFactory() is logging.LogRecord:
        return EventRecord(logger.name, level, event, fields)
    record = logger.makeRecord(logger.name, level, "(unknown file)", 0, event, (), None, "(unknown function)")
    record.__dict__.update(fields)  # as `extra` they must not replace the attributes that a factory has set
    return record
