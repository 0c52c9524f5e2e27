"""A trace becomes valid spans for LangWatch, with any content."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Dropped, Scrub, envelope
from automagik_telemetry import LangWatchTrace
from automagik_telemetry.sinks.langwatch import _keys as keys
from tests.privacy.shapes import TEMPLATES, parts
from tests.processors.test_otlp import values

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE, ROOT, CHILD = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
NOW = 1_700_000_000.5
AGENT = {"span_id": ROOT, "parent_span_id": None, "name": "simple", "type": "agent", "start": NOW, "end": NOW + 2}
MODEL = {
    "span_id": CHILD,
    "parent_span_id": ROOT,
    "name": "gpt-4o",
    "type": "llm",
    "start": NOW + 0.5,
    "end": NOW + 1.5,
    "model": "gpt-4o",
    "provider": "openai",
    "usage": {"input_tokens": 7, "output_tokens": 3, "reasoning_tokens": 1, "cache_read_tokens": 2},
    "cost": 0.25,
    "cost_estimated": True,
    "first_token_at": NOW + 0.75,
    "thread_id": "a thread",
    "user_id": "a user",
}
FIELDS = (
    *("span_id", "parent_span_id", "name", "type", "start", "end", "input", "output", "error", "model", "provider"),
    *("usage", "cost", "cost_estimated", "first_token_at", "thread_id", "user_id", "metadata", "attributes"),
)


@pytest.fixture(scope="session")
def read(body: Callable[[str, bytes], Any], attributes: Callable[[Any], dict[str, Any]]) -> Callable[..., Any]:
    """Encode a trace and return its spans, as the official classes read them, each with its attributes."""

    def encode(event: Any, chain: Any = (), **options: Any) -> list[tuple[Any, dict[str, Any]]]:
        for processor in (*chain, LangWatchTrace(**options)):
            event = processor(None, "info", event)
        assert b"\n" not in event
        head, tail = envelope("traces", {"service.name": "tests"}, "scope", "1")
        spans = body("traces", head + event + tail).resource_spans[0].scope_spans[0].spans
        return [(span, attributes(span)) for span in spans]

    return encode


def trace(*spans: Any, **fields: Any) -> dict[str, Any]:
    """Return the event of a trace."""
    return {"event": "trace", "level": "info", "timestamp": NOW, "trace_id": TRACE, "spans": list(spans), **fields}


def test_agent_and_model(read: Callable[..., Any]) -> None:
    """The root comes first; IDs, times, model, tokens, cost and first token have LangWatch's keys."""
    (agent, sent), (model, sent_model) = read(
        trace(MODEL, AGENT, metadata={"team": "x"}, sample_rate=0.1, sample_reason="no")
    )
    assert (agent.trace_id.hex(), agent.span_id.hex(), agent.parent_span_id) == (TRACE, ROOT, b"")
    assert (model.trace_id.hex(), model.parent_span_id.hex(), model.name) == (TRACE, ROOT, "gpt-4o")
    assert (agent.end_time_unix_nano - agent.start_time_unix_nano) == 2_000_000_000
    assert (agent.kind, agent.status.code) == (1, 1)
    assert sent[keys.SPAN_TYPE] == "agent"
    assert json.loads(sent[keys.METADATA]) == {"team": "x", "sample_rate": 0.1, "sample_reason": "no"}
    assert (sent[keys.SAMPLE_RATE], sent[keys.SAMPLE_REASON]) == (0.1, "no")
    assert sent_model[keys.SPAN_TYPE] == "llm"
    assert sent_model[keys.MODEL] == "gpt-4o"
    assert sent_model[keys.SYSTEM] == sent_model[keys.PROVIDER] == "openai"
    assert (
        sent_model[keys.INPUT_TOKENS],
        sent_model[keys.OUTPUT_TOKENS],
        sent_model[keys.CACHE_READ_TOKENS],
    ) == (7, 3, 2)
    assert (sent_model[keys.THREAD], sent_model[keys.USER], sent_model[keys.COST_ESTIMATED]) == (
        "a thread",
        "a user",
        True,
    )
    assert json.loads(sent_model[keys.METRICS]) == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "reasoning_tokens": 1,
        "cost": 0.25,
        "first_token_ms": 250,
    }
    started = int((NOW + 0.5) * 1000)
    assert json.loads(sent_model[keys.TIMESTAMPS]) == {
        "started_at": started,
        "first_token_at": started + 250,
        "finished_at": started + 1000,
    }


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("hello", "text", "hello"),
        ("", "text", ""),
        ([{"role": "user", "content": "hi"}], "chat_messages", [{"role": "user", "content": "hi"}]),
        ([{"role": "boss"}], "json", [{"role": "boss"}]),
        ({"a": [1, None, False]}, "json", {"a": [1, None, False]}),
        (0, "json", 0),
        ({"type": "raw", "value": "<x>"}, "raw", "<x>"),
        ({"type": "raw", "value": 5}, "json", {"type": "raw", "value": 5}),
        ({"type": "chat_messages", "value": "no"}, "json", {"type": "chat_messages", "value": "no"}),
        ({"type": "list", "value": ["a", 5]}, "list", [{"type": "text", "value": "a"}, {"type": "json", "value": 5}]),
        ({"type": "image", "value": 5}, "json", {"type": "image", "value": 5}),
        (ValueError("bad"), "json", "ValueError: bad"),
        (b"\x00\x01", "json", "[2 bytes]"),
    ],
)
def test_inputs_and_outputs_are_typed(read: Callable[..., Any], value: Any, kind: str, expected: Any) -> None:
    """A value is sent in the most suitable form, and never under a type that it doesn't fit."""
    ((_, sent),) = read(trace({**AGENT, "input": value, "output": value}))
    assert json.loads(sent[keys.INPUT]) == json.loads(sent[keys.OUTPUT]) == {"type": kind, "value": expected}


def test_no_attribute_that_was_not_set(read: Callable[..., Any]) -> None:
    """An empty span is sent with only its type and times."""
    ((span, sent),) = read(trace({"span_id": ROOT}))
    assert (span.name, sent.keys()) == ("span", {keys.SPAN_TYPE, keys.TIMESTAMPS})


def test_error(read: Callable[..., Any], attributes: Callable[[Any], dict[str, Any]]) -> None:
    """An error is the span's status, and an exception event with class, message and stack."""
    error = {"type": "KeyError", "message": "no such key", "stacktrace": "line 1\nline 2"}
    ((span, sent),) = read(trace({**AGENT, "error": error}))
    assert (span.status.code, span.status.message, sent[keys.ERROR_TYPE]) == (2, "no such key", "KeyError")
    (event,) = span.events
    assert event.name == "exception"
    assert event.time_unix_nano == span.end_time_unix_nano
    assert tuple(attributes(event).items()) == tuple(zip(keys.EXCEPTION, error.values(), strict=True))


@pytest.mark.parametrize("event", [{}, {"event": "agent.run"}, {"spans": []}, {"spans": "x"}, {"spans": [5]}, None, 5])
def test_what_is_no_trace_is_dropped(event: Any) -> None:
    """An event without spans is dropped, with its reason."""
    with pytest.raises(Dropped) as caught:
        LangWatchTrace()(None, "info", event)
    assert caught.value.reason == "not_a_trace"


spans = st.lists(st.dictionaries(st.sampled_from(FIELDS), values, max_size=10) | values, max_size=4)
events = st.fixed_dictionaries(
    {"spans": spans},
    optional=dict.fromkeys(
        ("trace_id", "timestamp", "metadata", "sample_rate", "sample_reason", "truncated_spans", "level"), values
    ),
)


@given(event=events, scrubbed=st.booleans())
def test_any_trace_becomes_valid_spans(event: dict[str, Any], scrubbed: bool, read: Callable[..., Any]) -> None:
    """Any trace gives valid output: as many spans as dicts, with IDs and JSON."""
    expected = sum(type(span) is dict for span in event["spans"])
    if not expected:
        return
    found = read(event, chain=[Scrub()] if scrubbed else [])
    assert len(found) == expected
    assert len({span.trace_id for span, _ in found}) == 1
    for span, sent in found:
        assert len(span.span_id) == 8
        assert any(span.span_id)
        assert sent[keys.SPAN_TYPE] in keys.SPAN_TYPES
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        for key in {keys.INPUT, keys.OUTPUT, keys.METRICS, keys.TIMESTAMPS, keys.METADATA} & sent.keys():
            json.loads(sent[key], parse_constant=pytest.fail)


class Loud:
    """An object of which every use raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def test_hostile_values(read: Callable[..., Any]) -> None:
    """Cycles, depth, NaN, surrogates, huge numbers, bytes and objects that raise are sent with marks."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = "x"
    for _ in range(100):
        deep = {"a": deep}
    odd = [cycle, deep, float("nan"), "\ud800", 10**400, 2**64, Loud(), {Loud: 1}, range(3), memoryview(b"12"), ...]
    ((span, sent),) = read(trace({**AGENT, "input": odd, "output": Loud(), "name": Loud(), "metadata": {"x": odd}}))
    sent = json.loads(sent[keys.INPUT])["value"]
    assert sent[0] == [["[cut]"]] or sent[0] == ["[cut]"]
    assert sent[2:5] == ["nan", "\ufffd", str(10**400)]
    assert (sent[5], sent[6], sent[9]) == (str(2**64), "Loud", "[2 bytes]")
    assert span.name == "Loud"


@pytest.mark.parametrize("template", TEMPLATES)
def test_secrets_in_content_are_scrubbed(read: Callable[..., Any], template: str) -> None:
    """A secret in messages, arguments, results, errors or metadata of any span is sent as a mark."""
    whole, pieces = parts(template, random.Random(template))
    message = [{"role": "user", "content": f"use {whole} now"}]
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": json.dumps(whole)}}]}
    spans = [
        {**AGENT, "input": whole, "metadata": {"note": whole}},
        {**MODEL, "input": message, "output": [call], "error": {"type": "E", "message": whole, "stacktrace": whole}},
        {
            **MODEL,
            "span_id": "1" * 16,
            "type": "tool",
            "input": {"a": [whole]},
            "output": {"type": "json", "value": whole},
        },
    ]
    sent = LangWatchTrace()(None, "info", Scrub()(None, "info", trace(*spans))).decode()
    assert [piece for piece in pieces if piece in sent] == []
    assert [field for field in (ROOT, CHILD, "1" * 16, "gpt-4o", '"7"') if field not in sent] == []


def test_secret_names_in_arguments(read: Callable[..., Any]) -> None:
    """A value under a secret's name becomes a mark, also in the JSON of arguments; token counts stay."""
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "login", "arguments": '{"password": "hunter2", "n": 1}'},
    }
    output = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    found = read(trace({**MODEL, "input": {"password": "hunter2", "user": "me"}, "output": output}), chain=[Scrub()])
    ((_, sent),) = found
    assert json.loads(sent[keys.INPUT])["value"] == {"password": "[scrubbed]", "user": "me"}
    assert "hunter2" not in str(sent)
    assert sent[keys.INPUT_TOKENS] == 7
