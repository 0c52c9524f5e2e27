"""The structure of a trace arrives whole, whatever its runs hold; of their content the oldest is cut, and counted."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automagik_processors import Scrub
from automagik_telemetry import LangWatchTrace
from automagik_telemetry.sinks.langwatch import _keys as keys
from automagik_telemetry.sinks.langwatch.trace import MAX_TRACE
from automagik_telemetry.tracing._recorder import TraceLimits
from automagik_telemetry.tracing.manager import ObservabilityManager
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import OpenSpan, open_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.automagik_telemetry.tracing.conftest import Logged

pytestmark = pytest.mark.usefixtures("keeping_all")


def encoded(event: dict[str, Any], max_bytes: int = MAX_TRACE) -> list[dict[str, Any]]:
    """Return the spans as they are sent, each with its attributes as a dict."""
    text = LangWatchTrace(max_bytes)(None, "info", Scrub()(None, "info", event))
    assert len(text) <= max_bytes
    spans: list[dict[str, Any]] = json.loads(b"[" + text + b"]")
    for span in spans:
        span["said"] = {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
    return spans


def total(spans: list[dict[str, Any]], key: str) -> int:
    """Return the sum of a count of tokens."""
    return sum(int(span["said"].get(key, 0)) for span in spans)


def cost(spans: list[dict[str, Any]]) -> float:
    """Return the sum of all costs."""
    return float(sum(json.loads(span["said"].get(keys.METRICS, "{}")).get("cost", 0) for span in spans))


def loop(turns: int, size: int) -> None:
    """Run an agent that asks its model with all messages so far, then executes a tool, `turns` times."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    root = open_span("agent", "agent", input="go", thread_id="thread", user_id="user")
    with root.within():
        for turn in range(turns):
            request = open_span(f"model {turn}", "llm", input=messages, model="gpt-4o", provider="openai")
            answer = {"role": "assistant", "content": f"call {turn}"}
            request.output, request.usage, request.cost = [answer], {"input_tokens": 3, "output_tokens": 2}, 0.5
            request.end()
            tool = open_span(f"tool {turn}", "tool", input={"turn": turn}, call_id=f"call-{turn}")
            tool.output = chr(97 + turn % 26) * size
            tool.end(ValueError(f"failed in turn {turn}") if turn % 10 == 3 else None)
            messages += [answer, {"role": "tool", "content": tool.output or chr(97 + turn % 26) * size}]
    root.output = "done"
    root.end()


@pytest.mark.parametrize(("turns", "size"), [(20, 1), (20, 20_000), (100, 1_000), (300, 1), (300, 20_000)])
def test_agent_loops_arrive_whole_in_structure(logged: Logged, turns: int, size: int) -> None:
    """Names, IDs, models, tokens, cost and errors of ordinary loops are whole in every span."""
    loop(turns, size)
    root, *spans = encoded(logged.only())
    assert json.loads(root["said"][keys.OUTPUT])["value"] == "done"
    assert (root["said"][keys.THREAD], root["said"][keys.USER]) == ("thread", "user")
    assert keys.TRUNCATED_SPANS not in root["said"]
    assert [span["name"] for span in spans] == [f"{kind} {turn}" for turn in range(turns) for kind in ("model", "tool")]
    assert {span["parentSpanId"] for span in spans} == {root["spanId"]}
    models, tools = spans[::2], spans[1::2]
    assert {span["said"][keys.MODEL] for span in models} == {"gpt-4o"}
    assert (total(spans, keys.INPUT_TOKENS), cost(spans)) == (3 * turns, 0.5 * turns)
    assert [span["said"]["call_id"] for span in tools] == [f"call-{turn}" for turn in range(turns)]
    failed = {turn: span["status"]["message"] for turn, span in enumerate(tools) if span["status"]["code"] == 2}
    assert failed == {turn: f"failed in turn {turn}" for turn in range(3, turns, 10)}


def test_oldest_content_is_cut_and_counted(logged: Logged) -> None:
    """Of a large trace, the newest spans have their content, and the others the number of omitted characters."""
    loop(300, 20_000)
    _, *spans = encoded(logged.only())
    tools = spans[1::2]
    has_content = [keys.OUTPUT in span["said"] for span in tools]
    assert has_content == sorted(has_content)
    assert 10 < sum(has_content) < 300
    for span, kept in zip(tools, has_content, strict=True):
        assert (keys.TRUNCATED_CHARACTERS in span["said"]) == (not kept)
        assert kept or int(span["said"][keys.TRUNCATED_CHARACTERS]) >= 20_000


def test_request_shows_the_messages_since_the_last(logged: Logged) -> None:
    """A request to a model has the messages that are new, and the number of those before."""
    loop(3, 5)
    requests = [span for span in encoded(logged.only()) if span["name"].startswith("model")]
    shown = [json.loads(span["said"][keys.INPUT])["value"] for span in requests]
    assert [[message["content"] for message in one] for one in shown] == [
        ["go"],
        ["call 0", "aaaaa"],
        ["call 1", "bbbbb"],
    ]
    assert [int(span["said"].get(keys.MESSAGES_BEFORE, 0)) for span in requests] == [0, 1, 3]


@pytest.mark.parametrize("same", [True, False])
def test_messages_are_compared_by_content(logged: Logged, same: bool) -> None:
    """Equal messages are the same ones; if an earlier one differs, all are shown from there on."""
    root = open_span("agent", "agent")
    with root.within():
        for content in ("a", "a" if same else "b"):
            said = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in (content, "x", "y")]
            open_span(f"chat {content}", "llm", input=said).end()
        open_span("all again", "llm", input=said).end()
    root.end()
    last = logged.only()["spans"][-2:]
    assert [len(span["input"]) for span in last] == ([1, 1] if same else [3, 1])
    assert last[1]["attributes"] == {keys.MESSAGES_BEFORE: 2}


@pytest.mark.parametrize("number", [2_500, 6_000])
def test_errors_and_totals_beyond_the_limit(logged: Logged, number: int) -> None:
    """A trace of more than 2,000 spans has all failed ones, and its tokens, costs and number of spans are right."""
    root = open_span("agent", "agent", input="go")
    with root.within():
        for turn in range(number):
            request = open_span("chat", "llm", input="question", model=f"model {turn % 3}")
            request.cost = 0.25 if turn % 2 else None
            with request.within():
                inner = open_span("inner", "tool")
                inner.end(ValueError(f"inner {turn}") if turn == number - 2 else None)
            request.end(ValueError(f"failed {turn}") if turn % 100 == 99 else None)
            request.usage = {"input_tokens": 3, "output_tokens": 2}
            if not request.recorded:
                request.trace.recorder.add_late(request.trace, request.measures() | {"cost": None})  # type: ignore[union-attr]
    root.end()
    sent = encoded(logged.only())
    sums = [span for span in sent if "more request" in span["name"]]
    assert len(sent) == 2_000 + len(sums)
    messages = {span["status"]["message"] for span in sent if span["status"]["code"] == 2}
    assert messages == {f"failed {turn}" for turn in range(99, number, 100)} | {f"inner {number - 2}"}
    assert (total(sent, keys.INPUT_TOKENS), total(sent, keys.OUTPUT_TOKENS)) == (3 * number, 2 * number)
    assert cost(sent) == 0.25 * (number // 2)
    assert int(sent[0]["said"][keys.TRUNCATED_SPANS]) == 1 + 2 * number - 2_000
    known = {span["spanId"] for span in sent}
    assert all(span["parentSpanId"] in known for span in sent[1:])


SIZES = st.sampled_from([0, 1, 50, 5_000, 20_000, 150_000])
TEXTS = st.sampled_from(["x", "\u20ac", "\x00", '"', "\ud800", "\U0001f600"])
RUNS: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["llm", "tool"]), "size": SIZES, "text": TEXTS, "fails": st.booleans()}
    ),
    lambda inner: st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["agent", "task", "stream"]),
            "turns": st.integers(1, 40),
            "size": SIZES,
            "text": TEXTS,
            "fails": st.booleans(),
            "inner": st.lists(inner, max_size=3),
        }
    ),
    max_leaves=8,
)


async def perform(plan: dict[str, Any], opened: list[OpenSpan]) -> None:
    """Open the spans of a generated run, in tasks and streams too."""
    if len(opened) > 2_500:
        return
    text = plan["text"] * plan["size"]
    kind = plan["kind"] if plan["kind"] in ("llm", "tool") else "agent"
    content: Any = [{"role": "user", "content": text}, {"role": "user", "content": "next"}] if kind == "llm" else text
    span = open_span(
        f"{kind} {len(opened)}", kind, input=content, thread_id="thread", place=len(opened), size=len(text)
    )
    opened.append(span)
    if kind == "llm":
        span.model, span.usage, span.cost = "a model", {"input_tokens": 3, "output_tokens": 2}, 0.5
    with span.within():
        for _ in range(plan.get("turns", 0)):
            for inner in plan["inner"]:
                if plan["kind"] == "task":
                    await asyncio.create_task(perform(inner, opened))
                elif plan["kind"] == "stream":
                    async for _ in stream(inner, opened):
                        pass
                else:
                    await perform(inner, opened)
    span.output = {"answer": [text, text]}
    span.end(ValueError(f"{len(text)} {span.name}") if plan["fails"] else None)


async def stream(plan: dict[str, Any], opened: list[OpenSpan]) -> AsyncIterator[int]:
    """Perform a run between two items of a stream."""
    yield 1
    await perform(plan, opened)
    yield 2


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(plan=RUNS, max_bytes=st.sampled_from([10_000, 200_000, MAX_TRACE]))
def test_any_run_is_bounded_and_keeps_its_structure(logged: Logged, plan: dict[str, Any], max_bytes: int) -> None:
    """The encoder never raises and never exceeds its bound. Structure is whole, and totals are right, in any run."""
    logged.events.clear()
    opened: list[OpenSpan] = []
    asyncio.run(perform(plan, opened))
    event = logged.only()
    sent = encoded(event, max_bytes)
    models = [span for span in opened if span.type == "llm"]
    dropped = int(sent[0]["said"].get(keys.TRUNCATED_SPANS, 0))
    assert len([span for span in sent if "more request" not in span["name"]]) + dropped == len(opened)
    if max_bytes < MAX_TRACE and dropped:
        return
    assert total(sent, keys.INPUT_TOKENS) == 3 * len(models)
    assert cost(sent) == 0.5 * len(models)
    by_id = {span["spanId"]: span for span in sent}
    # Parents have no room to spare, nor have other errors.
    has_room = sum(span.error is not None or span.type == "agent" for span in opened) < 2_000
    for span in opened:
        found = by_id.get(span.span_id)
        if found is None:
            assert span.error is None or not has_room
            continue
        assert (found["name"], found.get("parentSpanId")) == (span.name, span.parent_span_id)
        assert (found["said"][keys.THREAD], int(found["said"]["place"])) == ("thread", opened.index(span))
        assert found["said"].get(keys.MODEL) == span.model
        assert (found["status"]["code"] == 2) == (span.error is not None)
        if span.error is not None:
            assert (found["said"][keys.ERROR_TYPE], found["status"]["message"]) == ("ValueError", span.error["message"])
        if not {keys.INPUT, keys.OUTPUT} <= found["said"].keys():
            assert int(found["said"].get(keys.TRUNCATED_CHARACTERS, 0)) > 0 or found["said"]["size"] == "0"


def test_held_content_is_bounded(logged: Logged) -> None:
    """An open trace frees its oldest values; the root's stay, and one that is too large is cut."""
    limits = TraceLimits(max_trace_characters=10_000, max_open_characters=15_000)
    manager = ObservabilityManager(sampler=AdaptiveSampler(base_rate=1.0), limits=limits)
    root = open_span("root", "agent", input="q" * 100)
    with root.within():
        for number in range(20):
            open_span(f"tool {number}", "tool", input="x" * 1_000).end()
            assert manager.get_metrics()["traces"]["open_characters"] <= 10_000
    root.output = "y" * 20_000
    root.end()
    spans = logged.spans()
    assert (spans["root"]["input"], spans["root"]["output"][:4_900]) == ("q" * 100, "y" * 4_900)
    assert spans["root"]["truncated_characters"] == pytest.approx(15_100, abs=100)
    assert [spans[f"tool {number}"].get("truncated_characters") for number in range(20)] == [1_000] * 16 + [None] * 4
    assert manager.get_metrics()["traces"]["open_characters"] == 0
