"""The beginning of a trace, which the next process reports if this one dies."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry import LangWatchTrace
from automagik_telemetry.tracing._beginning import Beginning, Templates
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing._recorder import OpenTrace, Part, Recorder, _Kept
from automagik_telemetry.tracing._scope import Scope
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import OpenSpan, open_span, record_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CASES = [
    Beginning("simple", "agent", 1.0, "a" * 32, "b" * 16, None, None, 1_700_000_000.5),
    Beginning("simple", "agent", 1.0, "c" * 32, "d" * 16, None, None, 1_800_000_000.25),
    Beginning("simple", "agent", 0.5, "c" * 32, "d" * 16, "e" * 16, None, 1_800_000_000.25),
    Beginning("\u20ac \ud800", "tool", 0.5, "c" * 32, "d" * 16, "e" * 16, ("1" * 32, "2" * 16), 1_800_000_000.25),
]


def encode(event: Mapping[str, Any]) -> bytes:
    """Encode a trace as the langwatch sink does."""
    return LangWatchTrace()(None, "error", dict(event))


@pytest.mark.fault(120)
@pytest.mark.parametrize("again", [False, True])
def test_filled_template_is_the_encoded_trace(again: bool) -> None:
    """A template gives the same bytes as the encoder, for the first trace of a name and for later ones."""
    templates = Templates()
    for case in CASES * (2 if again else 1):
        assert templates.encode("langwatch", case, encode) == encode(case.event())


@pytest.mark.fault(120)
def test_sink_that_writes_ids_otherwise() -> None:
    """A sink whose encoder changes the IDs gets each trace encoded by itself."""

    def reverse(event: Mapping[str, Any]) -> bytes:
        return json.dumps(event).encode()[::-1]

    templates = Templates()
    for case in CASES[:3]:
        assert templates.encode("reverse", case, reverse) == reverse(case.event())


@contextlib.contextmanager
def keeping(rate: float = 1.0, fits: Callable[[Part], bool] = lambda _part: True) -> Iterator[list[Any]]:
    """Record traces, and list the parts that are kept and not discarded. One that does not fit is refused."""
    kept: list[Any] = []

    def keep(part: Part) -> list[Callable[[], None]]:
        if not fits(part):
            return []
        kept.append(part)
        return [lambda: kept.remove(part)]

    before = record_with(Recorder(AdaptiveSampler(base_rate=rate), keep=keep))
    try:
        yield kept
    finally:
        record_with(before)


@pytest.mark.fault(120)
def test_beginning_is_kept_until_the_trace_is_decided_on() -> None:
    """It is discarded when the trace is logged or sampled out, or with the request that the trace waits for."""
    with keeping(rate=0.0) as kept:
        root = open_span("alone", "agent")
        assert [one.name for one in kept] == ["alone"]
        root.end()
        assert kept == []
        request = Scope(SpanContext(), is_unit=True)
        with request.within():
            open_span("waiting", "agent").end()
        assert [one.name for one in kept] == ["waiting"]
        request.end()
        assert kept == []
        left: OpenSpan | None = open_span("left", "agent")
        assert kept
        del left
        gc.collect(1)
        assert kept == []


@pytest.mark.fault(120)
def test_traces_of_the_parent_process_are_not_decided_on() -> None:
    """The child of a fork logs and discards nothing of what its parent has begun."""
    discarded: list[str] = []
    recorder = Recorder(AdaptiveSampler(base_rate=1.0))
    trace = OpenTrace(recorder, "a" * 32)
    trace.pid_generation -= 1
    trace.kept = _Kept(1.0, [lambda: discarded.append("discarded")])
    recorder.decide([(trace, OpenSpan("root", "agent", trace, "b" * 16, None))])
    assert (discarded, recorder.metrics().get("traces")) == ([], None)


def names_of(kept: list[Any]) -> list[list[str]]:
    """Return the names of the spans of each kept part."""
    return [[span["name"] for span in part["spans"]] if type(part) is dict else [part.name] for part in kept]


@pytest.mark.fault(120)
def test_spans_so_far_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended spans are kept with those around them, which are replaced when they end; all goes with the trace's end."""
    monkeypatch.setattr("automagik_telemetry.tracing._recorder._KEEP_AFTER", 0.0)
    monkeypatch.setattr("automagik_telemetry.tracing._recorder._KEEP_SHARE", 1_000_000.0)
    with keeping() as kept:
        root = open_span("run", "agent")
        with root.within():
            team = open_span("team", "agent", input="a question")
            with team.within():
                open_span("first", "llm", output="x" * 100_000).end()
                assert names_of(kept) == [["run"], ["first"], ["team"]]
                assert kept[1]["spans"][0]["parent_span_id"] == team.span_id
                assert kept[1]["spans"][0]["truncated_characters"] > 80_000
                assert kept[2]["spans"][0]["metadata"] == {"unfinished": True}
                open_span("second", "tool").end(ValueError("no"))
                assert names_of(kept) == [["run"], ["first"], ["team"], ["second"]]
            team.end()
            assert names_of(kept) == [["run"], ["first"], ["second"], ["team"]]
            assert "metadata" not in kept[3]["spans"][0]
            assert {part["trace_id"] for part in kept[1:]} == {root.trace.trace_id}
        root.end()
        assert kept == []


@pytest.mark.fault(120)
def test_spans_without_room_are_kept_without_content() -> None:
    """The structure is kept if the file has no room for the content, and nothing is raised if it has none for that."""
    room = 2_000
    with keeping(fits=lambda part: type(part) is not dict or len(repr(part)) <= room) as kept:
        root = open_span("run", "agent")
        root.backdate(10)
        with root.within():
            open_span("large", "llm", model="gpt-4o", output="x" * 10_000).end()
        assert names_of(kept) == [["run"], ["large"]]
        assert (kept[1]["spans"][0]["model"], kept[1]["spans"][0].get("output", "")) == ("gpt-4o", "")
        room = 10
        with root.within():
            open_span("larger", "llm", output="x" * 10_000).end()
        assert names_of(kept) == [["run"], ["large"]]
        root.end()
        assert kept == []


@pytest.mark.fault(120)
def test_short_work_keeps_its_root_only() -> None:
    """Spans are encoded once more only for work that takes long enough for it."""
    with keeping() as kept:
        root = open_span("run", "agent")
        root.backdate(-5)  # it begins later than it is opened
        with root.within():
            open_span("call", "llm").end()
        assert names_of(kept) == [["run"]]
        root.end()
        assert kept == []


@pytest.mark.fault(120)
def test_each_part_is_discarded_once() -> None:
    """Its place in the file may be another trace's afterwards, so two threads at the end of a trace share the work."""
    discarded: list[int] = []
    kept = _Kept(1.0, [functools.partial(discarded.append, number) for number in range(100)])
    threads = [threading.Thread(target=kept.discard) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(discarded) == list(range(100))


@pytest.mark.fault(120)
def test_spans_of_concurrent_branches_have_their_parents() -> None:
    """Of all spans that are kept together, those around them are kept, too, and not more than some at once."""
    with keeping() as kept:
        root = open_span("run", "agent")
        with root.within():
            branches = [open_span(f"branch {number}", "agent") for number in range(2)]
            for branch in branches:
                with branch.within():
                    open_span(f"call of {branch.name}", "llm").end()
            for _ in range(100):
                open_span("step", "tool").end()
            root.backdate(60)
            open_span("last", "tool").end()
        names = names_of(kept)
        assert [len(each) for each in names] == [1, 50, 1, 1]
        assert {"branch 0", "branch 1"} == {each for (each,) in names[2:]}
