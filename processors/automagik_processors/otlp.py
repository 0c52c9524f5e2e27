"""Turns an event dict into one encoded OTLP/JSON span or log record: the last step of a chain."""

from __future__ import annotations

import datetime as dt
import time
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automagik_processors.ids import ForkSafeRandom, is_id
from automagik_processors.levels import SEVERITIES, is_error_level
from automagik_processors.otlp_attributes import Attributes
from automagik_processors.otlp_values import quote, text_of, utf8
from automagik_processors.plain import plain_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, WrappedLogger

_TRACE_ID: Final = 32
_SPAN_ID: Final = 16
_FIXED64: Final = 2**64
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class _OTLP:
    """What a span and a log record have in common.

    `prefix` goes before each field's key; `attributes` are constant ones, after the fields. `ids` returns 192
    random bits for the ids that an event doesn't bring, and `clock` the Unix time in seconds for an event without a
    `timestamp` that can be read (seconds, a datetime, or ISO 8601). Whatever the event holds, nothing is raised.
    """

    signal: ClassVar[str]

    def __init__(
        self,
        prefix: str = "",
        attributes: Mapping[str, object] = _NOTHING,
        ids: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._attributes = Attributes(prefix, attributes)
        self._ids = ids or _random_bits()
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        try:
            return utf8(self._encode(event_dict))
        except Exception:  # noqa: BLE001  # a key that is no str, a mapping or a key with methods that raise
            return utf8(self._encode(plain_dict(event_dict, text_of)))

    def _encode(self, event_dict: EventDict) -> str:
        raise NotImplementedError

    def _ids_of(self, event_dict: EventDict) -> tuple[str, str]:
        """Return the trace id and the span id: the event's own where they are valid, else fresh ones."""
        trace_id: object = event_dict.get("trace_id")
        span_id: object = event_dict.get("span_id")
        if is_id(trace_id, _TRACE_ID) and is_id(span_id, _SPAN_ID):
            return trace_id, span_id
        fresh = self._ids().to_bytes(24, "big").hex()
        return (
            trace_id if is_id(trace_id, _TRACE_ID) else _not_zero(fresh[:_TRACE_ID]),
            span_id if is_id(span_id, _SPAN_ID) else _not_zero(fresh[_TRACE_ID:]),
        )

    def _moment_of(self, event_dict: EventDict) -> int:
        """Return the event's time in nanoseconds since 1970, or the clock's."""
        nanoseconds = _nanoseconds(event_dict.get("timestamp"))
        return _nanoseconds(self._clock()) or 0 if nanoseconds is None else nanoseconds


class OTLPSpan(_OTLP):
    """Return the event as one span, named by it, that ends at its timestamp and lasted its `duration_ms`.

    The status is ok (1) for `success=True`; error (2) for `success=False`, for a level of error or critical and for
    an event whose name ends in ".error"; else unset (0).
    """

    signal = "traces"

    def _encode(self, event_dict: EventDict) -> str:
        name = _name_of(event_dict)
        trace_id, span_id = self._ids_of(event_dict)
        parent = event_dict.get("parent_span_id")
        parent = f'"parentSpanId":"{parent}",' if is_id(parent, _SPAN_ID) else ""
        end = self._moment_of(event_dict)
        start = max(0, end - _duration(event_dict.get("duration_ms")))
        return (
            f'{{"traceId":"{trace_id}","spanId":"{span_id}",{parent}"name":{quote(name)},"kind":1,'
            f'"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
            f'"attributes":[{self._attributes.encode(event_dict)}],"status":{{"code":{_status(name, event_dict)}}}}}'
        )


class OTLPLogRecord(_OTLP):
    """Return the event as one log record: the name as `eventName` and body, the level as severity.

    Each record has a span id of its own, by which a store can tell a repetition; the span that it was logged
    in, `parent_span_id`, becomes an attribute of that name.
    """

    signal = "logs"

    def _encode(self, event_dict: EventDict) -> str:
        name = quote(_name_of(event_dict))
        trace_id, span_id = self._ids_of(event_dict)
        moment = self._moment_of(event_dict)
        attributes = self._attributes.encode(event_dict)
        parent = event_dict.get("parent_span_id")
        if is_id(parent, _SPAN_ID):
            attributes += f'{"," if attributes else ""}{{"key":"parent_span_id","value":{{"stringValue":"{parent}"}}}}'
        return (
            f'{{"timeUnixNano":"{moment}","observedTimeUnixNano":"{moment}",{_severity(event_dict.get("level"))}'
            f'"eventName":{name},"body":{{"stringValue":{name}}},"attributes":[{attributes}],'
            f'"traceId":"{trace_id}","spanId":"{span_id}"}}'
        )


def _random_bits() -> Callable[[], int]:
    return partial(ForkSafeRandom().getrandbits, 192)


def _not_zero(fresh: str) -> str:
    return fresh if fresh.strip("0") else fresh[:-1] + "1"


def _name_of(event_dict: EventDict) -> str:
    name = event_dict.get("event")
    return name if type(name) is str else "event" if name is None else text_of(name)


def _status(name: str, event_dict: EventDict) -> int:
    success = event_dict.get("success")
    if success is True:
        return 1
    return 2 if success is False or name.endswith(".error") or is_error_level(event_dict.get("level")) else 0


def _severity(level: object) -> str:
    if type(level) is not str:
        return ""
    return f'"severityNumber":{SEVERITIES.get(level, 0)},"severityText":{quote(level)},'


def _duration(milliseconds: Any) -> int:
    """Return a duration in nanoseconds; 0 if there is none that makes sense."""
    readable = type(milliseconds) in (float, int) and 0 <= milliseconds < _FIXED64
    return int(milliseconds * 1_000_000) if readable else 0


def _nanoseconds(moment: Any) -> int | None:
    """Return a time in nanoseconds since 1970 if it can be read and fits the format, else None."""
    try:
        seconds = moment if type(moment) in (float, int) else _seconds(moment)
        return int(seconds * 1_000_000_000) if 0 <= seconds < _FIXED64 // 1_000_000_000 else None
    except Exception:  # noqa: BLE001  # a text that is no date, a tzinfo that raises
        return None


def _seconds(moment: Any) -> float:
    if isinstance(moment, dt.datetime):
        return moment.timestamp()
    return dt.datetime.fromisoformat(moment).timestamp()
