"""The fused end of a chain gives the bytes that its processors give one after the other, and raises what they raise."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import (
    Anonymize,
    Count,
    Dropped,
    Duration,
    Flag,
    Kind,
    Measure,
    OTLPLogRecord,
    OTLPSpan,
    Sample,
    Word,
    merge_context,
)
from automagik_processors.fused import Fused, fuse

CATALOGUE: dict[str, dict[str, Kind]] = {
    "agent.run": {
        "agent_name": Word(),
        "success": Flag(),
        "duration_ms": Duration(),
        "multimodal": Flag(),
        "tokens": Count(),
        "score": Measure(-1.0, 1.0),
    },
    "agent.error": {"error_type": Word()},
    "odd": {"success": Count(), "duration_ms": Word()},
    "empty": {},
}
CONSTANTS = {"system.os": "Linux"}


class Agent(Enum):
    """Words as hosts have them."""

    SIMPLE = "simple"
    SECRET = "hunter2"  # noqa: S105 - it is planted


class Text(str):  # noqa: SLOT000 - as hosts have it
    """A str with an opinion of its own."""

    def __eq__(self, other: object) -> bool:
        """Say that it is whatever is asked."""
        return True

    __hash__ = str.__hash__


class Dict(dict[str, Any]):
    """A dict that says something else than it holds."""

    def get(self, key: str, default: object = None) -> object:  # noqa: ARG002 - dict's
        """Return a lie."""
        return "simple"


IDS = st.sampled_from(["0" * 31 + "1", "a" * 16, "A" * 16, "", 7, None])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["simple", "hunter2", "\ud800", b"x", [1], Agent.SIMPLE, Agent.SECRET, Text("hunter2"), 1, 0, 1.0]),
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from([*CATALOGUE, "unknown", None, Text("agent.run"), 3])},
    optional={
        "level": st.sampled_from(["info", "error", "loud", 3, None]),
        "timestamp": st.sampled_from([1.7e9, 1_700_000_000.123456, 1, 0.0, float("nan"), "2024-01-01", None]),
        "sample_rate": st.sampled_from([0.5, 1.0, 2.0, None]),
        **dict.fromkeys(["trace_id", "span_id", "parent_span_id"], IDS),
        **dict.fromkeys([field for fields in CATALOGUE.values() for field in fields] + ["password"], VALUES),
    },
)


def chain(encoder: type[OTLPSpan | OTLPLogRecord], **options: Any) -> list[Any]:
    """Return a chain whose every id and time is known."""
    options = {"prefix": "event.", "attributes": CONSTANTS, **options}
    return [
        Anonymize(CATALOGUE, {"simple"}, key=b"salt"),
        Sample(),
        encoder(ids=lambda: 2, clock=lambda: 1e9, **options),
    ]


def run(processors: Any, event: Any) -> Any:
    """Return what a chain makes of an event, or why it drops it."""
    try:
        for processor in processors:
            event = processor(None, "info", event)
    except Dropped as dropped:
        return dropped.reason
    return event


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("number", [1, 0, 1.0, 0.0])
def test_one_and_zero_are_numbers(number: float, flag: bool) -> None:
    """A number that equals a flag is written as the number that it is, in an event with nothing unusual."""
    processors = chain(OTLPSpan)
    (fused,) = fuse(processors)
    assert isinstance(fused, Fused)
    event: dict[str, Any] = {
        "event": "agent.run",
        "level": "info",
        "timestamp": 1.7e9,
        "multimodal": flag,
        "score": float(number),
    }
    event |= {"tokens": int(number), "duration_ms": number}
    assert run([fused], event) == fused.encode("agent.run", 20, 1.7e9, event) == run(processors, event)


@given(tokens=st.integers(0, 200_000), duration=st.floats(0, 200_000), timestamp=st.floats(1.6e9, 1.8e9))
def test_numbers_are_rounded_alike(tokens: int, duration: float, timestamp: float) -> None:
    """What is rounded without a call, and the times that come of it."""
    processors = chain(OTLPSpan)
    (fused,) = fuse(processors)
    assert isinstance(fused, Fused)
    event = {"event": "agent.run", "level": "info", "timestamp": timestamp, "tokens": tokens, "duration_ms": duration}
    assert run([fused], event) == fused.encode("agent.run", "info", timestamp, event) == run(processors, event)


@pytest.mark.parametrize("encoder", [OTLPSpan, OTLPLogRecord])
@pytest.mark.parametrize("options", [{}, {"attributes": {}}, {"attributes": {"event.tokens": 1}}], ids=str)
@given(event=EVENTS)
def test_the_same_bytes(encoder: Any, options: Any, event: Any) -> None:
    """Whatever an event holds, nothing differs, the second time neither, when all texts are remembered."""
    processors = chain(encoder, **options)
    (fused,) = fuse(processors)
    assert isinstance(fused, Fused)
    expected = run(processors, dict(event))
    before = dict(event)
    assert run([fused], event) == expected
    assert run([fused], event) == expected
    assert event == before


@given(event=EVENTS, bound=st.dictionaries(st.sampled_from(["agent_name", "success", "trace_id", "span_id"]), VALUES))
def test_the_same_bytes_with_what_is_bound(event: Any, bound: Any) -> None:
    """What structlog's contextvars hold is added first, as `merge_context` does it."""
    processors = [merge_context, *chain(OTLPSpan)]
    (fused,) = fuse(processors)
    assert isinstance(fused, Fused)
    with structlog.contextvars.bound_contextvars(**bound):
        assert run([fused], event) == run(processors, event)
        if bound and event["event"] in CATALOGUE:
            assert fused.encode(event["event"], "info", 1.7e9, event) is None, "it does not merge"


def test_a_mapping_that_lies() -> None:
    """A dict of another class counts as what it really holds."""
    processors = chain(OTLPSpan)
    event = Dict(event="agent.run", agent_name="hunter2")
    assert run(fuse(processors), event) == run(processors, event)
    assert b"hunter2" not in run(fuse(processors), event)


def test_no_word_is_remembered_beyond_the_vocabulary() -> None:
    """The vocabulary is asked each time here too, so a word that is known no more leaves as a hash."""
    vocabulary = {"simple"}
    (fused,) = fuse([Anonymize(CATALOGUE, vocabulary, key=b"salt"), *chain(OTLPSpan)[1:]])
    event = {"event": "agent.run", "agent_name": "simple", "level": "info", "timestamp": 1.7e9}
    assert b'"simple"' in fused(None, "info", event)
    vocabulary.clear()
    assert b'"simple"' not in fused(None, "info", event)


def test_what_is_remembered_is_bounded() -> None:
    """Ever new words don't fill the memory."""
    (fused,) = fuse(chain(OTLPSpan))
    assert isinstance(fused, Fused)
    for number in range(6000):
        fused(None, "info", {"event": "agent.run", "agent_name": f"a{number}", "level": "info", "timestamp": 1.7e9})
    texts = getattr(fused._encoders["agent.run"], "__globals__")["words0"]  # noqa: B009 - a type has none
    assert 1000 < len(texts) < 5000


def test_who_listens_hears() -> None:
    """As long as someone wants to know what is withheld, it is told; nobody is told of what nobody asks."""
    heard: list[str] = []
    listens = [True, False]
    anonymize = Anonymize(
        CATALOGUE,
        key=b"salt",
        on_withheld=lambda _event, field, _reason: heard.append(field),
        hears=lambda: listens[0],
    )
    (fused,) = fuse([anonymize, *chain(OTLPSpan)[1:]])
    event = {"event": "agent.run", "agent_name": "mine", "level": "info", "timestamp": 1.7e9, "password": "x"}
    fused(None, "info", event)
    assert heard == ["agent_name", "password"]
    listens.reverse()
    fused(None, "info", event)
    assert heard == ["agent_name", "password"]
    listens.reverse()
    fused(None, "info", event | {"timestamp": 1.7e9 + 0.000_2})
    assert heard == ["agent_name", "password"] * 2, "who begins to listen hears at most 0.1 ms later"
    fused(None, "info", event | {"timestamp": 1.6e9})
    assert heard == ["agent_name", "password"] * 3, "also if the time was put back"


def test_only_a_chain_that_is_known_is_fused() -> None:
    """With a subclass, another order or a share to keep every processor is called itself."""

    class Other(Anonymize):
        """Someone's own."""

    anonymize, sample, encoder = chain(OTLPSpan)
    for processors in (
        [Other(CATALOGUE, key=b"salt"), sample, encoder],
        [anonymize, Sample(0.5), encoder],
        [sample, anonymize, encoder],
        [encoder],
        [],
    ):
        assert fuse(processors) == tuple(processors)
    assert len(fuse([merge_context, anonymize, sample, encoder])) == 1
    assert fuse([merge_context, print, anonymize, sample, encoder])[:-1] == (merge_context, print)
