"""A handler's chain: the bytes of every event are the same on every path."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_processors import Anonymize, OTLPLogRecord, OTLPSpan, Sample, Word, merge_context
from automagik_telemetry import ChainFormatter, configure, get_tracing_manager
from automagik_telemetry.events import word
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.events.catalogue import TelemetryEvent
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDED = Path(__file__).with_name("recorded_events.txt")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = {"word": "simple", "flag": True, "count": 12_345, "duration": 1234.5678}
UNKNOWN = {"word": 'm"ine\n', "flag": False, "count": 7, "duration": 99}
ODD = {"word": 7, "flag": 1, "count": -1, "duration": float("nan")}


def records() -> list[logging.LogRecord]:
    """Return records of every event with valid, unknown and odd values, and with keys besides the fields."""
    cases: list[tuple[str, int, dict[str, Any]]] = [
        (name, level, {field: values[kind.name] for field, kind in kinds.items()})
        for name, kinds in CATALOGUE.items()
        for level, values in ((logging.INFO, VALID), (logging.ERROR, UNKNOWN), (25, ODD))
    ]
    cases += [
        ("agent.run", logging.INFO, {"agent_name": "simple", "trace_id": TRACE, "span_id": SPAN, "password": "x"}),
        ("agent.run", logging.INFO, {"parent_span_id": SPAN, "sample_rate": 0.5, "duration_ms": 1e12}),
        (
            "agent.run",
            logging.CRITICAL,
            {"trace_id": "none", "span_id": 3, "sample_rate": 7, "level": "x", "event": "y"},
        ),
    ]
    return [
        logging.makeLogRecord({**fields, "msg": name, "levelno": level, "created": 1.7e9})
        for name, level, fields in cases
    ]


def step(_logger: object, _method: str, event_dict: Any) -> Any:
    """Change nothing, as an observing step of the application."""
    return event_dict


def chain(encoder: type[OTLPSpan | OTLPLogRecord], *before: Callable[..., Any]) -> ChainFormatter:
    """Return the chain of logging.yaml with known ids and hash key."""
    anonymize = Anonymize(CATALOGUE, {"simple"}, key=b"k")
    otlp = encoder("event.", {"system.os": "Linux"}, ids=lambda: 2, clock=lambda: 1e9)
    return ChainFormatter([*before, merge_context, anonymize, Sample(), otlp])


def encoded(*before: Callable[..., Any]) -> list[str]:
    """Return all records as spans, and as log records."""
    return [chain(encoder, *before).format(record) for encoder in (OTLPSpan, OTLPLogRecord) for record in records()]


@pytest.mark.parametrize("before", [[], [step]], ids=["in one pass", "step by step"])
def test_events_are_sent_as_they_were_recorded(before: list[Any]) -> None:
    """The bytes of every event match the recording, also with a step of the application's own."""
    assert encoded(*before) == RECORDED.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("before", [[], [step]], ids=["in one pass", "step by step"])
def test_what_is_bound_is_sent(before: list[Any]) -> None:
    """Structlog's context counts on both paths, and the enclosing span becomes the parent."""
    record = logging.makeLogRecord({"msg": "agent.run", "levelno": logging.INFO, "created": 1.7e9})
    formatter = chain(OTLPSpan, *before)
    alone = formatter.encode(record)
    with structlog.contextvars.bound_contextvars(agent_name="simple", trace_id=TRACE, span_id=SPAN):
        bound = formatter.encode(record)
    assert b"simple" not in alone + formatter.encode(record)
    assert b'"stringValue":"simple"' in bound
    assert b"parentSpanId" in bound


def failed_record() -> logging.LogRecord:
    """Return the record of a failure with its exception."""
    error = ValueError("hunter2")
    record = logging.makeLogRecord({"msg": "agent.error", "levelno": logging.ERROR, "error_type": "ValueError"})
    record.exc_info = (type(error), error, None)
    return record


@pytest.mark.parametrize("encoder", [OTLPSpan, OTLPLogRecord])
@pytest.mark.parametrize("before", [[], [step]], ids=["in one pass", "step by step"])
def test_an_anonymous_chain_sends_nothing_of_an_exception(encoder: Any, before: list[Any]) -> None:
    """An exception is not declared, so neither its message nor its stack is sent."""
    sent = chain(encoder, *before).encode(failed_record())
    assert b"exception" not in sent
    assert b"hunter2" not in sent


@pytest.mark.parametrize("encoder", [OTLPSpan, OTLPLogRecord])
def test_a_chain_that_does_not_anonymize_sends_the_exception(encoder: Any) -> None:
    """The exception of a record is sent by the conventions, with `logger.exception` as well as with `exc_info`."""
    sent = ChainFormatter([encoder()]).encode(failed_record())
    assert b'{"key":"exception.type","value":{"stringValue":"ValueError"}}' in sent
    assert b'{"key":"exception.message","value":{"stringValue":"hunter2"}}' in sent


@pytest.mark.parametrize("name", ["module", "process", "name", "message", "exc_info"])
def test_a_field_with_a_name_of_loggings_is_refused(name: str) -> None:
    """Such a field can't be declared because its value would be the record's own."""
    with pytest.raises(ValueError, match=rf"processors\[0\]: field '{name}' of 'e'"):
        ChainFormatter([Anonymize({"e": {name: Word()}}), Sample(), OTLPSpan()])
    with pytest.raises(ValueError, match=rf"Mine\.{name}: logging uses this name"):
        type("Mine", (TelemetryEvent,), {name: word("A word.")})


@pytest.mark.parametrize("first", [True, False], ids=["before ours", "after ours"])
def test_a_second_handler_gets_tracked_events_as_well(opted_in: Any, first: bool) -> None:
    """A handler of the application on the event logger gets whole records, wherever it is, and ours sends them."""
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    manager = configure()
    events = logging.getLogger("automagik_telemetry.events")
    events.handlers.insert(0 if first else 1, Keep())
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_event(AgentExecutionEvent("simple", "agno", success=True, duration_ms=250))
    assert [(record.getMessage(), vars(record)["agent_name"]) for record in seen] == [("agent.run", "simple")]
    assert manager.flush(10)
    assert len(opted_in.spans()) == 1


def test_a_tracked_event_below_the_handlers_level_is_not_sent(opted_in: Any) -> None:
    """The level of the handler counts where no record is made, too."""
    manager = configure()
    sink = loggers.sinks()["telemetry"]
    sink.setLevel(logging.ERROR)
    telemetry = manager.telemetry
    assert telemetry is not None
    for success in (True, False):
        telemetry.track_event(AgentExecutionEvent("simple", "agno", success=success, duration_ms=250))
    assert manager.flush(10)
    assert [span["status"]["code"] for span in opted_in.spans()] == [2]
