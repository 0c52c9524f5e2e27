"""Records without a source location are otherwise the same as those of the standard library."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_processors import OTLPSpan
from automagik_telemetry import (
    ChainFormatter,
    LangWatchTrace,
    configure,
    get_tracing_manager,
    langwatch_handler,
    telemetry_handler,
)
from automagik_telemetry.handlers._log_event import log_event
from automagik_telemetry.handlers._loggers import sinks
from automagik_telemetry.handlers._record import event_record
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("automagik.agents")
TIMES = {"created", "msecs", "relativeCreated"}


def both() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of a record of ours, and of one of the standard library's, made one after the other."""
    ours = event_record(LOGGER, logging.WARNING, "agent emma", {"tokens": 7})
    theirs = LOGGER.makeRecord(
        LOGGER.name,
        logging.WARNING,
        "(unknown file)",
        0,
        "agent emma",
        (),
        None,
        "(unknown function)",
        extra={"tokens": 7},
    )
    assert ours.getMessage() == theirs.getMessage() == "agent emma"
    return vars(ours), vars(theirs)


def here() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Make the records on this thread."""
    return [both()]


def in_a_thread() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Make the records on a thread with a name of its own."""
    made: list[tuple[dict[str, Any], dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: made.append(both()), name="the other")
    thread.start()
    thread.join()
    return made


def in_a_task() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Make the records in a task with a name of its own."""

    async def task() -> tuple[dict[str, Any], dict[str, Any]]:
        return both()

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        return await asyncio.create_task(task(), name="the task")

    return [asyncio.run(main())]


@pytest.mark.parametrize("make", [here, in_a_thread, in_a_task])
@pytest.mark.parametrize("off", [None, "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"])
def test_a_record_is_as_logging_would_have_made_it(
    make: Callable[[], list[tuple[dict[str, Any], dict[str, Any]]]], off: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys and their order are the same, whatever the application has switched off; times follow each other."""
    if off is not None:
        monkeypatch.setattr(logging, off, False, raising=False)
    monkeypatch.setattr(multiprocessing.current_process(), "name", "the process")
    ((ours, theirs),) = make()
    assert list(ours) == list(theirs)
    assert {key: ours[key] for key in ours.keys() - TIMES} == {key: theirs[key] for key in theirs.keys() - TIMES}
    assert 0 <= theirs["created"] - ours["created"] < 1
    assert theirs["relativeCreated"] - ours["relativeCreated"] == pytest.approx(
        (theirs["created"] - ours["created"]) * 1000, abs=0.1
    )
    assert ours["msecs"] == pytest.approx(ours["created"] % 1 * 1000, abs=1.001)


def track() -> None:
    """Track an event with the facade."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_event(AgentExecutionEvent("simple", "agno", success=True, duration_ms=250))


@pytest.mark.parametrize("place", ["handler", "logger"])
def test_whoever_has_a_look_at_tracked_events_sees_a_whole_record(opted_in: Any, place: str) -> None:
    """A handler of the application, and a filter of its own on the logger."""
    seen: list[logging.LogRecord] = []

    class Seeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    def see(record: logging.LogRecord) -> bool:
        seen.append(record)
        return True

    manager = configure()
    logger, handler = logging.getLogger("automagik_telemetry.events"), Seeing()
    logger.addHandler(handler) if place == "handler" else logger.addFilter(see)
    try:
        track()
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(see)
    (record,) = seen
    assert logging.Formatter("%(threadName)s %(levelname)s %(message)s").format(record) == "MainThread INFO agent.run"
    assert vars(record)["agent_name"] == "simple"
    assert manager.flush(10)
    assert len(opted_in.spans()) == 1


def test_a_filter_on_the_sink_decides_on_tracked_events(opted_in: Any) -> None:
    """A filter of the application on our own handler sees a whole record too, and may refuse it."""
    manager = configure()
    sink = sinks()["telemetry"]
    sink.addFilter(lambda record: record.threadName != "MainThread")
    try:
        track()
    finally:
        sink.filters.clear()
    track()
    assert manager.flush(10)
    assert len(opted_in.spans()) == 1


@pytest.mark.parametrize("way", ["facade", "structlog"])
def test_a_factory_of_the_hosts_makes_every_record(opted_in: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A factory may set any attribute, even one with the name of a field; nothing is raised."""
    made: list[logging.LogRecord] = []

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.framework = "the host's"
        made.append(record)
        return record

    manager = configure()
    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    if way == "facade":
        track()
    else:
        structlog.get_logger("automagik.agents").info("agent.run", agent_name="simple", framework="agno")
    assert len(made) == 1
    assert manager.flush(10)
    (span,) = opted_in.spans()
    assert {"key": "event.framework", "value": {"stringValue": "agno"}} in span["attributes"]


def test_the_hosts_records_stay_as_they_are() -> None:
    """Importing the package makes no record, so records of the application store their fields as without it."""
    code = """
        import logging, sys, structlog
        if sys.argv[1:]:
            import automagik_telemetry.manager, automagik_telemetry.handlers._structlog, automagik_telemetry.telemetry
        for _ in range(2):
            record = logging.Logger("host").makeRecord("", 20, "", 1, "", (), None, extra=dict.fromkeys("abcdefgh"))
        print(sys.getsizeof(vars(record)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    without, with_us = (subprocess.check_output(command + more) for more in ([], ["us"]))
    assert with_us == without


def test_a_subclass_of_the_chain_is_asked_for_every_event(opted_in: Any) -> None:
    """Records that the subclass logs meanwhile are not sent."""
    asked = []

    class Chain(ChainFormatter):
        def encode(self, record: logging.LogRecord) -> bytes:
            asked.append(record.getMessage())
            LOGGER.info("agent.run")
            return super().encode(record)

    manager = configure()
    sink = sinks()["telemetry"]
    assert isinstance(sink.formatter, ChainFormatter)
    sink.setFormatter(Chain(sink.formatter.processors))
    for _ in range(3):
        track()
    assert manager.flush(10)
    assert asked == ["agent.run"] * 3
    assert len(opted_in.spans()) == 3
    assert manager.telemetry is not None
    assert manager.telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"reentrant": 3}


@pytest.mark.parametrize("is_trace", [False, True])
@pytest.mark.parametrize("for_traces", [False, True])
def test_a_sink_takes_without_a_record_only_what_it_is_for(
    monkeypatch: pytest.MonkeyPatch, is_trace: bool, for_traces: bool
) -> None:
    """Any other sink gets a record, which it treats as one logged by an application."""
    taken: list[str] = []
    handler = langwatch_handler() if for_traces else telemetry_handler()
    handler.setFormatter(ChainFormatter([LangWatchTrace() if for_traces else OTLPSpan()]))
    monkeypatch.setattr(handler, "take", lambda *_: taken.append("take"))
    monkeypatch.setattr(handler, "handle", lambda _: taken.append("handle"))
    handler.level = logging.INFO
    logger = logging.Logger("alone")  # noqa: LOG001 - no other test is to find it
    logger.propagate = False
    logger.addHandler(handler)
    log_event(logger, logging.INFO, "event", {}, is_trace=is_trace)
    log_event(logger, logging.DEBUG, "event", {}, is_trace=is_trace)
    assert taken == ["take" if is_trace is for_traces else "handle"]
    logger.addHandler(logging.NullHandler())
    log_event(logger, logging.INFO, "event", {}, is_trace=is_trace)
    assert taken[1:] == ["handle"]
