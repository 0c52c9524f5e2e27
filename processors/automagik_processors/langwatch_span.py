"""One span of a trace as the JSON of an OTLP span, with the attributes that LangWatch reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_processors import langwatch_keys as keys
from automagik_processors.bounded_json import cut, dumps
from automagik_processors.ids import is_id
from automagik_processors.langwatch_values import typed_value
from automagik_processors.otlp_values import any_value, quote, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_SHORT: Final = 1_000
"""How many characters are kept of a name, a model, an id, a type or an attribute's key."""

_MOST_ATTRIBUTES: Final = 128
_LAST_SECOND: Final = 2**64 // 1_000_000_000  # a fixed64 of nanoseconds ends there, in the year 2554
_KINDS: Final = {"server": 2, "client": 3, "producer": 4, "consumer": 5}
_INTERNAL: Final = 1
_MOST_TOKENS: Final = 2**53  # beyond it JSON's numbers are not exact; and no cost comes near it
_WORDS: Final = (
    ("model", keys.MODEL),
    ("provider", keys.SYSTEM),
    ("provider", keys.PROVIDER),
    ("thread_id", keys.THREAD),
    ("user_id", keys.USER),
)


def encode_span(trace_id: str, span_id: str, span: Mapping[str, Any], added: Mapping[str, Any], *, bare: bool) -> str:
    """Return the JSON of one span; `added` are further attributes, and a `bare` one says that its content is left out.

    Raises whatever the methods of what the span holds raise.
    """
    start, end = _times(span)
    parent = span.get("parent_span_id")
    parent = f'"parentSpanId":"{parent}",' if is_id(parent, 16) and parent != span_id else ""
    kind = span.get("type")
    kind = kind if type(kind) is str and kind in keys.SPAN_TYPES else "span"
    attributes = {keys.SPAN_TYPE: kind, **dict(_attributes(span, start, end)), **added}
    if bare:
        attributes[keys.TRUNCATED] = True
    else:
        attributes |= _content(span)
    error = span.get("error")
    status = '{"code":1}'
    events = ""
    if error:
        failure = error if type(error) is dict else {"type": "error", "message": error}
        exception = _exception(failure)
        if name := exception.get(keys.EXCEPTION[0]):
            attributes[keys.ERROR_TYPE] = name
        status = f'{{"code":2,"message":{quote(exception[keys.EXCEPTION[1]])}}}'
        events = f'"events":[{{"timeUnixNano":"{end}","name":"exception","attributes":[{_key_values(exception)}]}}],'
    return (
        f'{{"traceId":"{trace_id}","spanId":"{span_id}",{parent}"name":{quote(_short(span.get("name") or kind))},'
        f'"kind":{_KINDS.get(kind, _INTERNAL)},"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
        f'"attributes":[{_key_values(attributes)}],{events}"status":{status}}}'
    )


def _attributes(span: Mapping[str, Any], start: int, end: int) -> Iterator[tuple[str, object]]:
    """Yield what is no content: what the host added, model, who and where, times, counts and cost."""
    given = span.get("attributes")
    for key, value in list(given.items())[:_MOST_ATTRIBUTES] if type(given) is dict else ():
        yield _short(key), value if type(value) in (bool, int, float) else cut(text_of(value))
    for field, key in _WORDS:
        if span.get(field) is not None:
            yield key, _short(span[field])
    metrics = dict(_metrics(span))
    timestamps = {"started_at": start // 1_000_000, "finished_at": end // 1_000_000}
    first = _nanoseconds(span.get("first_token_at"))
    if first is not None and first >= start:
        timestamps["first_token_at"] = first // 1_000_000
        metrics["first_token_ms"] = (first - start) // 1_000_000
    yield keys.TIMESTAMPS, dumps(timestamps)
    for field, key, metric in keys.TOKENS:
        if field in metrics:
            count = metrics.pop(field)
            yield key, count
            if metric is not None:
                metrics[metric] = count
    if metrics:
        yield keys.METRICS, dumps(metrics)
    if "cost" in metrics and span.get("cost_estimated") is True:
        yield keys.COST_ESTIMATED, True


def _metrics(span: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the counts of tokens, and the cost, that make sense."""
    usage: Any = span.get("usage")
    for field, _, _ in keys.TOKENS if type(usage) is dict else ():
        count = usage.get(field)
        if type(count) is int and 0 <= count < _MOST_TOKENS:
            yield field, count
    cost: Any = span.get("cost")
    if type(cost) in (int, float) and 0 <= cost < _MOST_TOKENS:
        yield "cost", float(cost)


def _content(span: Mapping[str, Any]) -> dict[str, str]:
    content = {
        key: typed_value(span[field])
        for field, key in (("input", keys.INPUT), ("output", keys.OUTPUT))
        if span.get(field) is not None
    }
    if span.get("metadata"):
        content[keys.METADATA] = dumps(span["metadata"])
    return content


def _exception(failure: Mapping[str, Any]) -> dict[str, Any]:
    kind, message, stack = (failure.get(name) for name in ("type", "message", "stacktrace"))
    described = {keys.EXCEPTION[0]: _short(kind or "error"), keys.EXCEPTION[1]: cut(text_of(message or ""))}
    return described | ({keys.EXCEPTION[2]: cut(text_of(stack))} if stack else {})


def _times(span: Mapping[str, Any]) -> tuple[int, int]:
    """Return begin and end in nanoseconds since 1970; of a span that lacks one, the other."""
    start, end = _nanoseconds(span.get("start")), _nanoseconds(span.get("end"))
    start = (end or 0) if start is None else start
    return start, start if end is None else max(start, end)


def _nanoseconds(moment: Any) -> int | None:  # noqa: ANN401  # whatever a host puts there
    readable = (type(moment) is float or type(moment) is int) and 0 <= moment < _LAST_SECOND
    return round(moment * 1_000_000) * 1_000 if readable else None  # a float of seconds tells microseconds, no more


def _key_values(attributes: Mapping[str, object]) -> str:
    return ",".join(f'{{"key":{quote(key)},"value":{any_value(value)}}}' for key, value in attributes.items())


def _short(value: object) -> str:
    return cut(text_of(value), MAX_SHORT)
