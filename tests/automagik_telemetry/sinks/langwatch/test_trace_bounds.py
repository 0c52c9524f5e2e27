"""A trace stays far below LangWatch's limits, and has marks for omitted values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from automagik_processors import Scrub
from automagik_processors._bounded_json import MAX_NODES, MAX_TEXT, MAX_VALUE, dumps
from automagik_telemetry import LangWatchTrace
from automagik_telemetry.sinks.langwatch import _keys as keys
from automagik_telemetry.sinks.langwatch.trace import MAX_TRACE
from tests.automagik_telemetry.sinks.langwatch.test_trace import AGENT, MODEL, ROOT, read, trace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read"]


def test_long_texts_are_cut(read: Callable[..., Any]) -> None:
    """A long text is cut anywhere, with a mark of the number of missing characters."""
    long = "x" * (MAX_TEXT + 1_234)
    message = [{"role": "user", "content": long}]
    ((_, sent),) = read(trace({**AGENT, "input": long, "output": message, "metadata": {"note": long}}))
    cut = "x" * MAX_TEXT + "[cut: 1,234 more characters]"
    assert json.loads(sent[keys.INPUT])["value"] == cut
    assert json.loads(sent[keys.OUTPUT])["value"][0]["content"] == cut
    assert json.loads(sent[keys.METADATA])["note"] == cut


def test_values_are_bounded() -> None:
    """The size and number of all texts of a value are bounded, with marks for the rest."""
    assert MAX_VALUE < len(dumps(["y" * MAX_TEXT] * 100)) < MAX_VALUE + 10_000
    many = json.loads(dumps(list(range(MAX_NODES + 5))))
    assert len(many) <= MAX_NODES + 1
    assert many[-1] == "[cut]"


@pytest.mark.slow
@pytest.mark.parametrize("filler", ["x", "\u20ac", "\x00", '"'])
def test_large_trace_is_bounded(read: Callable[..., Any], filler: str) -> None:
    """The oldest spans lose their content, then spans go; they are marked and counted, and the others stay whole."""
    spans = [
        {**MODEL, "span_id": f"{number + 1:016x}", "input": filler * MAX_TEXT, "output": [filler * MAX_TEXT] * 8}
        for number in range(5_000)
    ]
    event = trace(*spans, {**AGENT, "input": "short"}, truncated_spans=7)
    body = LangWatchTrace()(None, "info", event)
    assert 0.9 * MAX_TRACE < len(body) < MAX_TRACE
    (root, sent), *others, (_, sums) = read(event)
    assert root.span_id.hex() == ROOT
    assert sums["gen_ai.usage.input_tokens"] + 7 * len(others) == 7 * len(spans)
    assert sums[keys.TRUNCATED_SPANS] == len(spans) - len(others)
    assert json.loads(sent[keys.INPUT])["value"] == "short"
    assert sent[keys.TRUNCATED_SPANS] == 7 + len(spans) - len(others)
    whole = [keys.INPUT in each for _, each in others]
    assert whole == sorted(whole)
    assert all(each.get(keys.TRUNCATED, False) for _, each in others)  # eight texts of this size do not fit one value
    size = 9 * MAX_TEXT
    assert {each[keys.TRUNCATED_CHARACTERS] for (_, each), kept in zip(others, whole, strict=True) if not kept} <= {
        size
    }


@pytest.mark.slow
def test_root_that_is_too_large(read: Callable[..., Any]) -> None:
    """A root that doesn't fit alone is sent without its content, at its time, so that the trace does arrive."""
    many = {f"key {number}": "\x00" * MAX_TEXT for number in range(128)}
    ((span, sent),) = read(trace({**AGENT, "input": "\x00" * MAX_TEXT, "attributes": many}), max_bytes=10_000)
    assert (span.name, span.end_time_unix_nano) == ("simple", int((AGENT["end"]) * 1e9))  # type: ignore[operator]
    assert sent[keys.SPAN_TYPE] == "agent"


def test_scrubbing_reaches_the_last_span(read: Callable[..., Any]) -> None:
    """The last span of a trace with thousands of values is still sent, without its secrets."""
    messages = [{"role": "user", "content": "hello"}] * 100
    spans = [{**MODEL, "span_id": f"{number + 1:016x}", "input": messages} for number in range(200)]
    spans[-1] |= {"output": "api_key=abc123"}
    found = read(trace(AGENT, *spans), chain=[Scrub()])
    assert len(found) == 201
    assert "[scrubbed]" not in str([sent for _, sent in found[:-1]])
    assert json.loads(found[-1][1][keys.OUTPUT])["value"] == "api_key=[scrubbed]"


@pytest.mark.parametrize("size", [0, 9_999, 1e6, True, "4000000"])
def test_wrong_size_is_refused(size: Any) -> None:
    """A size that is too small or not a number is one clear error."""
    with pytest.raises(ValueError, match=r"LangWatchTrace\(max_bytes="):
        LangWatchTrace(max_bytes=size)
