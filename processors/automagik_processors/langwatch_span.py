"""One span of a trace as the JSON of an OTLP span, with the attributes that LangWatch reads."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from automagik_processors import langwatch_keys as keys
from automagik_processors.bounded import cut
from automagik_processors.bounded_json import MAX_TEXT, dumps
from automagik_processors.langwatch_values import typed_value
from automagik_processors.otlp_values import any_value, quote, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SHORT: Final = 1_000
"""How many characters are kept of a name, a model, an id, a type or an attribute's key."""

MOST_ATTRIBUTES: Final = 128
LAST_SECOND: Final = 2**64 // 1_000_000_000  # a fixed64 of nanoseconds ends there, in the year 2554
_KINDS: Final = {"server": 2, "client": 3, "producer": 4, "consumer": 5}
_INTERNAL: Final = 1
_MOST_TOKENS: Final = 2**53  # beyond it JSON's numbers are not exact; and no cost comes near it
_LARGEST: Final = 2**63
_LONG: Final = 200
_WORDS: Final = (
    ("model", keys.MODEL),
    ("provider", keys.SYSTEM),
    ("provider", keys.PROVIDER),
    ("thread_id", keys.THREAD),
    ("user_id", keys.USER),
)

Ids = tuple[str, str, str | None]
"""Of the trace, the span and its parent."""
SUCCESS: Final = '"status":{"code":1}'
"""The JSON of the status of a span that did not fail."""

Attributes = dict[str, str]
"""The JSON text of each attribute's KeyValue, by its key."""


def encode_span(ids: Ids, span: Mapping[str, Any], added: Mapping[str, Any], *, bare: bool) -> str:
    """Return the JSON of one span; `added` are further attributes, and a `bare` one says that its content is left out.

    Raises whatever the methods of what the span holds raise.
    """
    get = span.get
    trace_id, span_id, parent = ids
    within = f'"parentSpanId":"{parent}",' if parent is not None and parent != span_id else ""
    start, end = _times(span)
    kind = get("type")
    kind = kind if type(kind) is str and kind in keys.SPAN_TYPES else "span"
    attributes = {keys.SPAN_TYPE: _text(keys.SPAN_TYPE, kind)}
    _add_attributes(attributes, span)
    add_measures(attributes, span, start, end)
    for key, value in added.items():
        attributes[key] = _key_value(key, value)
    if bare:
        attributes[keys.TRUNCATED] = _key_value(keys.TRUNCATED, value=True)
    else:
        _add_content(attributes, span)
    error = get("error")
    events_and_status = add_error(attributes, error, end) if error else SUCCESS
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{within}"name":{quote(_short(get("name") or kind))},'
        f'"kind":{kind_number(kind)},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
        f'"attributes":[{",".join(attributes.values())}],{events_and_status}}}'
    )


def kind_number(kind: str) -> int:
    """Return OTLP's kind of a type of span."""
    return _KINDS.get(kind, _INTERNAL)


def add_error(attributes: Attributes, error: object, end: int) -> str:
    """Add the class of an error, and return the JSON of a failed span's events and status."""
    exception = _exception(error if type(error) is dict else {"type": "error", "message": error})
    if name := exception.get(keys.EXCEPTION[0]):
        attributes[keys.ERROR_TYPE] = _text(keys.ERROR_TYPE, name)
    described = ",".join(_text(key, text) for key, text in exception.items())
    return (
        f'"events":[{{"timeUnixNano":"{end}","name":"exception","attributes":[{described}]}}],'
        f'"status":{{"code":2,"message":{quote(exception[keys.EXCEPTION[1]])}}}'
    )


def _add_attributes(attributes: Attributes, span: Mapping[str, Any]) -> None:
    """Add what the host added, model, who and where."""
    given = span.get("attributes")
    if given and type(given) is dict:
        for key, value in islice(given.items(), MOST_ATTRIBUTES):
            name = key if type(key) is str and len(key) <= MAX_SHORT else _short(key)
            kind = type(value)
            if kind is str and len(value) <= _LONG:
                attributes[name] = f'{head(name)}{{"stringValue":{quote(value)}}}}}'
            elif kind is bool or kind is int or kind is float:
                attributes[name] = _key_value(name, value)
            else:
                attributes[name] = _text(name, _cut(value))
    for field, key in _WORDS:
        value = span.get(field)
        if value is not None:
            attributes[key] = _text(key, _short(value))


def add_measures(attributes: Attributes, span: Mapping[str, Any], start: int, end: int) -> None:
    """Add times, counts and cost."""
    times = f'{{"started_at":{start // 1_000_000},"finished_at":{end // 1_000_000}'
    metrics = _metrics(span)
    first = _nanoseconds(span.get("first_token_at"))
    if first is not None and first >= start:
        times += f',"first_token_at":{first // 1_000_000}'
        metrics["first_token_ms"] = (first - start) // 1_000_000
    attributes[keys.TIMESTAMPS] = _text(keys.TIMESTAMPS, times + "}")
    if metrics:
        _add_metrics(attributes, metrics)
        if "cost" in metrics and span.get("cost_estimated") is True:
            attributes[keys.COST_ESTIMATED] = _key_value(keys.COST_ESTIMATED, value=True)


def _add_metrics(attributes: Attributes, metrics: dict[str, float]) -> None:
    """Add the counts, each as an attribute and, by the names that LangWatch has for them, together as JSON."""
    for field, key, metric in keys.TOKENS:
        if field in metrics:
            count = metrics.pop(field)
            attributes[key] = _key_value(key, count)
            if metric is not None:
                metrics[metric] = count
    if metrics:
        attributes[keys.METRICS] = _text(keys.METRICS, orjson.dumps(metrics).decode())


def _metrics(span: Mapping[str, Any]) -> dict[str, float]:
    """Return the counts of tokens, and the cost, that make sense."""
    metrics: dict[str, float] = {}
    usage: Any = span.get("usage")
    if usage and type(usage) is dict:
        for field, _, _ in keys.TOKENS:
            count = usage.get(field)
            if type(count) is int and 0 <= count < _MOST_TOKENS:
                metrics[field] = count
    cost: Any = span.get("cost")
    if type(cost) in (int, float) and 0 <= cost < _MOST_TOKENS:
        metrics["cost"] = float(cost)
    return metrics


def _add_content(attributes: Attributes, span: Mapping[str, Any]) -> None:
    for field, key in (("input", keys.INPUT), ("output", keys.OUTPUT)):
        value = span.get(field)
        if value is not None:
            attributes[key] = _text(key, typed_value(value))
    metadata = span.get("metadata")
    if metadata:
        attributes[keys.METADATA] = _text(keys.METADATA, dumps(metadata))


def _exception(failure: Mapping[str, Any]) -> dict[str, str]:
    kind, message, stack = (failure.get(name) for name in ("type", "message", "stacktrace"))
    described = {keys.EXCEPTION[0]: _short(kind or "error"), keys.EXCEPTION[1]: _cut(message or "")}
    return described | ({keys.EXCEPTION[2]: _cut(stack)} if stack else {})


def _times(span: Mapping[str, Any]) -> tuple[int, int]:
    """Return begin and end in nanoseconds since 1970; of a span that lacks one, the other."""
    start, end = _nanoseconds(span.get("start")), _nanoseconds(span.get("end"))
    start = (end or 0) if start is None else start
    return start, start if end is None else max(start, end)


def _nanoseconds(moment: Any) -> int | None:  # noqa: ANN401  # whatever a host puts there
    readable = (type(moment) is float or type(moment) is int) and 0 <= moment < LAST_SECOND
    return round(moment * 1_000_000) * 1_000 if readable else None  # a float of seconds tells microseconds, no more


def _key_value(key: str, value: object) -> str:
    kind = type(value)
    if kind is str:
        return _text(key, value)  # type: ignore[arg-type]  # known by its type
    if kind is bool:
        return f'{head(key)}{{"boolValue":true}}}}' if value else f'{head(key)}{{"boolValue":false}}}}'
    if kind is int and -_LARGEST <= value < _LARGEST:  # type: ignore[operator]
        return f'{head(key)}{{"intValue":"{value}"}}}}'
    if kind is float and value - value == 0.0:  # type: ignore[operator]  # neither NaN nor infinite
        return f'{head(key)}{{"doubleValue":{value!r}}}}}'
    return f"{head(key)}{any_value(value)}}}"


def _text(key: str, text: str) -> str:
    return f'{head(key)}{{"stringValue":{quoted(text)}}}}}'


def quoted(text: str) -> str:
    """Return a text as JSON, as `quote` does."""
    if len(text) > _LONG:
        with contextlib.suppress(orjson.JSONEncodeError):  # a lone surrogate
            return orjson.dumps(text).decode()  # several times quicker
    return quote(text)


@lru_cache(4096)
def head(key: str) -> str:
    """Return the JSON of an attribute up to its value."""
    return f'{{"key":{quote(key)},"value":'


def _short(value: object) -> str:
    return value if type(value) is str and len(value) <= MAX_SHORT else cut(text_of(value), MAX_SHORT)


def _cut(value: object) -> str:
    return value if type(value) is str and len(value) <= MAX_TEXT else cut(text_of(value), MAX_TEXT)
