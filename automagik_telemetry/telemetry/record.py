"""Records of events that don't say where they were logged, which is two thirds of what a record costs."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry.empty_record import EMPTY_RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def _process_name(multiprocessing: Any) -> str:  # noqa: ANN401 - the module, if the host has imported it
    if multiprocessing is not None:
        with contextlib.suppress(Exception):  # it may not have been imported to its end
            return multiprocessing.current_process().name  # type: ignore[no-any-return]  # as above
    return "MainProcess"


def _task_name(asyncio: Any) -> str | None:  # noqa: ANN401 - the module, if the host has imported it
    # By `getattr`, for it came with Python 3.12, as the name did.
    if not getattr(logging, "logAsyncioTasks", False) or asyncio._get_running_loop() is None:  # noqa: SLF001 - it raises nothing
        return None
    with contextlib.suppress(Exception):
        return asyncio.current_task().get_name()  # type: ignore[no-any-return]  # as above
    return None


def event_record(
    logger: logging.Logger, level: int, event: object, fields: Mapping[str, Any], args: tuple[Any, ...] = ()
) -> logging.LogRecord:
    """Return the record of an event, made by the host's factory if it has set one, on which its handlers may rely."""
    if logging.getLogRecordFactory() is logging.LogRecord:
        return EventRecord(logger.name, level, event, fields, args)
    record = logger.makeRecord(logger.name, level, "(unknown file)", 0, event, args, None, "(unknown function)")
    record.__dict__.update(fields)  # as `extra` they must not be what a factory has put there
    return record
