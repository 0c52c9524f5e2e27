"""A trace that the sink gets directly is sent like a logged one; other handlers get a record."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.handlers._loggers import TRACE_LOGGER
from automagik_telemetry.tracing.spans import open_span
from tests.automagik_telemetry.sinks.langwatch.test_handler import langwatch, metrics, traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.manager import TracingManager
    from tests.faults.server import Endpoint

__all__ = ["langwatch", "traced"]


class Listening(logging.Handler):
    """A handler of the application, or its filter."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it through."""
        self.received.append(vars(record).get("spans"))
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """See `filter`."""


@pytest.fixture(params=["nobody", "handler", "filter of the handler", "filter of the logger"])
def listening(request: pytest.FixtureRequest, traced: TracingManager) -> Iterator[Listening | None]:
    """Another handler beside the sink, or instead of it for a moment."""
    assert traced.observability is not None
    logger, sink = logging.getLogger(TRACE_LOGGER), traced.observability.providers["langwatch"].handler
    made = Listening()
    if request.param == "nobody":
        yield None
    elif request.param == "handler":
        logger.addHandler(made)
        yield made
        logger.removeHandler(made)
    else:
        filtered: logging.Filterer = sink if "handler" in request.param else logger
        filtered.addFilter(made)
        yield made
        filtered.removeFilter(made)


def test_other_handlers_get_the_record_and_the_same_is_sent(
    traced: TracingManager, langwatch: Endpoint, listening: Listening | None
) -> None:
    """Without another handler there is no record. The sent trace, without secrets, and the metrics are the same."""
    root = open_span("agent.simple", "agent", input=[{"role": "user", "content": "hi"}], attributes={"n": 1})
    with root.within():
        open_span("chat", "llm", model="m", input="my password: hunter2").end()
    root.end()
    quick = open_span("agent.quick", "agent", input=[{"role": "user", "content": "hi"}], attributes={"n": 1})
    quick.end()
    assert traced.flush(20)
    sent = b"".join(request.body for request in langwatch.requests).decode()
    assert "hunter2" not in sent
    spans = [each for request in langwatch.requests for each in _spans(request.body)]
    assert sorted(each["name"] for each in spans) == ["agent.quick", "agent.simple", "chat"]
    first, second = ({a["key"]: a["value"] for a in each["attributes"]} for each in spans if each["name"] != "chat")
    assert first.keys() == second.keys()
    assert first["langwatch.input"] == second["langwatch.input"]
    assert metrics(traced)["tracer"]["processed"] == 2
    assert traced.observability is not None
    assert traced.observability.get_metrics()["traces"]["traces"] == 2
    if listening is not None:
        assert [len(received) for received in listening.received] == [2, 1]


def _spans(body: bytes) -> list[dict[str, Any]]:
    (resource,) = json.loads(body)["resourceSpans"]
    return [span for scope in resource["scopeSpans"] for span in scope["spans"]]


def test_what_can_not_be_accepted_is_logged(traced: TracingManager, langwatch: Endpoint) -> None:
    """A trace with an object that is not plain data is sent, and the object counted."""
    open_span("run", input=object()).end()
    assert traced.flush(20)
    assert "[object]" in langwatch.requests[0].body.decode()
    assert traced.observability is not None
    assert traced.observability.get_metrics()["traces"]["not_serializable"] == 1
