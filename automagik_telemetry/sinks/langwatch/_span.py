"""One span of a trace as the JSON of an OTLP span, with the attributes that LangWatch reads."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from automagik_processors._bounded import cut
from automagik_processors._bounded_json import MAX_TEXT, dumps
from automagik_processors._otlp_attributes import Heads, key_value
from automagik_processors._otlp_values import quote, text_of
from automagik_telemetry.sinks.langwatch import _keys as keys
from automagik_telemetry.sinks.langwatch._values import typed_value

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SHORT: Final = 1_000
"""How many characters are kept of a name, a model, an id, a type or an attribute's key."""

_MAX_ATTRIBUTES: Final = 128
_LAST_SECOND: Final = float(2**64 // 1_000_000_000)  # a fixed64 of nanoseconds ends there, in the year 2554
_KINDS: Final = {"server": 2, "client": 3, "producer": 4, "consumer": 5}
_INTERNAL: Final = 1
_MAX_TOKENS: Final = 2**53  # beyond it JSON's numbers are not exact; and no cost comes near it
_MAX_QUOTED_CHARACTERS: Final = 200
_TIMES: Final = frozenset({int, float})
_NUMBERS: Final = frozenset({bool, int, float})
_heads: Final = Heads()
_WORDS: Final = (
    ("model", keys.MODEL),
    ("provider", keys.SYSTEM),
    ("provider", keys.PROVIDER),
    ("thread_id", keys.THREAD),
    ("user_id", keys.USER),
)
_CONTENT: Final = (("input", keys.INPUT), ("output", keys.OUTPUT))

Ids = tuple[str, str, str | None]
"""Of the trace, the span and its parent."""

Attributes = dict[str, str]
"""The JSON text of each attribute's KeyValue and a comma, by its key."""


class TraceInfo(NamedTuple):
    """Sampling and size of a trace, which its root carries: as attributes and as entries of its metadata."""

    attributes: Attributes
    said: dict[str, Any]
    metadata: str
    """The JSON text of the metadata's attribute, for a root that has no other."""


@lru_cache(256)
def trace_info(sample_rate: float | None, sample_reason: str | None, truncated_spans: int) -> TraceInfo:
    """Return the information of a trace, of which rate and reason may be missing. Most traces share theirs."""
    attributes: Attributes = {}
    said: dict[str, Any] = {}
    if sample_rate is not None:
        said["sample_rate"] = sample_rate
        attributes[keys.SAMPLE_RATE] = key_value(_heads[keys.SAMPLE_RATE], sample_rate)
    if sample_reason is not None:
        said["sample_reason"] = sample_reason
        attributes[keys.SAMPLE_REASON] = _text(keys.SAMPLE_REASON, sample_reason)
    if truncated_spans:
        attributes[keys.TRUNCATED_SPANS] = key_value(_heads[keys.TRUNCATED_SPANS], truncated_spans)
    return TraceInfo(attributes, said, _text(keys.METADATA, dumps(said)))


def encode_span(ids: Ids, span: Mapping[str, Any], info: TraceInfo | None = None, *, bare: bool = False) -> str:
    """Return the JSON of one span, of a trace's root with its `info`; a `bare` one is marked, and has no content.

    Raises whatever the methods of what the span holds raise.
    """
    get = span.get
    trace_id, span_id, parent = ids
    within = f'"parentSpanId":"{parent}",' if parent is not None and parent != span_id else ""
    start, end = _times(get("start"), get("end"))
    kind = get("type")
    kind = kind if type(kind) is str and kind in keys.SPAN_TYPES else "span"
    attributes = {keys.SPAN_TYPE: _SPAN_TYPES[kind]}
    _add_attributes(attributes, get("attributes"))
    for field, key in _WORDS:
        if (value := get(field)) is not None:
            attributes[key] = _text(key, _short(value))
    _add_measures(attributes, span, start, end)
    if info is not None:
        attributes |= info.attributes
    if bare:
        attributes[keys.TRUNCATED] = key_value(_heads[keys.TRUNCATED], value=True)
    else:
        for field, key in _CONTENT:
            if (value := get(field)) is not None:
                attributes[key] = _text(key, typed_value(value))
        if metadata := get("metadata"):
            said = metadata if info is None else {**metadata, **info.said}
            attributes[keys.METADATA] = _text(keys.METADATA, dumps(said))
        elif info is not None and info.said:
            attributes[keys.METADATA] = info.metadata
    error = get("error")
    events_and_status = _add_error(attributes, error, end) if error else '"status":{"code":1}'
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{within}"name":{quote(_short(get("name") or kind))},'
        f'"kind":{_KINDS.get(kind, _INTERNAL)},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
        f'"attributes":[{"".join(attributes.values())[:-1]}],{events_and_status}}}'
    )


def _add_error(attributes: Attributes, error: object, end: int) -> str:
    """Add the class of an error, and return the JSON of a failed span's events and status."""
    exception = _exception(error if type(error) is dict else {"type": "error", "message": error})
    if name := exception.get(keys.EXCEPTION[0]):
        attributes[keys.ERROR_TYPE] = _text(keys.ERROR_TYPE, name)
    described = "".join(_text(key, text) for key, text in exception.items())[:-1]
    return (
        f'"events":[{{"timeUnixNano":"{end}","name":"exception","attributes":[{described}]}}],'
        f'"status":{{"code":2,"message":{quote(exception[keys.EXCEPTION[1]])}}}'
    )


def _add_attributes(attributes: Attributes, given: object) -> None:
    """Add what the application added."""
    if type(given) is not dict:
        return
    heads = _heads
    for key, value in islice(given.items(), _MAX_ATTRIBUTES):
        name = key if type(key) is str and len(key) <= MAX_SHORT else _short(key)
        kind = type(value)
        if kind is str and len(value) <= _MAX_QUOTED_CHARACTERS:  # most are, and need no further call
            attributes[name] = f'{heads[name]}{{"stringValue":{quote(value)}}}}},'
        elif kind in _NUMBERS:
            attributes[name] = key_value(heads[name], value)
        else:
            attributes[name] = _text(name, _cut(value))


def _add_measures(attributes: Attributes, span: Mapping[str, Any], start: int, end: int) -> None:
    """Add times, counts and cost."""
    get = span.get
    usage, cost, first = get("usage"), get("cost"), get("first_token_at")
    metrics = _metrics(usage, cost) if usage or cost is not None else {}
    times = f'"{{\\"started_at\\":{start // 1_000_000},\\"finished_at\\":{end // 1_000_000}'
    if first is not None and (first := _nanoseconds(first)) is not None and first >= start:
        times += f',\\"first_token_at\\":{first // 1_000_000}'
        metrics["first_token_ms"] = (first - start) // 1_000_000
    attributes[keys.TIMESTAMPS] = f'{_heads[keys.TIMESTAMPS]}{{"stringValue":{times}}}"}}}},'
    if metrics:
        _add_metrics(attributes, metrics)
        if "cost" in metrics and get("cost_estimated") is True:
            attributes[keys.COST_ESTIMATED] = key_value(_heads[keys.COST_ESTIMATED], value=True)


def _add_metrics(attributes: Attributes, metrics: dict[str, float]) -> None:
    """Add the counts, each as an attribute and, by the names that LangWatch has for them, together as JSON."""
    for field, key, metric in keys.TOKENS:
        if field in metrics:
            count = metrics.pop(field)
            attributes[key] = key_value(_heads[key], count)
            if metric is not None:
                metrics[metric] = count
    if metrics:
        attributes[keys.METRICS] = _text(keys.METRICS, orjson.dumps(metrics).decode())


def _metrics(usage: Any, cost: Any) -> dict[str, float]:  # noqa: ANN401  # whatever an application puts there
    """Return the counts of tokens, and the cost, that make sense."""
    metrics: dict[str, float] = {}
    if type(usage) is dict:
        for field, _, _ in keys.TOKENS:
            count = usage.get(field)
            if type(count) is int and 0 <= count < _MAX_TOKENS:
                metrics[field] = count
    if type(cost) in (int, float) and 0 <= cost < _MAX_TOKENS:
        metrics["cost"] = float(cost)
    return metrics


def _exception(failure: Mapping[str, Any]) -> dict[str, str]:
    kind, message, stack = (failure.get(name) for name in ("type", "message", "stacktrace"))
    described = {keys.EXCEPTION[0]: _short(kind or "error"), keys.EXCEPTION[1]: _cut(message or "")}
    return described | ({keys.EXCEPTION[2]: _cut(stack)} if stack else {})


def _times(started: object, ended: object) -> tuple[int, int]:
    """Return begin and end in nanoseconds since 1970; of a span that lacks one, the other."""
    start, end = _nanoseconds(started), _nanoseconds(ended)
    if start is None:
        start = end or 0
    return start, start if end is None or end < start else end


def _nanoseconds(moment: Any) -> int | None:  # noqa: ANN401  # whatever an application puts there
    # A float of seconds tells microseconds, no more.
    return round(moment * 1_000_000) * 1_000 if type(moment) in _TIMES and 0 <= moment < _LAST_SECOND else None


def _text(key: str, text: str) -> str:
    """Return the attribute that a text is, and a comma."""
    return f'{_heads[key]}{{"stringValue":{quote(text) if len(text) <= _MAX_QUOTED_CHARACTERS else _quoted(text)}}}}},'


def _quoted(text: str) -> str:
    """Return a text as JSON, as `quote` does, and several times quicker where it is long."""
    try:
        return orjson.dumps(text).decode()
    except orjson.JSONEncodeError:  # a lone surrogate
        return quote(text)


def _short(value: object) -> str:
    return value if type(value) is str and len(value) <= MAX_SHORT else cut(text_of(value), MAX_SHORT)


def _cut(value: object) -> str:
    return value if type(value) is str and len(value) <= MAX_TEXT else cut(text_of(value), MAX_TEXT)


_SPAN_TYPES: Final = {kind: _text(keys.SPAN_TYPE, kind) for kind in keys.SPAN_TYPES}
"""The attribute of each type of span."""
