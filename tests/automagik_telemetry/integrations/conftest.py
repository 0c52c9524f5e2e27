"""Fixtures of the integrations' tests: the level, and full traces to the receiver."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.integrations import _wrapping

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def nothing_followed() -> None:
    """Follow no object that an earlier test has left, whose run would end in this one."""
    _wrapping._open.clear()


@pytest.fixture
def to_the_last_detail(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow events of level DEBUG."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "DEBUG")
    get_tracing_manager()
    logging.getLogger(loggers.LOGGER).setLevel(logging.DEBUG)


@dataclass
class Traced:
    """A span that arrived: its input and output as their typed values, and its other attributes, with parsed JSON."""

    name: str
    type: str
    parent: str | None
    input: Any
    output: Any
    said: dict[str, Any]
    raw: dict[str, Any]

    @property
    def id(self) -> str:
        """The span's id."""
        span_id: str = self.raw["spanId"]
        return span_id


@pytest.fixture
def traced(to_langwatch: Any, fields: Any) -> Callable[[], list[Traced]]:
    """Flush, and return every span that arrived at LangWatch's path, in the order of their begins."""

    def spans() -> list[Traced]:
        assert get_tracing_manager().flush(10)
        bodies = [body for path, _, body in to_langwatch.requests if path == "/api/otel/v1/traces"]
        found = [span for body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        # In a stable order: spans that began in the same microsecond keep the order of the trace.
        return [_read(span, fields(span)) for span in sorted(found, key=lambda span: int(span["startTimeUnixNano"]))]

    return spans


def _read(span: dict[str, Any], said: dict[str, Any]) -> Traced:
    for key in ("langwatch.metrics", "langwatch.timestamps", "metadata"):
        if key in said:
            said[key] = json.loads(said[key])
    took, gave = (json.loads(said.pop(f"langwatch.{key}", '{"value": null}'))["value"] for key in ("input", "output"))
    return Traced(span["name"], said.pop("langwatch.span.type"), span.get("parentSpanId"), took, gave, said, span)
