"""Spans, log records and the request around them, read by the official protobuf classes."""

from __future__ import annotations

import datetime as dt
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import OTLPLogRecord, OTLPSpan, envelope

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
FRESH = "00000000000000020000000000000002"
NOW = 1_700_000_000.5
BOTH = pytest.mark.parametrize("processor", [OTLPSpan, OTLPLogRecord])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.datetimes()
    | st.uuids()
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
    | st.just(ValueError("no"))
    | st.just(object())
    | st.just(...)
)
keys = st.text(max_size=5) | st.integers() | st.none() | st.binary(max_size=3) | st.booleans()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=8,
)
meanings = st.sampled_from(
    [
        "event",
        "level",
        "timestamp",
        "trace_id",
        "span_id",
        "parent_span_id",
        "sample_rate",
        "success",
        "duration_ms",
        "system.os",
    ]
)
events = st.dictionaries(meanings | keys, values, max_size=8)
# No surrogates, which JSON can't carry, and no NaN, which equals nothing.
exact = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=8,
)


def bits() -> int:
    """Return what makes the trace id `FRESH`."""
    return 2


@given(event=events)
def test_any_event_dict_becomes_valid_otlp(
    event: dict[Any, Any],
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """Any event gives valid output, with valid IDs and unique keys."""
    for processor in (OTLPSpan, OTLPLogRecord):
        item = fragment(processor.signal, processor("", {"system.os": "Linux"})(None, "info", event))
        for found, length in ((item.trace_id, 16), (item.span_id, 8)):
            assert (len(found) == length and any(found)) or (processor is OTLPLogRecord and not found)
        assert "system.os" in attributes(item)


@given(fields=st.dictionaries(st.text(st.characters(codec="utf-8")).map("f_{}".format), exact, max_size=6))
def test_values_read_back_equal_those_put_in(
    fields: dict[str, Any],
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """Every field arrives under its prefixed key with its value and type, false, 0, "" and None included."""
    expected = {f"event.{key}": value for key, value in fields.items()}
    for processor in (OTLPSpan, OTLPLogRecord):
        read = attributes(fragment(processor.signal, processor("event.")(None, "info", {"event": "e", **fields})))
        read.pop("log.record.uid", None)
        assert read == expected
        assert repr(read) == repr({key: expected[key] for key in read})


def test_a_span_is_the_event(
    fragment: Callable[[str, bytes], Any], attributes: Callable[[Any], dict[str, Any]]
) -> None:
    """A span has the event's name, ids, times and status, its fields with the prefix, then the constants."""
    event = {
        "event": "agent.run",
        "agent_name": "simple",
        "success": True,
        "duration_ms": 1500.0,
        "level": "info",
        "timestamp": NOW,
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": PARENT,
        "sample_rate": 0.25,
    }
    span = fragment("traces", OTLPSpan("event.", {"system.os": "Linux"})(None, "", event))
    assert (span.name, span.kind, span.status.code) == ("agent.run", 1, 1)
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_699_999_999_000_000_000,
        1_700_000_000_500_000_000,
    )
    assert attributes(span) == {
        "event.agent_name": "simple",
        "event.success": True,
        "event.duration_ms": 1500.0,
        "sample_rate": 0.25,
        "system.os": "Linux",
    }


def test_a_log_record_is_the_event(
    fragment: Callable[[str, bytes], Any], attributes: Callable[[Any], dict[str, Any]]
) -> None:
    """A log record has the event's name twice, its severity, ids and time, and the same attributes as a span."""
    event = {
        "event": "agent.run",
        "agent_name": "simple",
        "level": "error",
        "timestamp": NOW,
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": PARENT,
        "sample_rate": 0.25,
    }
    record = fragment("logs", OTLPLogRecord("event.", {"system.os": "Linux"}, ids=bits)(None, "", event))
    assert (record.event_name, record.body.string_value) == ("agent.run", "agent.run")
    assert (record.severity_number, record.severity_text) == (17, "error")
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE, SPAN)
    assert record.time_unix_nano == 1_700_000_000_000_000_000  # rounded to a second
    assert attributes(record) == {
        "event.agent_name": "simple",
        "sample_rate": 0.25,
        "system.os": "Linux",
        "parent_span_id": PARENT,
        "log.record.uid": FRESH,
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"success": True}, 1),
        ({"success": False}, 2),
        ({"success": 0}, 2),
        ({"success": 2}, 0),
        ({"level": "warning"}, 0),
        ({"level": "error"}, 2),
        ({"level": "critical"}, 2),
        ({"event": "agent.error"}, 2),
        ({"event": "agent.errors"}, 0),
        ({"level": "error", "success": True}, 1),
    ],
    ids=repr,
)
def test_the_status_follows_from_success_level_and_name(fields: dict[str, Any], code: int) -> None:
    """Success counts first, then the level and the name; the code is written even if it is 0."""
    assert json.loads(OTLPSpan()(None, "", {"event": "e", **fields}))["status"] == {"code": code}


@pytest.mark.parametrize(
    ("level", "number"), [("debug", 5), ("info", 9), ("warning", 13), ("error", 17), ("critical", 21), ("loud", 0)]
)
def test_severities(level: str, number: int, fragment: Callable[[str, bytes], Any]) -> None:
    """Python's levels have OpenTelemetry's numbers, another one only its name."""
    record = fragment("logs", OTLPLogRecord()(None, "", {"event": "e", "level": level}))
    assert (record.severity_number, record.severity_text) == (number, level)


def test_a_span_takes_the_ids_it_lacks_from_one_draw() -> None:
    """Both ids come from a single call; a valid one that the event brings is kept."""
    drawn: list[int] = []

    def draw() -> int:
        drawn.append(1)
        return bits()

    encode = OTLPSpan(ids=draw)
    drawn.clear()
    assert ids_of(encode(None, "", {"event": "e"})) == (FRESH, FRESH[16:])
    assert ids_of(encode(None, "", {"event": "e", "trace_id": TRACE})) == (TRACE, FRESH[16:])
    assert ids_of(encode(None, "", {"event": "e", "span_id": SPAN})) == (FRESH, SPAN)
    assert len(drawn) == 3


INVALID_IDS = pytest.mark.parametrize(
    "bad",
    ["", "0" * 32, "0" * 16, TRACE.upper(), TRACE + "\n", SPAN[:-1], f"0x{SPAN[2:]}", 17, b"x", None, [TRACE]],
    ids=repr,
)


@INVALID_IDS
def test_a_spans_invalid_ids_are_replaced(bad: object) -> None:
    """An id that is not lower-case hex of the right length, or is zero, does not get through."""
    fragment = OTLPSpan(ids=bits)(None, "", {"event": "e", "trace_id": bad, "span_id": bad, "parent_span_id": bad})
    assert ids_of(fragment) == (FRESH, FRESH[16:])
    assert b"arent" not in fragment


@INVALID_IDS
def test_a_log_record_outside_of_a_trace_has_no_ids(bad: object) -> None:
    """Neither id is invented; each record has another uid, by which a store recognizes it when it is sent again."""
    encode = OTLPLogRecord()
    event = {"event": "e", "trace_id": bad, "span_id": bad, "parent_span_id": bad}
    records = [json.loads(encode(None, "", event)) for _ in range(2)]
    assert not {"traceId", "spanId"} & records[0].keys()
    (first,), (second,) = [record["attributes"] for record in records]
    assert first["key"] == second["key"] == "log.record.uid"
    assert first != second


def test_a_log_record_has_the_ids_that_it_brings() -> None:
    """Each of the two is kept without the other."""
    assert json.loads(OTLPLogRecord()(None, "", {"trace_id": TRACE}))["traceId"] == TRACE
    assert json.loads(OTLPLogRecord()(None, "", {"span_id": SPAN}))["spanId"] == SPAN


@BOTH
@pytest.mark.parametrize("form", ["exception", "tuple", "true"])
def test_an_exception_is_sent_by_the_conventions(
    processor: type[OTLPSpan | OTLPLogRecord],
    form: str,
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """The exception is an event of a span, or attributes of a log record, in each form of logging and structlog."""
    item: Any = None
    try:
        json.loads("")
    except ValueError as error:
        exc_info: object = {"exception": error, "tuple": (type(error), error, error.__traceback__), "true": True}[form]
        item = fragment(processor.signal, processor("x.", ids=bits)(None, "", {"event": "e", "exc_info": exc_info}))
    (event,) = item.events if processor is OTLPSpan else [item]
    read = attributes(event)
    assert read["exception.type"] == "json.decoder.JSONDecodeError"
    assert read["exception.message"] == "Expecting value: line 1 column 1 (char 0)"
    assert read["exception.stacktrace"].startswith("Traceback (most recent call last):")
    assert read["exception.stacktrace"].endswith("JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n")
    if processor is OTLPSpan:
        assert (event.name, event.time_unix_nano) == ("exception", item.end_time_unix_nano)
        assert not item.attributes


@BOTH
@pytest.mark.parametrize("exc_info", [None, False, (None, None, None), (), "text", True, 0], ids=repr)
def test_without_an_exception_nothing_is_sent_of_it(
    processor: type[OTLPSpan | OTLPLogRecord], exc_info: object
) -> None:
    """`exc_info=True` outside a handler, or a value that is not an exception, adds nothing."""
    assert b"exc" not in processor()(None, "", {"event": "e", "exc_info": exc_info})


@BOTH
def test_an_exception_that_raises_is_sent_by_its_class(processor: type[OTLPSpan | OTLPLogRecord]) -> None:
    """The type of an exception is sent whatever its methods do, without a module if it is built in."""

    class HostileError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    assert b'test_otlp.HostileError"' in processor()(None, "", {"event": "e", "exc_info": HostileError()})
    assert b'{"stringValue":"ValueError"}' in processor()(None, "", {"event": "e", "exc_info": ValueError()})


def test_a_field_takes_the_place_of_an_exceptions_attribute(attributes: Any, fragment: Any) -> None:
    """Keys are unique: where both have a value, the event's own counts."""
    event = {"event": "e", "exception.type": "mine", "exc_info": ValueError("no")}
    read = attributes(fragment("logs", OTLPLogRecord()(None, "", event)))
    assert (read["exception.type"], read["exception.message"]) == ("mine", "no")


@pytest.mark.parametrize("drawn", [0, 1, (1 << 64) - 1])
def test_fresh_ids_are_never_zero(drawn: int) -> None:
    """Not even if all random bits are zero."""
    trace_id, span_id = ids_of(OTLPSpan(ids=lambda: drawn)(None, "", {}))
    assert (len(trace_id), len(span_id)) == (32, 16)
    assert int(trace_id, 16) > 0
    assert int(span_id, 16) > 0


@BOTH
@pytest.mark.parametrize(
    "timestamp",
    [NOW, dt.datetime.fromtimestamp(NOW, dt.UTC), "2023-11-14T22:13:20.500000Z", "2023-11-14T23:13:20.5+01:00"],
    ids=repr,
)
def test_a_timestamp_may_be_seconds_a_datetime_or_iso(
    processor: type[OTLPSpan | OTLPLogRecord], timestamp: object
) -> None:
    """Timestamps in all forms of structlog's TimeStamper and of applications are accepted."""
    encode = processor(clock=lambda: pytest.fail("the clock was asked"))
    assert b'UnixNano":"1700000000000000000"' in encode(None, "", {"event": "e", "timestamp": timestamp})


@BOTH
@pytest.mark.parametrize(
    "timestamp",
    [None, "yesterday", "", float("nan"), float("inf"), -1.0, 1e11, 10**400, True, [], b"1"],
    ids=lambda value: repr(value)[:9],
)
def test_without_a_usable_timestamp_the_clock_counts(
    processor: type[OTLPSpan | OTLPLogRecord], timestamp: object
) -> None:
    """A time that can't be read, or that the format can't hold, is the clock's."""
    encoded = processor(clock=lambda: NOW)(None, "", {"event": "e", "timestamp": timestamp})
    assert b'imeUnixNano":"1700000000000000000"' in encoded


@pytest.mark.parametrize(
    "duration", [None, -1, "5", float("nan"), float("inf"), 10**400, True, 1e18], ids=lambda value: repr(value)[:9]
)
def test_a_duration_that_is_none_lasts_no_time(duration: object) -> None:
    """A span without a sensible duration starts when it ends; the field itself is still an attribute."""
    span = json.loads(OTLPSpan(clock=lambda: NOW)(None, "", {"event": "e", "duration_ms": duration}))
    assert span["startTimeUnixNano"] == span["endTimeUnixNano"]
    assert span["attributes"][0]["key"] == "duration_ms"


def test_a_span_starts_in_1970_at_the_earliest() -> None:
    """A duration longer than the time since 1970 does not make the start negative."""
    span = json.loads(OTLPSpan(clock=lambda: 5.0)(None, "", {"event": "e", "duration_ms": 6000}))
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("0", "6000000000")


@pytest.mark.parametrize(("ends", "lasted"), [(7.9, 0.0), (9.25, 2250.0), (7.000001, 0.001), (8.0, 0.4)])
def test_a_start_is_rounded_to_a_second(ends: float, lasted: float) -> None:
    """The start tells no more than the second, and the duration is as it was."""
    span = json.loads(OTLPSpan(clock=lambda: ends)(None, "", {"event": "e", "duration_ms": lasted}))
    assert span["startTimeUnixNano"] == "7000000000"
    assert int(span["endTimeUnixNano"]) - 7_000_000_000 == lasted * 1_000_000


@BOTH
@pytest.mark.parametrize(
    ("name", "text"), [(None, "event"), (7, "7"), (["a"], "['a']"), ("a\nb\u2028\ud800", "a\nb\u2028\ufffd")], ids=ascii
)
def test_a_name_that_is_no_str_is_made_one(
    processor: type[OTLPSpan | OTLPLogRecord], name: object, text: str, fragment: Callable[[str, bytes], Any]
) -> None:
    """Every event has a name, for any logged value."""
    item = fragment(processor.signal, processor()(None, "", {"event": name}))
    assert (item.name if processor is OTLPSpan else item.body.string_value) == text


@BOTH
def test_a_field_takes_a_constants_place(
    processor: type[OTLPSpan | OTLPLogRecord],
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """Keys are unique: where both have a value, the event's counts."""
    encode = processor("system.", {"system.os": "Linux", "system.level": 1})
    assert own(attributes(fragment(processor.signal, encode(None, "", {"os": "Plan 9"})))) == {
        "system.os": "Plan 9",
        "system.level": 1,
    }
    assert own(attributes(fragment(processor.signal, encode(None, "", {"level": "info"})))) == {
        "system.os": "Linux",
        "system.level": 1,
    }


def test_attributes_are_there_even_if_empty() -> None:
    """Some receivers refuse a span without the key."""
    assert json.loads(OTLPSpan()(None, "", {"event": "e"}))["attributes"] == []


@BOTH
def test_the_event_stays_as_it_is(processor: type[OTLPSpan | OTLPLogRecord]) -> None:
    """Encoding changes nothing in the caller's dict."""
    event = {"event": "e", "a": [1, {"b": 2}], "trace_id": TRACE}
    processor()(None, "", event)
    assert event == {"event": "e", "a": [1, {"b": 2}], "trace_id": TRACE}


@BOTH
def test_many_different_keys_are_all_encoded(
    processor: type[OTLPSpan | OTLPLogRecord],
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """The cache of keys is bounded, the number of encoded keys is not."""
    event = {f"key{number}": number for number in range(6000)}
    encode = processor()
    encode(None, "", event)
    assert own(attributes(fragment(processor.signal, encode(None, "", event)))) == event
    assert len(encode.attributes._heads) < 6000


@BOTH
def test_encoders_of_many_names_are_not_all_kept(processor: Any) -> None:
    """The cache of encoders is bounded for any number of names."""
    encode = processor()
    for number in range(3000):
        encode(None, "", {"event": f"e{number}"})
    encode(None, "", {"event": "e" * 10_000})
    assert 500 < len(encode._encoders) < 3000
    assert max(map(len, encode._encoders)) < 1000


@pytest.mark.parametrize("processor", [OTLPSpan, OTLPLogRecord])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_envelope_makes_fragments_a_request(
    processor: type[OTLPSpan | OTLPLogRecord],
    number: int,
    body: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """Head, fragments joined by commas and tail are one request, each fragment on a line of its own if wished."""
    fragments = [processor()(None, "", {"event": f"e{index}"}) for index in range(number)]
    head, tail = envelope(processor.signal, {"service.name": 'a"b', "n": 1}, "scope", "2")
    assert head.endswith(b"[\n")
    assert tail == b"]}]}]}"
    for separator in (b",", b",\n"):
        request = body(processor.signal, head + separator.join(fragments) + tail)
        (whole,) = request.resource_spans if processor is OTLPSpan else request.resource_logs
        (scope,) = whole.scope_spans if processor is OTLPSpan else whole.scope_logs
        items = scope.spans if processor is OTLPSpan else scope.log_records
        assert attributes(whole.resource) == {"service.name": 'a"b', "n": 1}
        assert (scope.scope.name, scope.scope.version) == ("scope", "2")
        assert len(items) == number


def test_an_unknown_signal_is_refused() -> None:
    """The error has the value and the allowed ones."""
    with pytest.raises(ValueError, match="must be one of traces, logs, got 'metrics'"):
        envelope("metrics", {}, "scope", "1")


def test_the_global_random_neither_matters_nor_changes() -> None:
    """An application that seeds `random` gets its own sequence, and no ID twice."""
    encode = OTLPSpan()
    seen = set()
    for _ in range(3):
        random.seed(1)
        before = random.getstate()
        seen.add(ids_of(encode(None, "", {"event": "e"})))
        seen.add(ids_of(OTLPSpan()(None, "", {"event": "e"})))
        assert random.getstate() == before
    assert len(seen) == 6


def own(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes without the id that each log record has."""
    return {key: value for key, value in attributes.items() if key != "log.record.uid"}


def ids_of(fragment: bytes) -> tuple[str, str]:
    """Return the trace id and span id of a fragment."""
    item = json.loads(fragment)
    return item["traceId"], item["spanId"]
