"""Values of any class are sent by their meaning on every path, and each unusable field is counted by name."""

from __future__ import annotations

import datetime as dt
import json
import logging
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from click.testing import CliRunner

from automagik_telemetry import configure, emit_event, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.fault(75)


class Event(StrEnum):
    """An application's names of events."""

    RUN = "agent.run"


class Name(str, Enum):  # noqa: UP042 - as applications write it
    """An application's names of agents."""

    SIMPLE = "simple"


class Tokens(IntEnum):
    """A number."""

    MANY = 1234


class Share:
    """A number of a library."""

    def __float__(self) -> float:
        return 7.0


FIELDS: dict[str, Any] = {
    "agent_name": Name.SIMPLE,
    "framework": Name.SIMPLE,
    "success": 0,
    "duration_ms": dt.timedelta(seconds=1.5),
    "has_multimodal": Decimal(1),
    "token_count": Tokens.MANY,
    "input_tokens": Fraction(14, 2),
    "output_tokens": Share(),
    "request_count": True,
}
SENT = {
    "event.agent_name": "simple",
    "event.framework": "simple",
    "event.success": False,
    "event.duration_ms": 1500.0,
    "event.has_multimodal": True,
    "event.token_count": 1230,
    "event.input_tokens": 7,
    "event.output_tokens": 7,
    "event.request_count": 1,
}


def by_logging() -> None:
    """Log with the standard library."""
    logging.getLogger("automagik.agents").info(Event.RUN, extra=FIELDS)


def by_structlog() -> None:
    """Log with structlog."""
    structlog.get_logger().info(Event.RUN, **FIELDS)


def by_an_own_chain() -> None:
    """Log with a chain of the application's own."""
    emit_event(None, "info", {"event": Event.RUN, **FIELDS})


def by_the_facade() -> None:
    """Track an event."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_event(AgentExecutionEvent(**FIELDS))


@pytest.mark.parametrize("log", [by_logging, by_structlog, by_an_own_chain, by_the_facade])
def test_values_are_sent_by_what_they_mean(
    opted_in: Any, fields: Any, flush: Callable[[], None], log: Callable[[], None]
) -> None:
    """Each kind of logger gives the same fields."""
    configure()
    log()
    flush()
    (span,) = opted_in.spans()
    sent = {key: value for key, value in fields(span).items() if key.startswith("event.")}
    assert (span["name"], sent, span["status"]) == ("agent.run", SENT, {"code": 2})
    assert int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) == 1_500_000_000


def test_a_failure_is_an_error_in_any_class() -> None:
    """An event that failed has the level of a failure."""
    assert AgentExecutionEvent("simple", "agno", Decimal(0), 1).severity() == logging.ERROR  # type: ignore[arg-type]
    assert AgentExecutionEvent("simple", "agno", Decimal(1), 1).severity() == logging.INFO  # type: ignore[arg-type]


def test_a_field_that_can_not_be_taken_is_counted_by_name(opted_in: Any, fields: Any) -> None:
    """The count is in the metrics, in `status` and in `doctor`; the event is sent without the field."""
    manager = configure()
    for tokens in (-1, float("nan"), object(), "many", 10**400):
        logging.getLogger("automagik.agents").info("agent.run", extra={"token_count": tokens, "agent_name": "simple"})
    logging.getLogger("automagik.agents").info("agent.run", extra={"duration_ms": dt.date(2024, 1, 1)})
    assert manager.flush(10)
    assert manager.telemetry is not None
    metrics = manager.telemetry.get_metrics()["tracer"]
    expected = {"agent.run.token_count": 5, "agent.run.duration_ms": 1}
    assert (metrics["dropped_fields"], metrics["dropped"], metrics["processed"]) == (expected, 0, 6)
    assert "event.token_count" not in {key for span in opted_in.spans() for key in fields(span)}
    manager.shutdown()
    status = CliRunner().invoke(main, ["status", "-v"], catch_exceptions=False).output
    assert "5 values of agent.run.token_count dropped: not of the field's kind" in status
    (destination,) = json.loads(CliRunner().invoke(main, ["status", "--json"]).output)["destinations"]
    assert destination["dropped_fields"] == expected
    assert "1 value of agent.run.duration_ms dropped" in CliRunner().invoke(main, ["doctor"]).output


def test_names_of_fields_do_not_crowd_out_reasons(opted_in: Any) -> None:
    """A few fields are counted by name and the others together; a reason keeps a count under its own name."""
    sink = configure()._handler
    for number in range(60):
        sink.stats.drop_field("an.event.with.a.long.name", f"field_{number}_{'x' * 40}")
    sink.stats.drop("sampled")
    dropped = sink.stats.dropped_fields()
    assert (len(dropped), sum(dropped.values()), sink.stats.own().dropped) == (13, 60, {"sampled": 1})


@pytest.mark.parametrize(
    ("usage", "cost", "sent", "lost"),
    [
        ({"input_tokens": Decimal(3)}, Decimal("0.25"), {"prompt_tokens": 3, "cost": 0.25}, set()),
        ({"input_tokens": Tokens.MANY}, Fraction(1, 4), {"prompt_tokens": 1234, "cost": 0.25}, set()),
        ({"input_tokens": Share()}, Share(), {"prompt_tokens": 7, "cost": 7.0}, set()),
        ({"input_tokens": 2.5, "output_tokens": 2.0}, -1, {"completion_tokens": 2}, {"input_tokens", "cost"}),
        ({"input_tokens": 10**400}, float("nan"), None, {"input_tokens", "cost"}),
        ({"input_tokens": "3"}, "free", None, {"input_tokens", "cost"}),
    ],
)
def test_measures_of_a_trace(  # noqa: PLR0913, PLR0917 - a trace, and what is sent of it
    to_langwatch: Any, fields: Any, usage: dict[str, Any], cost: Any, sent: dict[str, Any] | None, lost: set[str]
) -> None:
    """Tokens and cost of any numeric class are sent; any other value is counted by name."""
    manager = configure()
    span = open_span(Name.SIMPLE, "llm", usage=usage, cost=cost)
    span.end()
    assert manager.flush(10)
    (span_sent,) = to_langwatch.spans()
    assert span_sent["name"] == "simple"
    metrics = fields(span_sent).get("langwatch.metrics")
    assert (None if metrics is None else json.loads(metrics)) == sent
    manager.shutdown()
    status = CliRunner().invoke(main, ["status", "-v"], catch_exceptions=False).output
    assert all(f"1 value of {name} dropped: not valid" in status for name in lost)
    assert status.count("not valid") == len(lost)


@pytest.mark.parametrize(
    ("duration", "milliseconds"),
    [
        (dt.timedelta(seconds=2), 2000),
        (Decimal(2000), 2000),
        (2000, 2000),
        (Share(), 7),
        (-1, 0),
        (float("inf"), 0),
        (1e300, 0),
        ("long", 0),
    ],
)
def test_duration_of_a_call(to_langwatch: Any, duration: Any, milliseconds: int) -> None:
    """The span began that much earlier. An invalid duration is counted, and the call is still reported."""
    manager = configure()
    assert manager.observability is not None
    provider = manager.observability.providers["langwatch"]
    provider.log_llm_call("gpt", "question", "answer", {"prompt_tokens": Share()}, duration_ms=duration)
    assert manager.flush(10)
    (span,) = to_langwatch.spans()
    lasted = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6
    assert milliseconds <= lasted < milliseconds + 1000
    assert ("invalid.duration_ms" in provider._recorder.metrics()) is (milliseconds == 0)
