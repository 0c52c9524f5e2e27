"""Turns a trace, one event that contains its spans, into the OTLP/JSON spans that LangWatch accepts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automagik_processors._dropped_spans import MAX_GROUPS, Totals
from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of, utf8
from automagik_processors.exceptions import Dropped
from automagik_telemetry.sinks.langwatch._span import WHOLE, Size, encode_span, trace_info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from automagik_telemetry.sinks.langwatch._span import Ids, TraceInfo

    _Span = tuple[Ids, dict[str, Any]]
    _Encoded = tuple[_Span, bytes]
    _Sampling = tuple[float | None, str | None]

MAX_TRACE: Final = 4_000_000
"""Bytes of one encoded trace; LangWatch takes 10 MiB in one request."""

_RESERVE: Final = 512  # bytes for the sampling of the trace and the marks for omitted content on the root
_STRUCTURES: Final = tuple(Size(value=0, message=message) for message in (4_200, 1_000, 200))
"""Sizes of spans without content, from the largest."""
_MAX_TOTAL: Final = 2_500  # bytes of a span that has the sums of others, with a name in letters
_SMALLEST: Final = _STRUCTURES[-1]
_ROOT_SIZES: Final = (WHOLE, Size(65_536), Size(16_384), Size(4_096), *_STRUCTURES)
_SHAPE: Final = ("name", "type", "start", "end")


class LangWatchTrace:
    """Return one fragment: all spans of the trace, joined by commas, so that traces are counted.

    The event holds `trace_id`, `spans` (a list of dicts, see `langwatch_span`), and of the trace as a whole `metadata`,
    `sample_rate`, `sample_reason` and `truncated_spans`, which go to its root. Texts within inputs and outputs are cut
    to `bounded_json.MAX_TEXT` characters and a value to `MAX_VALUE`, with a mark. A trace larger than `max_bytes` loses
    the content of its oldest spans, which record the number of omitted characters; the root loses its own last.
    If the spans without content are still too large, spans are dropped, first those that did not fail. The root
    records their number, and additional spans the sums of their tokens and costs. The processor raises
    `Dropped("not_a_trace")` for an event without spans, and nothing else.

    Args:
        max_bytes: The largest size of an encoded trace, from 10,000 bytes. The default is 4,000,000.
        ids: Returns 64 random bits for an id that is missing. By default random ones.
        clock: Returns the Unix time in seconds, for a trace without one. By default the system's.

    Raises:
        ValueError: The size is not an integer from 10,000.
    """

    signal: ClassVar[str] = "traces"

    def __init__(
        self,
        max_bytes: int = MAX_TRACE,
        ids: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if type(max_bytes) is not int or max_bytes < 10_000:  # noqa: PLR2004 - documented in the docstring
            msg = f"LangWatchTrace(max_bytes={max_bytes!r}): allowed is a whole number from 10,000"
            raise ValueError(msg)
        self.max_bytes = max_bytes
        random = ForkSafeRandom()
        self._ids = ids or (lambda: random.getrandbits(64))
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded trace: UTF-8 without a newline."""
        event = event_dict if type(event_dict) is dict else plain_dict(event_dict, text_of)
        try:
            spans, cut = self._spans(event)
            sampling = _sampling(event)
        except Exception:  # keys with methods that raise
            spans, cut, sampling = [], 0, (None, None)
        if not spans:
            reason = "not_a_trace"
            raise Dropped(reason)
        return self._fragment(spans, sampling, cut)

    def _spans(self, event: EventDict) -> tuple[list[_Span], int]:
        """Return the trace's readable spans, its root first, and the number of the others."""
        trace_id = event.get("trace_id")
        if not is_id(trace_id, 32):
            trace_id = self._id() + self._id()
        given: Any = event.get("spans")
        listed = given if type(given) in (list, tuple) else []
        spans = [self._read(trace_id, span, event) for span in listed if type(span) is dict]
        if len(spans) > 1:
            spans.insert(0, spans.pop(_root_place(spans)))
        if spans:
            spans[0] = _with_metadata(spans[0], event.get("metadata"))
        truncated: Any = event.get("truncated_spans")
        before = truncated if type(truncated) is int and 0 < truncated < 2**31 else 0
        return spans, before + len(listed) - len(spans)

    def _read(self, trace_id: str, span: dict[str, Any], event: EventDict) -> _Span:
        span_id, parent = span.get("span_id"), span.get("parent_span_id")
        if not is_id(span_id, 16):
            span_id = self._id()
        if parent is not None and not is_id(parent, 16):
            parent = None
        if span.get("start") is None and span.get("end") is None:
            moment = event.get("timestamp")
            span = {**span, "end": moment if type(moment) is float else self._clock()}
        return (trace_id, span_id, parent), span

    def _fragment(self, spans: Sequence[_Span], sampling: _Sampling, cut: int) -> bytes:
        """Return the spans whole if they fit, as nearly all traces do."""
        rate, reason = sampling
        info: TraceInfo | None = trace_info(rate, reason, cut)
        encoded = []
        left = self.max_bytes + 1
        for span in spans:
            text = _encoded(span, info)
            left -= len(text) + 1
            if not text or left < 0:
                return self._fitted(spans, sampling, cut)
            encoded.append(text)
            info = None
        return b",".join(encoded)

    def _fitted(self, spans: Sequence[_Span], sampling: _Sampling, cut: int) -> bytes:
        """Return the structure of all spans, then as much content as fits: the root's, then that of the newest."""
        kept, shapes, dropped = self._shapes(spans)
        info = trace_info(*sampling, cut + dropped)
        encoded = shapes.copy()
        left = self.max_bytes - sum(map(len, shapes[1:])) - len(shapes)
        for size in _ROOT_SIZES:
            encoded[0] = _encoded(kept[0], info, size)
            if encoded[0] and len(encoded[0]) <= left:
                break
        left -= len(encoded[0])
        for place in range(len(kept) - 1, 0, -1):
            text = _encoded(kept[place])
            if len(text) - len(shapes[place]) > left:
                break
            if text:
                left -= len(text) - len(shapes[place])
                encoded[place] = text
        return b",".join(encoded)

    def _shapes(self, spans: Sequence[_Span]) -> tuple[list[_Span], list[bytes], int]:
        """Return the spans that fit without content, their encoded structure, and the number of those dropped."""
        root, *others = spans
        if not 0 < len(_encoded(root, None, _SMALLEST)) < self.max_bytes - _RESERVE:
            ids, fields = root
            root = ids, {key: fields.get(key) for key in _SHAPE}
        room = self.max_bytes - _RESERVE - len(_encoded(root, None, _SMALLEST))
        shapes: list[_Encoded] = []
        for size in _STRUCTURES:
            shapes = [(span, text) for span in others if (text := _encoded(span, None, size))]
            if _size(shapes) <= room:
                break
        dropped = len(others) - len(shapes)
        if _size(shapes) > room:
            shapes, number = self._selected(root, shapes, room)
            dropped += number
        return [root, *(span for span, _ in shapes)], [b"", *(text for _, text in shapes)], dropped

    def _selected(self, root: _Span, shapes: list[_Encoded], room: int) -> tuple[list[_Encoded], int]:
        """Return the spans that fit, failed ones first, with the sums of the others, and the number of the others."""
        groups = 1 + self.max_bytes * MAX_GROUPS // MAX_TRACE
        totals, for_totals, selected = Totals(groups), min(room // 2, groups * _MAX_TOTAL), set()
        left = room - for_totals
        for place in sorted(range(len(shapes)), key=lambda place: not shapes[place][0][1].get("error")):
            (_, fields), text = shapes[place]
            if len(text) + 1 <= left:
                left -= len(text) + 1
                selected.add(place)
            else:
                totals.add(fields)
        left += for_totals
        parents = {ids[1]: ids[2] for place, ((ids, _), _) in enumerate(shapes) if place not in selected}
        spans = [_lifted(shapes[place][0], parents) for place in sorted(selected)]
        kept = [(span, text) for span in spans if (text := _encoded(span, None, _SMALLEST))]
        (trace_id, root_id, _), _ = root
        for fields in totals.spans(root_id, self._id):
            span = (trace_id, fields["span_id"], root_id), fields
            text = _encoded(span, None, _SMALLEST)
            if 0 < len(text) < left:
                left -= len(text) + 1
                kept.append((span, text))
        return kept, totals.number

    def _id(self) -> str:
        return f"{self._ids() & (1 << 64) - 1 or 1:016x}"


def _sampling(event: EventDict) -> _Sampling:
    """Return the share of such traces that is kept, and the reason for keeping this one; None if missing."""
    rate: Any = event.get("sample_rate")
    reason = event.get("sample_reason")
    return (
        float(rate) if type(rate) in (int, float) and 0 < rate <= 1 else None,
        reason[:100] if type(reason) is str else None,
    )


def _root_place(spans: Sequence[_Span]) -> int:
    """Return the position of the first span whose parent is not in the trace."""
    known = {span_id for (_, span_id, _), _ in spans}
    return next((place for place, ((_, _, parent), _) in enumerate(spans) if parent not in known), 0)


def _with_metadata(root: _Span, of_trace: object) -> _Span:
    """Return the root with its trace's metadata, over which its own takes precedence."""
    ids, fields = root
    own = fields.get("metadata")
    if not own and not of_trace:
        return root
    merged = {**(of_trace if type(of_trace) is dict else {}), **(own if type(own) is dict else {})}
    return ids, {**fields, "metadata": merged}


def _lifted(span: _Span, parents: dict[str, str | None]) -> _Span:
    """Return a span as a child of its nearest ancestor that is not dropped; `parents` are those of dropped spans."""
    (trace_id, span_id, parent), fields = span
    seen = set()
    while parent is not None and parent in parents and parent not in seen:
        seen.add(parent)
        parent = parents[parent]
    return (trace_id, span_id, parent), fields


def _size(shapes: Sequence[_Encoded]) -> int:
    return sum(len(text) + 1 for _, text in shapes)


def _encoded(span: _Span, info: TraceInfo | None = None, size: Size = WHOLE) -> bytes:
    """Return the encoded span; an empty result if it can't be read."""
    ids, fields = span
    try:
        return utf8(encode_span(ids, fields, info, size))
    except Exception:  # methods of its objects that raise
        return b""
