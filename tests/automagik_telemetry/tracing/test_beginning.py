"""The beginning of a trace, which the next process reports if this one dies."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry import LangWatchTrace
from automagik_telemetry.tracing._beginning import Beginning, Templates
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing._recorder import OpenTrace, Recorder
from automagik_telemetry.tracing._scope import Scope
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import OpenSpan, open_span, record_with

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@pytest.mark.fault(120)
def test_beginning_is_kept_until_the_trace_is_decided_on() -> None:
    """It is discarded when the trace is logged or sampled out, or with the request that the trace waits for."""
    kept: list[Beginning] = []

    def keep(beginning: Beginning) -> list[Any]:
        kept.append(beginning)
        return [lambda: kept.remove(beginning)]

    before = record_with(Recorder(AdaptiveSampler(base_rate=0.0), keep=keep))
    try:
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
    finally:
        record_with(before)


@pytest.mark.fault(120)
def test_traces_of_the_parent_process_are_not_decided_on() -> None:
    """The child of a fork logs and discards nothing of what its parent has begun."""
    discarded: list[str] = []
    recorder = Recorder(AdaptiveSampler(base_rate=1.0))
    trace = OpenTrace(recorder, "a" * 32)
    trace.pid_generation -= 1
    trace.discards = [lambda: discarded.append("discarded")]
    recorder.decide([(trace, OpenSpan("root", "agent", trace, "b" * 16, None))])
    assert (discarded, recorder.metrics().get("traces")) == ([], None)
