"""Turns an event dict into one encoded OTLP/JSON span or log record: the last step of a chain."""

from __future__ import annotations

import datetime as dt
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automagik_processors.ids import FreshIds, is_id
from automagik_processors.levels import SEVERITIES, is_error_level
from automagik_processors.otlp_attributes import Attributes
from automagik_processors.otlp_values import quote, text_of, utf8
from automagik_processors.plain import plain_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, WrappedLogger

_TRACE_ID: Final = 32
_SPAN_ID: Final = 16
_LAST_SECOND: Final = 2**64 // 1_000_000_000  # a fixed64 of nanoseconds ends there, in the year 2554
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class _OTLP:
    """What a span and a log record have in common.

    `prefix` goes before each field's key; `attributes` are constant ones, after the fields. `ids` returns 64 random
    bits for the ids that an event doesn't bring, see `FreshIds`, and `clock` the Unix time in seconds for an event
    without a `timestamp` that can be read (seconds, a datetime, or ISO 8601). Whatever it holds, nothing is raised.
    """

    signal: ClassVar[str]
    template: ClassVar[str]
    """The JSON text of an event, as `str.format` takes it: all that is not in braces is the same for every event."""

    def __init__(
        self,
        prefix: str = "",
        attributes: Mapping[str, object] = _NOTHING,
        ids: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.attributes = Attributes(prefix, attributes)
        self.fresh_ids = FreshIds(ids)
        """Gives the ids of trace and span to an event that brings none, and so is a trace's only span."""
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        try:
            return utf8(self._encode(event_dict))
        except Exception:  # noqa: BLE001  # a key that is no str, a mapping or a key with methods that raise
            return utf8(self._encode(plain_dict(event_dict, text_of)))

    def _encode(self, event_dict: EventDict) -> str:
        return self.frame(
            _name_of(event_dict),
            event_dict.get("level"),
            self._moment_of(event_dict),
            self.ids_of(event_dict),
            event_dict.get("success"),
            _duration(event_dict.get("duration_ms")),
            self.attributes.encode(event_dict),
        )

    def frame(  # noqa: PLR0913, PLR0917  # what there is to say of an event beside its attributes
        self,
        name: str,
        level: object,
        moment: int,
        ids: tuple[str, str, str | None],
        success: object,
        duration: int,
        attributes: str,
    ) -> str:
        """Return the JSON text of an event; `moment` and `duration` are in microseconds, `attributes` KeyValues."""
        trace_id, span_id, parent = ids
        return self.template.format(
            name=quote(name),
            mark=self.mark(name, level, success),
            start=max(0, moment - duration) * 1_000,
            moment=moment * 1_000,
            trace_id=trace_id,
            span_id=span_id,
            above=self.above(parent, attributes),
            attributes=attributes,
        )

    @staticmethod
    def mark(name: str, level: object, success: object) -> str:
        """Return what an event's level and success come to, as JSON text."""
        raise NotImplementedError

    @staticmethod
    def above(parent: str | None, attributes: str) -> str:
        """Return what is said of the span above, as JSON text; `attributes` are those that stand before it."""
        raise NotImplementedError

    def ids_of(self, event_dict: EventDict) -> tuple[str, str, str | None]:
        """Return the ids of trace, span and parent: the event's own where they are valid, else fresh ones, and None."""
        trace_id: object = event_dict.get("trace_id")
        span_id: object = event_dict.get("span_id")
        parent: object = event_dict.get("parent_span_id")
        above = parent if is_id(parent, _SPAN_ID) else None
        if is_id(trace_id, _TRACE_ID) and is_id(span_id, _SPAN_ID):
            return trace_id, span_id, above
        fresh_trace_id, fresh_span_id = self.fresh_ids.new()
        return (
            trace_id if is_id(trace_id, _TRACE_ID) else fresh_trace_id,
            span_id if is_id(span_id, _SPAN_ID) else fresh_span_id,
            above,
        )

    def _moment_of(self, event_dict: EventDict) -> int:
        """Return the event's time in microseconds since 1970, or the clock's: a float of seconds holds no more."""
        moment = event_dict.get("timestamp")
        if type(moment) is not float or not 0.0 <= moment < _LAST_SECOND:
            moment = _seconds(moment)
            if moment is None:
                moment = self._clock()
        return int(moment * 1_000_000 + 0.5)


class OTLPSpan(_OTLP):
    """Return the event as one span, named by it, that ends at its timestamp and lasted its `duration_ms`.

    The status is ok (1) for `success=True`; error (2) for `success=False`, for a level of error or critical and for
    an event whose name ends in ".error"; else unset (0).
    """

    signal = "traces"
    template = (
        '{{"traceId":"{trace_id}","spanId":"{span_id}",{above}"name":{name},"kind":1,'
        '"startTimeUnixNano":"{start}","endTimeUnixNano":"{moment}",'
        '"attributes":[{attributes}],"status":{{"code":{mark}}}}}'
    )

    @staticmethod
    def mark(name: str, level: object, success: object) -> str:
        """Return the code of the status."""
        if success is True:
            return "1"
        return "2" if success is False or name.endswith(".error") or is_error_level(level) else "0"

    @staticmethod
    def above(parent: str | None, attributes: str) -> str:  # noqa: ARG004  # of a log record
        """Return the parent."""
        return f'"parentSpanId":"{parent}",' if parent else ""


class OTLPLogRecord(_OTLP):
    """Return the event as one log record: the name as `eventName` and body, the level as severity.

    Each record has a span id of its own, by which a store can tell a repetition; the span that it was logged
    in, `parent_span_id`, becomes an attribute of that name.
    """

    signal = "logs"
    template = (
        '{{"timeUnixNano":"{moment}","observedTimeUnixNano":"{moment}",{mark}'
        '"eventName":{name},"body":{{"stringValue":{name}}},"attributes":[{attributes}{above}],'
        '"traceId":"{trace_id}","spanId":"{span_id}"}}'
    )

    @staticmethod
    def mark(name: str, level: object, success: object) -> str:  # noqa: ARG004  # told by the attributes
        """Return the severity."""
        if type(level) is not str:
            return ""
        return f'"severityNumber":{SEVERITIES.get(level, 0)},"severityText":{quote(level)},'

    @staticmethod
    def above(parent: str | None, attributes: str) -> str:
        """Return the attribute that names the span."""
        if not parent:
            return ""
        return f'{"," if attributes else ""}{{"key":"parent_span_id","value":{{"stringValue":"{parent}"}}}}'


def _name_of(event_dict: EventDict) -> str:
    name = event_dict.get("event")
    return name if type(name) is str else "event" if name is None else text_of(name)


def _duration(milliseconds: Any) -> int:  # noqa: ANN401  # whatever a host puts there
    """Return a duration in microseconds; 0 if there is none that makes sense."""
    kind = type(milliseconds)
    readable = (kind is float or kind is int) and 0 <= milliseconds < _LAST_SECOND
    return int(milliseconds * 1_000) if readable else 0


def _seconds(moment: Any) -> float | None:  # noqa: ANN401  # whatever a host puts there
    """Return a time in seconds since 1970 if it can be read and fits the format, else None."""
    try:
        if type(moment) is str:
            moment = dt.datetime.fromisoformat(moment)
        if issubclass(type(moment), dt.datetime):
            moment = moment.timestamp()
    except Exception:  # a text that is no date, a tzinfo that raises  # noqa: BLE001
        return None
    return moment if type(moment) in (float, int) and 0 <= moment < _LAST_SECOND else None
