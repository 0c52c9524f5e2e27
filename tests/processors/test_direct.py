"""A chain in one pass gives the same bytes, and raises the same, as its processors one after the other."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
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
from automagik_processors._direct import Direct, direct
from automagik_processors._otlp_attributes import Texts


class Loud(Word):
    """A kind of an application's own, which takes less than the one that it extends."""

    def take(self, value: object) -> str | None:
        """Return a text of capitals only."""
        return value if type(value) is str and value.isupper() else None


CATALOGUE: dict[str, dict[str, Kind]] = {
    "agent.run": {
        "agent_name": Word(),
        "success": Flag(),
        "duration_ms": Duration(),
        "multimodal": Flag(),
        "tokens": Count(10**30),
        "score": Measure(-1.0, 1.0),
        "loud": Loud(),
    },
    "agent.error": {"error_type": Word()},
    "odd": {"success": Count(), "duration_ms": Count()},
    "empty": {},
}
VOCABULARY = {"simple", "SIMPLE", "\ud800"}
ENCODERS = pytest.mark.parametrize("encoder", [OTLPSpan, OTLPLogRecord])


class Agent(Enum):
    """Words as applications have them."""

    SIMPLE = "simple"
    SECRET = "hunter2"  # noqa: S105 - it is planted


class Text(str):  # noqa: SLOT000 - as applications have it
    """A str that equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Name(StrEnum):
    """A text, also as an event's name."""

    SIMPLE = "simple"
    RUN = "agent.run"


class Code(IntEnum):
    """A number."""

    FIVE = 5


class Real:
    """A number of a library."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        return self._value


class Raising(Real):
    """One that raises."""

    def __float__(self) -> float:
        raise RuntimeError


class Dict(dict[str, Any]):
    """A dict whose methods return pairs that it does not have."""

    def get(self, _key: str, _default: object = None) -> object:
        """Return a lie."""
        return "simple"


class Rival:
    """A key that has the hash of another, and raises when it is compared with it."""

    def __hash__(self) -> int:
        return hash("agent_name")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


WORDS = ["simple", "SIMPLE", "hunter2", "\ud800", "x" * 300, Agent.SIMPLE, Agent.SECRET, Text("hunter2")]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.floats(0, 200_000),
    st.text(max_size=5),
    st.sampled_from([*WORDS, b"x", [1], 1, 0, 1.0, 10**400]),
    st.sampled_from([Name.SIMPLE, Code.FIVE, Raising(1.0), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]),
    st.floats().map(Real),
    st.timedeltas(),
    st.decimals(),
    st.fractions().map(Fraction),
    st.integers(0, 10**6).map(Decimal),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "sample_rate": st.sampled_from([0.5, 1.0, 2.0, None, 1, Decimal("0.25"), Real(0.125)]),
        **dict.fromkeys(
            ["trace_id", "span_id", "parent_span_id"], st.sampled_from(["a" * 32, "a" * 16, "A" * 16, "", 7, None])
        ),
        **dict.fromkeys([field for fields in CATALOGUE.values() for field in fields] + ["password"], VALUES),
    },
)
TIMES = st.sampled_from([1.7e9, 1_700_000_000.123456, 946_684_799.0, 4_102_444_800.0, 0.0, float("nan")])


def chain(encoder: type[OTLPSpan | OTLPLogRecord], *first: Any, **options: Any) -> tuple[list[Any], Direct]:
    """Return a chain whose every id and time is known, and what does its work in one pass."""
    options = {"prefix": "event.", "attributes": {"system.os": "Linux"}, **options}
    otlp = encoder(ids=lambda: 2, clock=lambda: 1e9, **options)
    processors = [*first, Anonymize(CATALOGUE, VOCABULARY, key=b"k"), Sample(), otlp]
    made = direct(processors)
    assert made is not None
    return processors, made


def run(processors: list[Any], event: Any) -> Any:
    """Return what processors make of an event one after the other, or why they drop it."""
    try:
        for processor in processors:
            event = processor(None, "info", event)
    except Dropped as dropped:
        return dropped.reason
    return event


def encoded(made: Direct, name: str, level: str, timestamp: float, fields: Any) -> bytes:
    """Return an event encoded in one pass, as a formatter does it."""
    made.prepare(name)
    encode = made.encoder(name)
    assert encode is not None
    try:
        return encode(level, timestamp, fields)
    except Exception:  # see ChainFormatter
        return encode(level, timestamp, made.plain(fields))


def run_direct(made: Direct, name: str, level: str, timestamp: float, fields: Any) -> Any:
    """Return what one pass makes of it, or why it is dropped."""
    try:
        return encoded(made, name, level, timestamp, fields)
    except Dropped as dropped:
        return dropped.reason


@ENCODERS
@pytest.mark.parametrize("options", [{}, {"prefix": "", "attributes": {}}], ids=str)
@given(
    name=st.sampled_from([*CATALOGUE, "unknown", Name.RUN]),
    level=st.sampled_from(["debug", "info", "warning", "error", "critical"]),
    timestamp=TIMES,
    fields=FIELDS,
)
def test_both_ways_send_the_same_bytes(  # noqa: PLR0913, PLR0917 - what an event is made of
    encoder: Any, options: Any, name: str, level: str, timestamp: float, fields: dict[str, Any]
) -> None:
    """Any event gives the same bytes and the same reports, also from the cache of words."""
    processors, made = chain(encoder, **options)
    before = dict(fields)
    wrong: list[str] = []
    processors[0].on_wrong_kind = lambda _event, field: wrong.append(field)
    expected = run(processors, {**fields, "event": name, "level": level, "timestamp": timestamp})
    reported = [field for field in wrong if field != "timestamp"]
    for _ in range(2):
        wrong.clear()
        assert run_direct(made, str(name), level, timestamp, fields) == expected
        assert sorted(wrong) == sorted(reported)
    assert fields == before


@ENCODERS
@pytest.mark.parametrize(
    "fields",
    [Dict(agent_name="hunter2"), {Rival(): "hunter2", "success": True}],
    ids=["a dict that lies", "a key that raises"],
)
def test_a_mapping_that_misbehaves_is_encoded_as_what_it_holds(encoder: Any, fields: Any) -> None:
    """It is copied once, and the copy goes to the same encoder."""
    processors, made = chain(encoder)
    event = type(fields)({**fields, "event": "agent.run", "level": "info", "timestamp": 1.7e9})
    sent = encoded(made, "agent.run", "info", 1.7e9, fields)
    assert sent == run(processors, event)
    assert b"hunter2" not in sent


def test_the_allowlist_is_read_each_time() -> None:
    """A string that is no longer allowed is sent as a hash, although its text is cached."""
    allowlist = {"simple"}
    made = direct([Anonymize(CATALOGUE, allowlist, key=b"k"), Sample(), OTLPSpan()])
    assert made is not None
    assert b'"simple"' in encoded(made, "agent.run", "info", 1.7e9, {"agent_name": "simple"})
    allowlist.clear()
    assert b'"simple"' not in encoded(made, "agent.run", "info", 1.7e9, {"agent_name": "simple"})


def test_a_bound_context_needs_the_steps() -> None:
    """Structlog's own variables count, another library's do not, and none for a chain that does not merge."""
    _, merging = chain(OTLPSpan, merge_context)
    _, plain = chain(OTLPSpan)
    merging.prepare("agent.run")
    plain.prepare("agent.run")
    assert merging.encoder("agent.run") is not None
    with structlog.contextvars.bound_contextvars(agent_name="simple"):
        assert merging.encoder("agent.run") is None
        assert plain.encoder("agent.run") is not None
    assert merging.encoder("agent.run") is not None


def test_reports_of_dropped_fields_need_the_steps() -> None:
    """While dropped fields are reported, there is no encoder in one pass."""
    enabled = [True]
    anonymize = Anonymize(CATALOGUE, on_dropped=lambda *_: None, is_reporting=lambda: enabled[0])
    made = direct([anonymize, Sample(), OTLPSpan()])
    assert made is not None
    made.prepare("agent.run")
    assert made.encoder("agent.run") is None
    enabled[0] = False
    assert made.encoder("agent.run") is not None


def test_any_other_chain_needs_the_steps() -> None:
    """A step or subclass of the application's own, another order, or a rate."""

    class Other(Anonymize):
        """An application's own."""

    (anonymize, sample, otlp), _ = chain(OTLPSpan)
    for processors in (
        [Other(CATALOGUE, key=b"k"), sample, otlp],
        [anonymize, Sample(0.5), otlp],
        [sample, anonymize, otlp],
        [merge_context, print, anonymize, sample, otlp],
        [print, merge_context, anonymize, sample, otlp],
        [otlp],
        [],
    ):
        assert direct(processors) is None


@ENCODERS
def test_a_constant_in_a_fields_place_needs_the_steps(encoder: Any) -> None:
    """An event with a field that has the key of a constant goes step by step; others are encoded in one pass."""
    _, made = chain(encoder, attributes={"event.tokens": 1})
    for name in ("agent.run", "agent.error"):
        made.prepare(name)
    assert made.encoder("agent.run") is None
    assert made.encoder("agent.error") is not None


def test_no_text_fills_the_memory() -> None:
    """The cache of words is bounded in number and length."""
    texts = Texts("")
    for number in range(6000):
        assert texts[f"a{number}"] == f'{{"stringValue":"a{number}"}}}},'
    assert 1000 < len(texts) < 5000
    texts.clear()
    assert len(texts["x" * 1000]) > 1000
    assert not texts


@ENCODERS
def test_a_count_beyond_64_bits_is_a_string_in_both_ways(encoder: type[OTLPSpan | OTLPLogRecord]) -> None:
    """OTLP's integers have 64 bits, and an application may declare a larger maximum."""
    fields = {"tokens": 9_225_000_000_000_000_000}
    processors, made = chain(encoder)
    event: Any = {"event": "agent.run", "level": "info", "timestamp": 1.7e9, **fields}
    for processor in processors:
        event = processor(None, "info", event)
    for sent in (event, encoded(made, "agent.run", "info", 1.7e9, fields)):
        assert b'{"stringValue":"9230000000000000000"}' in sent
