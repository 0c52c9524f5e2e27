"""One span of a trace as the JSON of an OTLP span, with the attributes that LangWatch reads."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from automagik_processors._bounded import Bounded, Bounds, cut, short_entries, weight
from automagik_processors._bounded_json import MAX_DEPTH, MAX_NODES, MAX_TEXT, MAX_VALUE, dumps, dumps_bounded
from automagik_processors._ids import is_id
from automagik_processors._otlp_attributes import head_of, key_value
from automagik_processors._otlp_values import any_value, quote, text_of
from automagik_telemetry.sinks.langwatch import _keys as keys
from automagik_telemetry.sinks.langwatch._values import typed_value

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SHORT: Final = 1_000
"""Maximum number of characters of a name, a model, an id, a type or an attribute's key."""

_MAX_ATTRIBUTES: Final = 128
_MAX_LINKS: Final = 8
_LAST_SECOND: Final = float(2**64 // 1_000_000_000)  # the largest fixed64 of nanoseconds, in the year 2554
_KINDS: Final = {"server": 2, "client": 3, "producer": 4, "consumer": 5}
_INTERNAL: Final = 1
_MAX_TOKENS: Final = 2**53  # JSON's numbers are not exact beyond it, and no cost comes near it
_MAX_QUOTED_CHARACTERS: Final = 200
_TIMES: Final = frozenset({int, float})
_NUMBERS: Final = frozenset({bool, int, float})
_LISTS: Final = frozenset({list, tuple, set, frozenset})
_MAX_HEADS: Final = 4_096
_WORDS: Final = (
    ("model", keys.MODEL),
    ("provider", keys.SYSTEM),
    ("provider", keys.PROVIDER),
    ("thread_id", keys.THREAD),
    ("user_id", keys.USER),
)
_CONTENT: Final = (("input", keys.INPUT), ("output", keys.OUTPUT))

Ids = tuple[str, str, str | None]
"""The ids of the trace, the span and its parent."""

Attributes = dict[str, str]
"""The JSON text of each attribute's KeyValue and a comma, by its head."""


class _Heads(dict[Any, str]):
    """The JSON text of a KeyValue before its value, by the attribute's key, which is cut to its maximum length."""

    def __missing__(self, key: object) -> str:
        head = head_of(_short(key))
        if type(key) is str and len(key) <= MAX_SHORT and len(self) < _MAX_HEADS:
            self[key] = head
        return head


_heads: Final = _Heads()


class TraceInfo(NamedTuple):
    """Sampling and size of a trace, set on its root: as attributes and as entries of its metadata."""

    attributes: Attributes
    said: dict[str, Any]
    metadata: Attributes
    """The attribute of the metadata, for a root that has no other."""


@lru_cache(256)
def trace_info(sample_rate: float | None, sample_reason: str | None, truncated_spans: int) -> TraceInfo:
    """Return the information of a trace, whose rate and reason may be missing. Most traces share theirs."""
    attributes: Attributes = {}
    said: dict[str, Any] = {}
    if sample_rate is not None:
        said["sample_rate"] = sample_rate
        _add(attributes, keys.SAMPLE_RATE, sample_rate)
    if sample_reason is not None:
        said["sample_reason"] = sample_reason
        _add(attributes, keys.SAMPLE_REASON, sample_reason)
    if truncated_spans:
        _add(attributes, keys.TRUNCATED_SPANS, truncated_spans)
    metadata: Attributes = {}
    _add(metadata, keys.METADATA, dumps(said))
    return TraceInfo(attributes, said, metadata)


class Size(NamedTuple):
    """The limits of one span's texts in characters."""

    value: int = MAX_VALUE
    """Of each of the span's values, such as its input. With 0 the span is encoded without content."""
    message: int = MAX_TEXT
    """Of the message of its error."""


WHOLE: Final = Size()


def encode_span(ids: Ids, span: Mapping[str, Any], info: TraceInfo | None = None, size: Size = WHOLE) -> str:
    """Return the JSON of one span, and of a trace's root with its `info`. It has the number of omitted characters.

    Raises the exceptions of the methods of the span's objects.
    """
    get = span.get
    trace_id, span_id, parent = ids
    within = f'"parentSpanId":"{parent}",' if parent is not None and parent != span_id else ""
    start, end = _times(get("start"), get("end"))
    kind = get("type")
    kind = kind if type(kind) is str and kind in keys.SPAN_TYPES else "span"
    attributes = _SPAN_TYPES[kind].copy()
    lost = get("truncated_characters", 0)
    lost = lost if type(lost) is int and 0 < lost < _MAX_TOKENS else 0
    if given := get("attributes"):
        shown = given if size.value else short_entries(given)
        lost += _add_attributes(attributes, shown, size.value)
        lost += 0 if shown is given else weight(given) - weight(shown)
    for field, key in _WORDS:
        if (value := get(field)) is not None:
            _add(attributes, key, _short(value))
    _add_measures(attributes, span, start, end)
    if info is not None:
        attributes |= info.attributes
    lost += _add_content(attributes, span, info, size)
    error = get("error")
    events_and_status = '"status":{"code":1}'
    if error:
        events_and_status, omitted = _add_error(attributes, error, end, size)
        lost += omitted
    if lost > 0:
        attributes[_TRUNCATED] = key_value(_TRUNCATED, value=True)
        attributes[_TRUNCATED_CHARACTERS] = key_value(_TRUNCATED_CHARACTERS, lost)
    if links := get("links"):
        events_and_status = _links(links) + events_and_status
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{within}"name":{quote(_short(get("name") or kind))},'
        f'"kind":{_KINDS.get(kind, _INTERNAL)},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
        f'"attributes":[{"".join(attributes.values())[:-1]}],{events_and_status}}}'
    )


def _links(links: Any) -> str:
    """Return the JSON of a span's links to spans of other traces."""
    # The span's ID first, because the recovery of a damaged file finds the start of a span by its trace ID.
    valid = [
        f'{{"spanId":"{span_id}","traceId":"{trace_id}"}}'
        for link in (links if type(links) is list else ())
        if type(link) is dict
        and is_id(trace_id := link.get("trace_id"), 32)
        and is_id(span_id := link.get("span_id"), 16)
    ]
    return f'"links":[{",".join(valid[:_MAX_LINKS])}],' if valid else ""


def _add_content(attributes: Attributes, span: Mapping[str, Any], info: TraceInfo | None, size: Size) -> int:
    """Add input, output and metadata, and return the number of omitted characters."""
    lost = 0
    for field, key in _CONTENT:
        value = span.get(field)
        if value is not None and size.value:
            text, omitted = typed_value(value, size.value)
            _add(attributes, key, text)
            lost += omitted
        elif value is not None:
            lost += weight(value)
    metadata = span.get("metadata")
    if metadata and size.value:
        text, omitted = dumps_bounded(metadata if info is None else {**metadata, **info.said}, size.value)
        _add(attributes, keys.METADATA, text)
        return lost + omitted
    if info is not None and info.said:
        attributes |= info.metadata
    return lost + weight(metadata) if metadata else lost


def _add_error(attributes: Attributes, error: object, end: int, size: Size) -> tuple[str, int]:
    """Add the class of an error. Return the JSON of a failed span's events and status, and the omitted characters."""
    exception, lost = _exception(error if type(error) is dict else {"type": "error", "message": error}, size)
    if name := exception.get(keys.EXCEPTION[0]):
        _add(attributes, keys.ERROR_TYPE, name)
    described: Attributes = {}
    for key, text in exception.items():
        _add(described, key, text)
    text = (
        f'"events":[{{"timeUnixNano":"{end}","name":"exception","attributes":[{"".join(described.values())[:-1]}]}}],'
        f'"status":{{"code":2,"message":{quote(exception[keys.EXCEPTION[1]])}}}'
    )
    return text, lost


def _add_attributes(attributes: Attributes, given: object, room: int = MAX_VALUE) -> int:
    """Add the attributes of the application: a list as an array, a dict as JSON. Return the omitted characters."""
    if type(given) is not dict:
        return 0
    heads, lost = _heads, 0
    for key, value in islice(given.items(), _MAX_ATTRIBUTES):
        head = heads[key]
        kind = type(value)
        if kind is str and len(value) <= _MAX_QUOTED_CHARACTERS:  # most values are, and need no further call
            attributes[head] = f'{head}{{"stringValue":{quote(value)}}}}},'
        elif kind in _NUMBERS:
            attributes[head] = key_value(head, value)
        elif kind is dict:
            text, omitted = dumps_bounded(value, room)
            _add(attributes, key, text)
            lost += omitted
        elif kind in _LISTS:
            bounded = Bounded(Bounds(MAX_DEPTH, MAX_NODES, text=MAX_TEXT, total=room))
            attributes[head] = f"{head}{any_value(bounded.value(value))}}},"
            lost += bounded.lost
        else:
            text = text_of(value)
            _add(attributes, key, cut(text, MAX_TEXT))
            lost += max(0, len(text) - MAX_TEXT)
    return lost


def _add_measures(attributes: Attributes, span: Mapping[str, Any], start: int, end: int) -> None:
    """Add times, counts and cost."""
    get = span.get
    usage, cost, first = get("usage"), get("cost"), get("first_token_at")
    metrics = _metrics(usage, cost) if usage or cost is not None else {}
    times = f'"{{\\"started_at\\":{start // 1_000_000},\\"finished_at\\":{end // 1_000_000}'
    if first is not None and (first := _nanoseconds(first)) is not None and first >= start:
        times += f',\\"first_token_at\\":{first // 1_000_000}'
        metrics["first_token_ms"] = (first - start) // 1_000_000
    attributes[_TIMESTAMPS] = f'{_TIMESTAMPS}{{"stringValue":{times}}}"}}}},'
    if metrics:
        _add_metrics(attributes, metrics)
        if "cost" in metrics and get("cost_estimated") is True:
            _add(attributes, keys.COST_ESTIMATED, value=True)


def _add_metrics(attributes: Attributes, metrics: dict[str, float]) -> None:
    """Add the counts, each as an attribute and together as JSON under LangWatch's names."""
    for field, key, metric in keys.TOKENS:
        if field in metrics:
            count = metrics.pop(field)
            _add(attributes, key, count)
            if metric is not None:
                metrics[metric] = count
    if metrics:
        _add(attributes, keys.METRICS, orjson.dumps(metrics).decode())


def _metrics(usage: Any, cost: Any) -> dict[str, float]:
    """Return the valid counts of tokens and the cost."""
    metrics: dict[str, float] = {}
    if type(usage) is dict:
        for field, _, _ in keys.TOKENS:
            count = usage.get(field)
            if type(count) is int and 0 <= count < _MAX_TOKENS:
                metrics[field] = count
    if type(cost) in (int, float) and 0 <= cost < _MAX_TOKENS:
        metrics["cost"] = float(cost)
    return metrics


def _exception(failure: Mapping[str, Any], size: Size) -> tuple[dict[str, str], int]:
    """Return the attributes of an exception, and the number of omitted characters."""
    kind, message, stack = (failure.get(name) for name in ("type", "message", "stacktrace"))
    message = text_of(message or "")
    described = {keys.EXCEPTION[0]: _short(kind or "error"), keys.EXCEPTION[1]: cut(message, size.message)}
    lost = max(0, len(message) - size.message)
    if stack and size.value:
        stack, room = text_of(stack), min(MAX_TEXT, size.value)
        described[keys.EXCEPTION[2]] = cut(stack, room)
        lost += max(0, len(stack) - room)
    elif stack:
        lost += weight(stack)
    return described, lost


def _times(started: object, ended: object) -> tuple[int, int]:
    """Return begin and end in nanoseconds since 1970. If one is missing, it equals the other."""
    start, end = _nanoseconds(started), _nanoseconds(ended)
    if start is None:
        start = end or 0
    return start, start if end is None or end < start else end


def _nanoseconds(moment: Any) -> int | None:
    # A float of seconds is exact to microseconds only.
    return round(moment * 1_000_000) * 1_000 if type(moment) in _TIMES and 0 <= moment < _LAST_SECOND else None


def _add(attributes: Attributes, key: object, value: str | float) -> None:
    """Add one attribute."""
    head = _heads[key]
    if type(value) is str and len(value) > _MAX_QUOTED_CHARACTERS:
        attributes[head] = f'{head}{{"stringValue":{_quoted(value)}}}}},'
    else:
        attributes[head] = key_value(head, value)


def _quoted(text: str) -> str:
    """Return a text as JSON, as `quote` does, but several times faster if it is long."""
    try:
        return orjson.dumps(text).decode()
    except orjson.JSONEncodeError:  # a lone surrogate
        return quote(text)


def _short(value: object) -> str:
    return value if type(value) is str and len(value) <= MAX_SHORT else cut(text_of(value), MAX_SHORT)


_TIMESTAMPS: Final = _heads[keys.TIMESTAMPS]
_TRUNCATED: Final = _heads[keys.TRUNCATED]
_TRUNCATED_CHARACTERS: Final = _heads[keys.TRUNCATED_CHARACTERS]
_SPAN_TYPES: Final[dict[str, Attributes]] = {kind: {} for kind in keys.SPAN_TYPES}
"""The attribute of each type of span."""
for _kind, _attribute in _SPAN_TYPES.items():
    _add(_attribute, keys.SPAN_TYPE, _kind)
