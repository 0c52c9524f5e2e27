"""Bounds, `Scrub` and `LangWatchTrace` in one pass over spans as they are open: the same bytes, for a part of the work.

What is saved is the plain data between the steps, and looking again at what was looked at before. Whatever is unusual
in a trace (a secret, an object that is no data, too much of anything) goes the long way, as an event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from automagik_processors import langwatch_keys as keys
from automagik_processors.harmless import Harmless, Unusual
from automagik_processors.langwatch import LangWatchTrace
from automagik_processors.langwatch_memory import Heads, Samples, Types, attribute
from automagik_processors.langwatch_span import (
    LAST_SECOND,
    MAX_SHORT,
    MOST_ATTRIBUTES,
    SUCCESS,
    add_error,
    add_measures,
    quoted,
)
from automagik_processors.langwatch_values import typed
from automagik_processors.otlp_values import quote
from automagik_processors.scrub import Scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automagik_processors.langwatch_memory import Sample
    from automagik_processors.open_trace import Decision, OpenSpan, OpenTrace

_LONGEST_NAME: Final = 256
_MOST_COUNTS: Final = 16
_NUMBERS: Final = (type(None), int, float)
_LARGEST: Final = 2**63
# So much can't be cut anywhere on the long way: of a span, and of a trace.
_MOST_OF_SPAN: Final = 250_000  # characters
_MOST_OF_TRACE: Final = 900_000  # bytes
_MOST_VALUES: Final = 8_000
_FEW: Final = 16_000  # characters, which hold fewer values than that
_FIELDS: Final = (
    *("trace_id", "sample_rate", "sample_reason", "truncated_spans", "spans", "span_id", "parent_span_id", "name"),
    *("type", "start", "end", "input", "output", "error", "message", "stacktrace", "model", "provider", "usage"),
    *("cost", "cost_estimated", "first_token_at", "thread_id", "user_id", "metadata", "attributes", "unfinished"),
    *(field for field, _, _ in keys.TOKENS),
)
_are_valid: Final = re.compile(
    '"traceId":"(?!0{32})[0-9a-f]{32}","spanId":"(?!0{16})[0-9a-f]{16}",(?:"parentSpanId":"(?!0{16})[0-9a-f]{16}",)?'
).fullmatch


class FusedTrace:
    """Encodes traces as `encoder` does what `scrub` leaves of them."""

    def __init__(self, scrub: Scrub, encoder: LangWatchTrace) -> None:
        self._scrub = scrub
        self._known = scrub.harmless_texts
        self._heads = Heads(scrub)
        self._types = Types(scrub)
        self._samples = Samples(scrub)
        self._own_patterns = scrub.own_patterns
        self._most = min(_MOST_OF_TRACE, encoder.max_bytes * 3 // 4 - 256)

    def encode(self, trace: OpenTrace, spans: Sequence[OpenSpan], ended: float, decision: Decision) -> bytes | None:
        """Return a trace that has `ended`, its root first; None if there is something unusual in it."""
        try:
            check = Harmless(self._scrub)
            sample, root = self._samples[decision.sample_rate, decision.reason], spans[0]
            text = self._span(root, trace, ended, check, sample)
            if len(spans) > 1:
                if root.parent_span_id is not None and any(span.span_id == root.parent_span_id for span in spans):
                    return None
                text = ",".join([text, *(self._span(span, trace, ended, check, None) for span in spans[1:])])
            fragment = text.encode()
        except Exception:  # noqa: BLE001  # what the host put there may raise anything
            return None
        few = len(text) <= _FEW or _values(text) <= 4 * _MOST_VALUES
        return fragment if few and len(fragment) <= self._most else None

    def _span(self, span: OpenSpan, trace: OpenTrace, ended: float, check: Harmless, sample: Sample | None) -> str:
        """Return the JSON of one span; the root is the one that has a `sample`. Raises Unusual."""
        name, start, end = span.name, span.start, ended if span.ended is None else span.ended
        if type(name) is not str or len(name) > _LONGEST_NAME:
            raise Unusual
        if hash(name) not in self._known:
            check.text(name, 1)
        if type(start) is not float or type(end) is not float or not 1.0 <= start < LAST_SECOND or end >= LAST_SECOND:
            raise Unusual
        start_us = round(start * 1_000_000)
        end_us = round(end * 1_000_000) if end > start else start_us
        of_type = span.type
        kind, type_attribute = self._types[of_type]
        given = self._given(span.attributes, check) if span.attributes else ""
        about = (
            f'{_TIMESTAMPS}{{"stringValue":"{{\\"started_at\\":{start_us // 1_000},'
            f'\\"finished_at\\":{end_us // 1_000}}}"}}}}'
            if span.usage is None and span.cost is None and span.first_token_at is None
            else _measures(span, start_us * 1_000, end_us * 1_000)
        )
        if not (span.model is span.provider is span.thread_id is span.user_id is None):
            about = _words(span, check) + about
        if sample is not None:
            about += sample.attributes
            if trace.truncated:
                about += f'{_TRUNCATED_SPANS}{{"intValue":"{trace.truncated}"}}}}'
        about += _content(span, check)
        if sample is not None and span.metadata is None and span.ended is not None and not trace.metadata:
            about += sample.metadata
        else:
            about += _metadata(span, trace, check, sample)
        status = SUCCESS
        if span.error:
            error_type, status = _error(span.error, end_us * 1_000, check)
            about += error_type
        text = (
            f'{{{self._ids(span, trace, check)}"name":{quote(name or of_type)},"kind":{kind},'
            f'"startTimeUnixNano":"{start_us}000","endTimeUnixNano":"{end_us}000",'
            f'"attributes":[{type_attribute}{given}{about}],{status}}}'
        )
        if len(text) > _FEW and (len(text) > _MOST_OF_SPAN or _values(text) > _MOST_VALUES):
            raise Unusual
        return text

    def _ids(self, span: OpenSpan, trace: OpenTrace, check: Harmless) -> str:
        ids = f'"traceId":"{trace.trace_id}","spanId":"{span.span_id}",'
        parent = span.parent_span_id
        if parent is not None and parent != span.span_id:
            ids += f'"parentSpanId":"{parent}",'
        if _are_valid(ids) is None:
            raise Unusual
        if self._own_patterns:
            for text in (trace.trace_id, span.span_id, parent or ""):
                check.text(text, 1)
        return ids

    def _given(self, given: object, check: Harmless) -> str:
        """Return the JSON of what the host has added."""
        if type(given) is not dict or len(given) > MOST_ATTRIBUTES:
            raise Unusual
        heads, known = self._heads, self._known
        text = ""
        for key, value in given.items():
            kind = type(value)
            if kind is str:
                said = quote(value) if hash(value) in known else quoted(check.text(value, 2))
                text += f'{heads[key]}{{"stringValue":{said}}}}}'
            elif kind is bool:
                text += f'{heads[key]}{{"boolValue":true}}}}' if value else f'{heads[key]}{{"boolValue":false}}}}'
            elif kind is int and -_LARGEST <= value < _LARGEST:
                text += f'{heads[key]}{{"intValue":"{value}"}}}}'
            elif kind is float and value - value == 0.0:  # neither NaN nor infinite
                text += f'{heads[key]}{{"doubleValue":{value!r}}}}}'
            else:
                raise Unusual
        return text


def fuse_trace(processors: Sequence[Callable[..., Any]]) -> FusedTrace | None:
    """Return what does in one pass what `processors` do with a trace; None if it can't be."""
    if len(processors) != 2:  # noqa: PLR2004  # these two
        return None
    scrub, encoder = processors
    if type(scrub) is not Scrub or type(encoder) is not LangWatchTrace:
        return None
    return FusedTrace(scrub, encoder) if all(scrub.harmless_keys[field] for field in _FIELDS) else None


_MODEL, _SYSTEM, _PROVIDER, _THREAD, _USER, _TIMESTAMPS, _INPUT, _OUTPUT, _METADATA, _TRUNCATED_SPANS = map(
    attribute,
    (
        *(keys.MODEL, keys.SYSTEM, keys.PROVIDER, keys.THREAD, keys.USER, keys.TIMESTAMPS, keys.INPUT, keys.OUTPUT),
        *(keys.METADATA, keys.TRUNCATED_SPANS),
    ),
)


def _values(text: str) -> int:
    """Return how many values a text of JSON holds at most."""
    return text.count(",") + text.count("[") + text.count("{")


def _words(span: OpenSpan, check: Harmless) -> str:
    text = ""
    if span.model is not None:
        text += _word(_MODEL, span.model, check)
    if span.provider is not None:
        text += _word(_SYSTEM, span.provider, check) + _word(_PROVIDER, span.provider, check)
    if span.thread_id is not None:
        text += _word(_THREAD, span.thread_id, check)
    if span.user_id is not None:
        text += _word(_USER, span.user_id, check)
    return text


def _word(opening: str, word: object, check: Harmless) -> str:
    if type(word) is not str or len(word) > MAX_SHORT:
        raise Unusual
    return f'{opening}{{"stringValue":{quoted(check.text(word, 1))}}}}}'


def _content(span: OpenSpan, check: Harmless) -> str:
    text = ""
    if span.input is not None:
        text += f'{_INPUT}{{"stringValue":{_typed(span.input, check)}}}}}'
    if span.output is not None:
        text += f'{_OUTPUT}{{"stringValue":{_typed(span.output, check)}}}}}'
    return text


def _typed(value: object, check: Harmless) -> str:
    if type(value) is str:
        return quoted(f'{{"type":"text","value":{orjson.dumps(check.text(value, 1)).decode()}}}')
    return quoted(orjson.dumps(typed(check.copy(value, 1))).decode())


def _measures(span: OpenSpan, start: int, end: int) -> str:
    usage, cost, first = span.usage, span.cost, span.first_token_at
    if usage is not None:
        if type(usage) is not dict or len(usage) > _MOST_COUNTS:
            raise Unusual
        usage = usage.copy()
        if any(type(count) is not int and count is not None for count in usage.values()):
            raise Unusual
    if type(cost) not in _NUMBERS or type(first) not in _NUMBERS:
        raise Unusual
    found: dict[str, str] = {}
    given = {"usage": usage, "cost": cost, "cost_estimated": bool(span.cost_estimated), "first_token_at": first}
    add_measures(found, given, start, end)
    return "".join([f",{text}" for text in found.values()])


def _metadata(span: OpenSpan, trace: OpenTrace, check: Harmless, sample: Sample | None) -> str:
    own = {} if span.metadata is None else span.metadata
    if type(own) is not dict:
        raise Unusual
    said = check.copy(own, 1)
    if span.ended is None:
        said["unfinished"] = True
    if sample is not None:  # the root tells of the trace
        said = {**check.copy(trace.metadata, 1), **said, **sample.said}
    return f'{_METADATA}{{"stringValue":{quoted(orjson.dumps(said).decode())}}}}}' if said else ""


def _error(error: object, end: int, check: Harmless) -> tuple[str, str]:
    """Return the JSON of the class of an error, and that of the span's events and status."""
    if type(error) is not dict:
        raise Unusual
    found: dict[str, str] = {}
    status = add_error(found, check.copy(error, 1), end)
    return "".join([f",{text}" for text in found.values()]), status
