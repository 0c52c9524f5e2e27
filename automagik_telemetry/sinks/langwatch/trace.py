"""Turns a trace, one event whose spans ride along, into the OTLP/JSON spans that LangWatch takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of, utf8
from automagik_processors.exceptions import Dropped
from automagik_telemetry.sinks.langwatch._span import encode_span, trace_info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from automagik_telemetry.sinks.langwatch._span import Ids, TraceInfo

    _Span = tuple[Ids, dict[str, Any]]
    _Sampling = tuple[float | None, str | None]

MAX_TRACE: Final = 4_000_000
"""Bytes of one encoded trace; LangWatch takes 10 MiB in one request."""

_RESERVE: Final = 256  # bytes for saying, on the root, what was cut
_SHAPE: Final = ("name", "type", "start", "end")


class LangWatchTrace:
    """Return one fragment: all spans of the trace, joined by commas, so that the trace stays the unit of account.

    The event holds `trace_id`, `spans` (a list of dicts, see `langwatch_span`), and of the trace as a whole `metadata`,
    `sample_rate`, `sample_reason` and `truncated_spans`, which go to its root. Texts within inputs and outputs are cut
    to `bounded_json.MAX_TEXT` characters and a value to `MAX_VALUE`, with a mark. A trace larger than `max_bytes` loses
    the content of its later spans, which say so, and if it is still too large the spans themselves, which are counted
    on the root. `ids` returns 64 random bits for an id that is missing, `clock` the Unix time for a trace without one.

    Raises `Dropped` ("not_a_trace") for an event without spans, and nothing else. The constructor raises ValueError for
    a size below 10,000.
    """

    signal: ClassVar[str] = "traces"

    def __init__(
        self,
        max_bytes: int = MAX_TRACE,
        ids: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if type(max_bytes) is not int or max_bytes < 10_000:  # noqa: PLR2004  # said in the docstring
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
        except Exception:  # noqa: BLE001  # keys with methods that raise
            spans, cut, sampling = [], 0, (None, None)
        if not spans:
            reason = "not_a_trace"
            raise Dropped(reason)
        return self._fragment(spans, sampling, cut)

    def _spans(self, event: EventDict) -> tuple[list[_Span], int]:
        """Return the trace's spans that can be read, its root first, and how many others there were."""
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
        root, *others = spans
        encoded = [self._root(root, trace_info(*sampling, cut))]
        if not others:
            return encoded[0]
        left = self.max_bytes - len(encoded[0]) - _RESERVE
        # A part is kept for spans without content, so that the shape of the trace outlasts its longest messages.
        shapes = self.max_bytes // 4
        bare = False
        for number, span in enumerate(others):
            text = b"" if bare else _encoded(span, left - shapes)
            if not text:
                bare = True
                text = _encoded(span, left, bare=True)
            if not text:
                encoded[0] = self._root(root, trace_info(*sampling, cut + len(others) - number))
                break
            encoded.append(text)
            left -= len(text) + 1
        return b",".join(encoded)

    def _root(self, root: _Span, info: TraceInfo) -> bytes:
        room = self.max_bytes - _RESERVE
        if text := _encoded(root, room, info):
            return text
        ids, fields = root
        return _encoded((ids, {key: fields.get(key) for key in _SHAPE}), room, info, bare=True)

    def _id(self) -> str:
        return f"{self._ids() & (1 << 64) - 1 or 1:016x}"


def _sampling(event: EventDict) -> _Sampling:
    """Return the share of such traces that is kept, and why this one is; None for what is missing."""
    rate: Any = event.get("sample_rate")
    reason = event.get("sample_reason")
    return (
        float(rate) if type(rate) in (int, float) and 0 < rate <= 1 else None,
        reason[:100] if type(reason) is str else None,
    )


def _root_place(spans: Sequence[_Span]) -> int:
    """Return the place of the first span whose parent is not in the trace."""
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


def _encoded(span: _Span, room: int, info: TraceInfo | None = None, *, bare: bool = False) -> bytes:
    """Return the span, `bare` of its content or whole; nothing if it has no room, or can't be read."""
    try:
        text = utf8(encode_span(*span, info, bare=bare))
    except Exception:  # noqa: BLE001  # methods of what it holds that raise
        return b""
    return text if len(text) < room else b""
