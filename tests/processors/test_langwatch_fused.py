"""The fused pass gives the bytes that bounds, `Scrub` and `LangWatchTrace` give in turn, or leaves it to them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import LangWatchTrace, Scrub
from automagik_processors import langwatch_keys as keys
from automagik_processors.bounded_json import MAX_TEXT
from automagik_processors.langwatch_fused import FusedTrace, fuse_trace
from automagik_telemetry.observability.plain import plain_trace
from automagik_telemetry.observability.recording import OpenSpan
from tests.privacy.shapes import TEMPLATES, parts

NOW = 1_700_000_000.5
IDS = [f"{number:016x}" for number in range(1, 6)]


class Sampled(NamedTuple):
    """How a trace was sampled."""

    sample_rate: Any = 1.0
    reason: Any = "sampled"


@dataclass
class Trace:
    """What was collected."""

    trace_id: Any = "a" * 32
    truncated: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


def span(**given: Any) -> OpenSpan:
    """Return a span as it is when its trace has ended."""
    values = {"name": "run", "type": "agent", "span_id": IDS[0], "parent_span_id": None, "start": NOW, "ended": NOW + 1}
    made = OpenSpan("", "", None, "", None)  # type: ignore[arg-type] # it is asked of a trace
    for name, value in {**values, **given}.items():
        setattr(made, name, value)
    return made


def slowly(scrub: Scrub, trace: Trace, spans: list[OpenSpan], sampled: Sampled) -> bytes:
    """Return what the processors make of a trace, one after the other."""
    bounds = plain_trace()
    event = {
        "event": "trace",
        "trace_id": trace.trace_id,
        "sample_rate": sampled.sample_rate,
        "sample_reason": sampled.reason,
        "truncated_spans": trace.truncated,
        "metadata": bounds.value(trace.metadata),
        "spans": [each.rendered(bounds, NOW + 2) for each in spans],
    }
    return LangWatchTrace()(None, "info", scrub(None, "info", event))


def both(scrub: Scrub, trace: Trace, spans: list[OpenSpan], sampled: Sampled) -> tuple[bytes | None, bytes]:
    """Return what the fused pass makes of a trace, and the processors."""
    fused = fuse_trace([scrub, LangWatchTrace()])
    assert isinstance(fused, FusedTrace)
    return fused.encode(trace, spans, NOW + 2, sampled), slowly(scrub, trace, spans, sampled)


PIECES = (
    *("password", "token=x", "api_key: abc", "--token", "hello", "a" * 15, "b" * 70, '{"password": "x"}', "\ud800"),
    *("sk-abc123def456ghi789", '{"a": [1, 2]}', "\x00", "\u20ac", "[1]", "name", "value", "agent", " "),
)
texts = st.text(max_size=10) | st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
plain = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | texts
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts, inner, max_size=4)
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "boss"]), "content": inner}).map(lambda each: [each])
        | st.fixed_dictionaries({"type": st.sampled_from([*keys.FORMS]), "value": inner})
    ),
    max_leaves=8,
)
attributes = st.dictionaries(texts | st.sampled_from([*keys.TOKENS[0], keys.METADATA, keys.SPAN_TYPE]), values)
counts = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "total_tokens", "x"]), plain, max_size=3)
maybe: Any = st.none()
spans = st.fixed_dictionaries(
    {},
    optional={
        "name": texts | st.just("n" * 300),
        "type": st.sampled_from(["llm", "server", "odd", "", "password"]),
        "span_id": st.sampled_from([*IDS, "0" * 16, "short", '"' * 16]),
        "parent_span_id": st.sampled_from([*IDS, None, "A" * 16]),
        "start": st.sampled_from([NOW, 0.0, -1.0, 1e12, float("nan"), 1_700_000_000, NOW + 5]),
        "ended": st.sampled_from([NOW + 1.25, None, NOW - 1, float("inf"), float("nan"), 1e12]),
        "input": values,
        "output": values,
        "error": maybe | st.fixed_dictionaries({"type": texts, "message": texts, "stacktrace": maybe | texts}) | values,
        **dict.fromkeys(("model", "provider", "thread_id", "user_id"), maybe | texts | st.just("m" * 2_000) | values),
        "usage": maybe | counts | values,
        "cost": maybe | plain,
        "cost_estimated": plain,
        "first_token_at": maybe | st.floats(NOW - 1, NOW + 1) | plain,
        "metadata": maybe | attributes | values,
        "attributes": maybe | attributes | values,
    },
).map(lambda given: span(**given))
scrubs = [Scrub(), Scrub(extra_keys=["badge"], extra_patterns=["a{3}"]), Scrub(extra_patterns=["agent|error"])]


@pytest.mark.parametrize("scrub", scrubs, ids=["default", "extra", "eager"])
@given(
    spans=st.lists(spans, min_size=1, max_size=3),
    metadata=st.just({}) | st.dictionaries(texts, values, max_size=3),
    truncated=st.sampled_from([0, 7]),
    sampled=st.builds(Sampled, st.sampled_from([1.0, 0.1, 1, 0.0]), st.sampled_from(["sampled", "error"])),
)
def test_the_same_bytes(
    scrub: Scrub, spans: list[OpenSpan], metadata: dict[str, Any], truncated: int, sampled: Sampled
) -> None:
    """Whatever a trace holds, what goes the short way comes out as what goes the long way, the second time too."""
    trace = Trace(truncated=truncated, metadata=metadata)
    for _ in range(2):
        quick, slow = both(scrub, trace, spans, sampled)
        assert quick in (None, slow)


sane = st.text(st.characters(codec="utf-8"), max_size=10)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | sane
content = st.recursive(
    scalars | st.none(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(sane, inner, max_size=4)
)
usual = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("name", "model", "provider", "thread_id", "user_id"), sane),
        "type": st.sampled_from(sorted(keys.SPAN_TYPES)),
        **dict.fromkeys(("input", "output"), content),
        "start": st.floats(1.0, 2e9),
        "ended": st.none() | st.floats(1.0, 2e9),
        "attributes": st.dictionaries(sane, scalars),
        "metadata": st.dictionaries(sane, content, max_size=3),
        "usage": st.dictionaries(st.sampled_from([row[0] for row in keys.TOKENS]), st.integers()),
        "cost": st.floats(),
        "first_token_at": st.floats(1.0, 2e9),
        "cost_estimated": st.booleans(),
        "error": st.fixed_dictionaries({"type": sane, "message": sane, "stacktrace": st.none() | sane}),
    },
)


@given(st.lists(usual, min_size=1, max_size=3), st.dictionaries(sane, content, max_size=2))
def test_the_same_bytes_of_what_is_harmless(given: list[dict[str, Any]], metadata: dict[str, Any]) -> None:
    """The same for traces in which little is unusual, so that most of them go the short way."""
    spans = [
        span(**each, span_id=IDS[number], parent_span_id=IDS[0] if number else None)
        for number, each in enumerate(given)
    ]
    quick, slow = both(scrubs[0], Trace(metadata=metadata), spans, Sampled())
    assert quick in (None, slow)


MESSAGES = [{"role": "user", "content": "what is new?"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]
USUAL: dict[str, dict[str, Any]] = {
    "attributes": {"attributes": {"a": "b", "n": 1, "f": 0.5, "ok": True}},
    "messages": {"input": MESSAGES, "output": "not much", "model": "gpt-5", "provider": "openai", "type": "llm"},
    "counts": {"usage": {"input_tokens": 1, "total_tokens": 3}, "cost": 0.25, "first_token_at": NOW + 0.5},
    "failed": {"error": {"type": "ValueError", "message": "no", "stacktrace": "line 1\nline 2"}},
    "told": {"thread_id": "t", "user_id": "u", "metadata": {"team": ["x"]}, "ended": None},
    "nothing": {"attributes": {}, "metadata": {}, "error": {}, "input": "", "output": []},
}


@pytest.mark.parametrize("given", USUAL.values(), ids=USUAL)
def test_what_is_usual_goes_the_short_way(given: dict[str, Any]) -> None:
    """Messages, arguments, counts, errors and what applications add are not left to the long way."""
    trace = Trace(metadata={"session": 3} if "metadata" in given else {})
    trace.metadata = {"team": "y", "n": 1} if given.get("metadata") else {}
    child = span(**given, span_id=IDS[1], parent_span_id=IDS[0])
    quick, slow = both(Scrub(), trace, [span(**given), child], Sampled())
    assert quick == slow


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("place", ["name", "input", "output", "model", "user_id", "attributes", "metadata", "error"])
def test_no_secret_goes_the_short_way(template: str, place: str) -> None:
    """Wherever a secret stands, and however often the trace is logged, it does not leave."""
    whole, pieces = parts(template, random.Random(template))
    held: Any = whole if place in ("name", "model", "user_id") else {"note": f"it is {whole} now", "arguments": whole}
    fused = fuse_trace([Scrub(), LangWatchTrace()])
    assert fused is not None
    for _ in range(2):
        sent = fused.encode(Trace(), [span(**{place: held})], NOW, Sampled()) or b""
        assert [piece for piece in pieces if piece in sent.decode()] == []


@pytest.mark.parametrize(
    "held",
    [{"password": 1}, [["password", "x"]], {"name": "password", "value": "x"}, ["--password", "x"], {"\ud800": 1}],
    ids=str,
)
def test_what_names_a_secret_is_unusual(held: Any) -> None:
    """What makes a secret of a value that looks like none goes the long way."""
    fused = fuse_trace([Scrub(), LangWatchTrace()])
    assert fused is not None
    for place in ("input", "metadata", "attributes"):
        assert fused.encode(Trace(), [span(**{place: {"held": held}})], NOW, Sampled()) is None


@pytest.mark.parametrize(
    "given",
    [
        {"input": "x" * (MAX_TEXT + 1)},
        {"input": ["x" * MAX_TEXT] * 9},
        {"input": list(range(9_000))},
        {"attributes": {str(number): number for number in range(129)}},
        {"attributes": {keys.INPUT: "mine"}},
        {"model": "m" * 1_001},
        {"input": object()},
    ],
    ids=["text", "texts", "values", "attributes", "key", "word", "object"],
)
def test_what_is_too_much_is_unusual(given: dict[str, Any]) -> None:
    """What the long way may cut goes there."""
    quick, _ = both(Scrub(), Trace(), [span(**given)], Sampled())
    assert quick is None


def test_traces_that_are_too_large_are_unusual() -> None:
    """Each span may be within bounds and the trace not."""
    spans = [span(input=["x" * MAX_TEXT] * 6)] * 6
    assert both(Scrub(), Trace(), spans, Sampled())[0] is None
    spans = [span(input=list(range(7_000)))] * 8
    assert both(Scrub(), Trace(), spans, Sampled())[0] is None


def test_json_that_holds_too_much_is_unusual() -> None:
    """JSON in a text is looked into on the long way, if it is not soon done with."""
    json = '{"token_count": [' + ",".join(["0"] * 2_000) + ', "x"' * 2_000 + "]}"
    assert both(Scrub(), Trace(), [span(input=json)], Sampled())[0] is None


def test_only_a_chain_that_is_known_is_fused() -> None:
    """With a subclass, another order, or names that the encoder needs as secrets, each processor is called itself."""

    class Other(Scrub):
        """Someone's own."""

    chains: list[list[Any]] = [
        [Other(), LangWatchTrace()],
        [LangWatchTrace(), Scrub()],
        [LangWatchTrace()],
        [Scrub(), Scrub(), LangWatchTrace()],
        [Scrub(extra_keys=["trace id"]), LangWatchTrace()],
        [Scrub(extra_keys=["input tokens"]), LangWatchTrace()],
    ]
    for processors in chains:
        assert fuse_trace(processors) is None


def test_what_is_remembered_is_bounded() -> None:
    """Ever new keys and rates don't fill the memory, and no text is kept."""
    fused = fuse_trace([Scrub(), LangWatchTrace()])
    assert fused is not None
    for number in range(10_000):
        given = {"attributes": {f"key {number}": f"text {number}"}}
        assert fused.encode(Trace(), [span(**given)], NOW, Sampled(1 / (number + 1)))
    assert 1_000 < len(fused._heads) < 5_000
    assert len(fused._samples) < 5_000
    assert "text 1" not in str(vars(fused))
