"""Sampling of events, and the rate on kept ones."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from automagik_processors import Dropped, Sample

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def kept(sample: Sample, **fields: object) -> dict[str, Any] | None:
    """Return what `sample` lets through, or None."""
    try:
        return dict(sample(None, "info", {"event": "e", **fields}))
    except Dropped as dropped:
        return {"sampled": None}[dropped.reason]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_kept_is_the_rate(rate: float) -> None:
    """Of many events without a trace the stated share is kept, within five standard deviations."""
    sample, number = Sample(rate, random=random.Random(7).random), 5000
    share = sum(kept(sample) is not None for _ in range(number)) / number
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / number)


def test_the_share_of_traces_that_is_kept_is_the_rate() -> None:
    """Of many traces the stated share is kept, though no random number is drawn."""
    sample, ids, number = Sample(0.3, random=lambda: pytest.fail("drawn")), random.Random(8), 5000
    share = sum(kept(sample, trace_id=f"{ids.getrandbits(128):032x}") is not None for _ in range(number)) / number
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / number)


@given(st.integers(1, 2**128 - 1), st.floats(0.001, 0.999))
def test_traces_are_decided_as_opentelemetry_does(trace_id: int, rate: float) -> None:
    """For a trace the decision is that of OpenTelemetry's TraceIdRatioBased, so it is one for the whole trace."""
    theirs = TraceIdRatioBased(rate).should_sample(None, trace_id, "e").decision is Decision.RECORD_AND_SAMPLE
    assert (kept(Sample(rate), trace_id=f"{trace_id:032x}") is not None) == theirs


def test_a_kept_event_has_its_rate() -> None:
    """An event kept at a rate below 1 gets the rate in a new dict; others are unchanged."""
    sample = Sample(rate=0.25, error_rate=1.0, random=lambda: 0.2)
    assert kept(sample, a=1) == {"event": "e", "a": 1, "sample_rate": 0.25}
    event = {"event": "e", "success": False}
    assert sample(None, "info", event) is event
    sample(None, "info", plain := {"event": "e"})
    assert plain == {"event": "e"}


def test_two_samplings_combine() -> None:
    """The rate of an event after two samplings is that of both together: the product, or by trace ID the minimum."""
    first, second = Sample(0.5, random=lambda: 0), Sample(0.1, random=lambda: 0)
    assert second(None, "", first(None, "", {"event": "e"}))["sample_rate"] == pytest.approx(0.05)
    low = {"event": "e", "trace_id": TRACE[:16] + "0" * 15 + "1"}
    assert second(None, "", first(None, "", low))["sample_rate"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "fields", [{"success": False}, {"success": 0}, {"level": "error"}, {"level": "critical"}], ids=repr
)
def test_errors_have_a_rate_of_their_own(fields: dict[str, object]) -> None:
    """A failure or a level of error or above is sampled at error_rate, with any other rate."""
    assert kept(Sample(rate=0.0, error_rate=1.0), **fields) is not None
    assert kept(Sample(rate=1.0, error_rate=0.0), **fields) is None


@pytest.mark.parametrize(
    "fields", [{}, {"success": True}, {"success": 2}, {"level": "info"}, {"level": ["error"]}], ids=repr
)
def test_the_rest_is_no_error(fields: dict[str, object]) -> None:
    """Only False, or 0, and the two levels make an error."""
    assert kept(Sample(rate=0.0, error_rate=1.0), **fields) is None


@pytest.mark.parametrize("trace_id", ["", "zz", "0" * 32, TRACE.upper(), f"-{TRACE[1:]}", 17, None, [TRACE]], ids=repr)
def test_an_invalid_trace_id_is_sampled_at_random(trace_id: object) -> None:
    """An invalid trace id neither raises nor decides."""
    assert kept(Sample(0.5, random=lambda: 0.4), trace_id=trace_id) is not None
    assert kept(Sample(0.5, random=lambda: 0.6), trace_id=trace_id) is None


@pytest.mark.parametrize(
    "value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, 10**400], ids=lambda value: repr(value)[:9]
)
@pytest.mark.parametrize("parameter", ["rate", "error_rate"])
def test_a_rate_that_is_none_is_refused(parameter: str, value: Any) -> None:  # that is the point
    """The error has the parameter, the value and the allowed range."""
    with pytest.raises(ValueError, match=rf"{parameter}=.*{str(value)[:9]}.*from 0 to 1"):
        Sample(**{parameter: value})
