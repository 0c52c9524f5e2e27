"""Recording: one run is one trace, beside other runs and with any content."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing._recorder import TraceLimits
from automagik_telemetry.tracing.manager import ObservabilityManager
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from tests.automagik_telemetry.tracing.conftest import Logged

pytestmark = pytest.mark.usefixtures("keeping_all")


def test_a_trace_is_one_event_of_plain_data(logged: Logged) -> None:
    """The root's end logs its spans, with parents, times and what was set."""
    root = open_span("agent.simple", "agent", input="hi", user_id="u", thread_id="t")
    with root.within():
        call = open_span("chat", "llm", input=[{"role": "user", "content": "hi"}], model="m")
        call.usage = {"input_tokens": 3, "output_tokens": 4}
        call.output = "hello"
        call.end()
        tool = open_span("search", "tool", temperature=0.5)
        tool.end(ValueError("no such thing"))
        tool.end()
    assert logged.events == []
    root.output = "hello"
    root.end()
    event, spans = logged.only(), logged.spans()
    assert (event["event"], event["level"], event["truncated_spans"], event["sample_rate"]) == ("trace", "error", 0, 1)
    assert event["trace_id"] == root.span.trace_id
    assert [spans[name]["parent_span_id"] for name in ("agent.simple", "chat", "search")] == [
        None,
        root.span_id,
        root.span_id,
    ]
    assert spans["chat"]["usage"] == {"input_tokens": 3, "output_tokens": 4}
    assert spans["chat"]["input"] == [{"role": "user", "content": "hi"}]
    assert (spans["agent.simple"]["user_id"], spans["agent.simple"]["thread_id"]) == ("u", "t")
    assert spans["agent.simple"]["start"] <= spans["chat"]["start"] <= spans["chat"]["end"]
    assert spans["chat"]["end"] <= spans["agent.simple"]["end"]
    assert spans["search"]["attributes"] == {"temperature": 0.5}
    error = spans["search"]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no such thing")
    assert "ValueError: no such thing" in error["stacktrace"]


def check_run(event: dict[str, Any]) -> int:
    """See that a trace holds its own run and nothing else; return the run's number."""
    spans = {span["span_id"]: span for span in event["spans"]}
    (root,) = [span for span in event["spans"] if span["parent_span_id"] is None]
    number = int(root["name"].removeprefix("run."))
    assert len(spans) == 4
    assert all(span["input"] == number for span in spans.values())
    assert all(span["parent_span_id"] in spans for span in spans.values() if span is not root)
    return number


def test_hundreds_of_interleaved_runs_never_mix(logged: Logged) -> None:
    """Runs in tasks, with tools in tasks, threads and executors, each end as a trace of their own spans."""

    def tool(number: int) -> None:
        span = open_span("tool", "tool", input=number)
        with span.within():
            open_span("inner", input=number).end()
        span.end()

    async def run(number: int, pool: ThreadPoolExecutor) -> None:
        root = open_span(f"run.{number}", "agent", input=number)
        with root.within():
            await asyncio.sleep(0)
            call = open_span("chat", "llm", input=number)
            with call.within():
                await asyncio.sleep(0)
            call.end()
            if number % 3 == 0:
                await asyncio.to_thread(tool, number)
            elif number % 3 == 1:
                context = copy_context()
                await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(tool, number))
            else:
                await asyncio.create_task(asyncio.to_thread(tool, number))
        root.end()

    async def main() -> None:
        with ThreadPoolExecutor(4) as pool:
            await asyncio.gather(*(run(number, pool) for number in range(300)))

    asyncio.run(main())
    assert sorted(check_run(event) for event in logged.events) == list(range(300))
    assert len({event["trace_id"] for event in logged.events}) == 300


def test_threads_of_their_own_are_traces_of_their_own(logged: Logged) -> None:
    """A thread that inherits no context begins a trace of its own."""
    root = open_span("root")
    with root.within():
        thread = threading.Thread(target=lambda: open_span("apart").end())
        thread.start()
        thread.join()
    root.end()
    assert len({event["trace_id"] for event in logged.events}) == 2


def test_work_that_outlives_its_run_is_linked_to_it(logged: Logged) -> None:
    """A span that begins after the root's end is a trace of its own, linked to it; one that is still open is marked."""
    root = open_span("root")
    with root.within():
        going_on = open_span("going on")
        root.end()
        late = open_span("late")
    late.end()
    going_on.end()
    first, second = logged.events
    assert first["trace_id"] != second["trace_id"]
    assert logged.spans()["going on"]["metadata"] == {"unfinished": True}
    assert logged.spans()["late"]["parent_span_id"] is None
    assert logged.spans()["late"]["links"] == [{"trace_id": first["trace_id"], "span_id": root.span_id}]


def test_application_that_clears_its_context_does_not_break_a_trace(logged: Logged) -> None:
    """The application may clear structlog's contextvars at any time."""
    root = open_span("root")
    with root.within():
        structlog.contextvars.clear_contextvars()
        open_span("child").end()
        open_span("shared", span=SpanContext()).end()
    root.end()
    assert {span["parent_span_id"] for span in logged.only()["spans"]} == {None, root.span_id}


def test_ids_are_shared_with_telemetry_and_callers(logged: Logged) -> None:
    """The event's span is in the trace. The parent is the remote caller, not a span of telemetry alone."""
    remote = ("a" * 32, "b" * 16)
    with SpanContext(remote).within():
        span = SpanContext()
        open_span("root", span=span).end()
    assert logged.only()["trace_id"] == "a" * 32
    assert logged.spans()["root"]["span_id"] == span.span_id
    assert logged.spans()["root"]["parent_span_id"] == "b" * 16
    with SpanContext().within():
        open_span("alone").end()
    assert logged.spans()["alone"]["parent_span_id"] is None


class Hostile:
    """An object whose every method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def test_bad_input_is_counted_and_not_raised(logged: Logged, keeping_all: ObservabilityManager) -> None:
    """A value that can't be serialized, is too deep, too long or contains itself becomes a mark."""
    cycle: list[Any] = []
    cycle.append(cycle)
    bad = {"object": Hostile(), "cycle": cycle, "nan": float("nan"), "bytes": b"abc", "big": 10**400, 5: {1}}
    root = open_span("root", input=bad)
    root.output = "x" * 200_000
    root.metadata = {"lone": "\ud800"}
    root.end()
    span = logged.spans()["root"]
    assert span["input"]["object"] == "[Hostile]"
    assert span["input"]["cycle"] == ["[cut]"]
    assert (span["input"]["nan"], span["input"]["bytes"], span["input"]["5"]) == ("nan", "[3 bytes]", [1])
    assert span["output"].endswith("[cut: 100,000 more characters]")
    assert span["metadata"] == {"lone": "\ufffd"}
    counts = keeping_all.get_metrics()["traces"]
    assert (counts["not_serializable"], counts["too_deep_or_many"], counts["cut_text"]) == (1, 1, 1)


def test_limits_cut_and_mark(logged: Logged) -> None:
    """Beyond its limits a trace loses spans and values, and more traces are not begun; all of it is counted."""
    limits = TraceLimits(max_spans=3, max_open_traces=1, max_trace_characters=1_000)
    manager = ObservabilityManager(sampler=AdaptiveSampler(base_rate=1.0), limits=limits)
    root = open_span("root")
    with root.within():
        open_span("short", input="x" * 900).end()
        open_span("long", input="x" * 900).end()
        cut = open_span("cut")
        with cut.within():
            open_span("below").end()
        cut.end()
    other = open_span("another trace")
    with other.within():
        open_span("its child").end()
    other.end()
    root.end()
    event = logged.only()
    assert event["truncated_spans"] == 2
    assert sorted(logged.spans()) == ["long", "root", "short"]
    assert "input" not in logged.spans()["short"]
    assert logged.spans()["short"]["truncated_characters"] == 900
    assert logged.spans()["long"]["input"] == "x" * 900
    counts = manager.get_metrics()["traces"]
    assert counts == {
        "open_traces": 0,
        "open_characters": 0,
        "traces": 1,
        "truncated_spans": 2,
        "cut_values": 1,
        "too_many_open_traces": 1,
    }


def test_a_trace_is_logged_once_and_each_is_counted(logged: Logged, keeping_all: ObservabilityManager) -> None:
    """Of several threads that end one root, one completes it; concurrent counts add up."""
    roots = [open_span("root") for _ in range(1_500)]
    barrier = threading.Barrier(4)

    def end() -> None:
        barrier.wait()
        for root in roots:
            root.ended = None
            root.end()

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = keeping_all.get_metrics()["traces"]
    assert counts.pop("traces") == len(logged.events)
    assert (counts.pop("open_traces"), counts.pop("open_characters")) == (0, 0)
    assert counts.keys() == {"rate_limited"}  # for so many of one type
    assert len(logged.events) + counts["rate_limited"] == len(roots)


def test_what_was_logged_does_not_change(logged: Logged) -> None:
    """A list that its owner goes on to fill is as it was when the span was opened."""
    messages = [{"role": "user"}]
    span = open_span("root", input=messages)
    messages.append({"role": "assistant"})
    span.end()
    assert logged.spans()["root"]["input"] == [{"role": "user"}]


def test_abandoned_traces_take_no_room(keeping_all: ObservabilityManager) -> None:
    """A root that is never ended is counted when it is collected, and its space is freed."""
    open_span("never ended", input="x" * 100)
    gc.collect()
    counts = keeping_all.get_metrics()["traces"]
    assert counts == {"open_traces": 0, "open_characters": 0, "abandoned": 1}


def test_old_spans_are_dropped_and_counted(logged: Logged, keeping_all: ObservabilityManager) -> None:
    """A span that LangWatch would refuse for its age is not logged."""
    root = open_span("root")
    with root.within():
        old = open_span("old")
        old.start -= 30 * 86_400
        old.end()
    root.end()
    assert list(logged.spans()) == ["root"]
    assert keeping_all.get_metrics()["traces"]["expired_spans"] == 1


def test_off_records_nothing(logged: Logged) -> None:
    """Without a recorder spans have ids, and nothing else happens."""
    spans.record_with(None)
    root = open_span("root", input=Hostile())
    with root.within():
        child = open_span("child")
        assert child.span.trace_id == root.span.trace_id
        child.end()
    root.end(ValueError())
    assert logged.events == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_continues_the_trace_and_keeps_the_parents_intact(logged: Logged) -> None:
    """In the child of a fork a span is a new part of the trace, and the end of the parent's root logs nothing."""
    root = open_span("root")

    def child(queue: Any) -> None:
        open_span("in the child").end()
        root.end()
        queue.put([(event["trace_id"], event["spans"]) for event in logged.events])

    with root.within():
        forked = multiprocessing.get_context("fork")
        queue = forked.SimpleQueue()
        process = forked.Process(target=child, args=(queue,))
        process.start()
        ((trace_id, (span,)),) = queue.get()
        process.join()
    root.end()
    assert trace_id == logged.only()["trace_id"]
    assert (span["name"], span["parent_span_id"]) == ("in the child", root.span_id)
    assert list(logged.spans()) == ["root"]
