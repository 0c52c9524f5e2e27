"""Records of events that don't say where they were logged, which is two thirds of what a record costs."""

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
    """A class of its own, for the instances of one share the table of their keys.

    Python 3.11 stops that for all that have `extra` if two were made before the first of them, and structlog makes one.
    From then on a record with `extra` costs a twentieth more.
    """


EMPTY_RECORD: Final[dict[str, Any]] = vars(
    _Record("", logging.NOTSET, "(unknown file)", 0, "", (), None, "(unknown function)")
)
"""The attributes of a record that says nothing, not even where it was made."""

NOT_FIELDS: Final = frozenset(EMPTY_RECORD) | {"message", "asctime", "taskName", "_logger", "_name"}
"""Attributes of a record that `logging`, structlog and others add themselves, so that no field may have their names."""


_EMPTY: Final[dict[str, Any]] = EMPTY_RECORD | dict.fromkeys(("thread", "threadName", "processName", "process"))
"""What `logging` itself puts on a record that it knows no place of."""
_STARTED: Final = _EMPTY["created"] - _EMPTY["relativeCreated"] / 1e3


class EventRecord(logging.LogRecord):
    """A record with `fields` as its extra ones, none of which is logging's own."""

    def __init__(self, name: str, level: int, event: object, fields: Mapping[str, Any], args: tuple[Any, ...]) -> None:
        now = time.time()
        # A copy keeps the room that the dict has, and is not filled key by key.
        values = self.__dict__ = _EMPTY.copy()
        values["name"] = name
        values["msg"] = event
        values["args"] = args
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


def _process_name(multiprocessing: Any) -> str:  # noqa: ANN401 - the module, if the application has imported it
    if multiprocessing is not None:
        with contextlib.suppress(Exception):  # it may not have been imported to its end
            return multiprocessing.current_process().name  # type: ignore[no-any-return]  # as above
    return "MainProcess"


def _task_name(asyncio: Any) -> str | None:  # noqa: ANN401 - the module, if the application has imported it
    # By `getattr`, for it came with Python 3.12, as the name did.
    if not getattr(logging, "logAsyncioTasks", False) or asyncio._get_running_loop() is None:  # noqa: SLF001 - it raises nothing
        return None
    with contextlib.suppress(Exception):
        return asyncio.current_task().get_name()  # type: ignore[no-any-return]  # as above
    return None


def event_record(
    logger: logging.Logger, level: int, event: object, fields: Mapping[str, Any], args: tuple[Any, ...] = ()
) -> logging.LogRecord:
    """Return the record of an event, made by the application's own factory if it has set one."""
    if logging.getLogRecordFactory() is logging.LogRecord:
        return EventRecord(logger.name, level, event, fields, args)
    record = logger.makeRecord(logger.name, level, "(unknown file)", 0, event, args, None, "(unknown function)")
    record.__dict__.update(fields)  # as `extra` they must not be what a factory has put there
    return record
