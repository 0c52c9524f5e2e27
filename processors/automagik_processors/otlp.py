"""Encodes an event as an OTLP/JSON span or log record, as the last step of a chain."""

from __future__ import annotations

import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automagik_processors._conventions import MAX_SECONDS, SEVERITIES, is_error_level, seconds
from automagik_processors._ids import FreshIds, is_id
from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_attributes import Attributes, key_values
from automagik_processors._otlp_values import quote, text_of, type_name, utf8
from automagik_processors._scalars import flag_of, milliseconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from structlog.typing import EventDict, WrappedLogger

Ids = tuple[str | None, str | None, str | None]
"""The IDs of an event's trace, span and parent, None for each that is missing."""

Select = Callable[[Any], tuple[str, object, object, Ids | None, str]]
"""Selects the sent parts of an event's fields.

Returns the attributes as JSON text, the `success`, the `duration_ms`, the event's own IDs (None if it has none), and
the attributes of its exception as JSON text ("" if it has none).
"""

Encode = Callable[[object, object, Any], bytes]
"""Encodes an event's level, timestamp and fields: UTF-8 without a newline."""

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_NO_IDS: Final[Ids] = (None, None, None)
_SECOND: Final = 1_000_000_000  # nanoseconds
_MAX_CACHED: Final = 1024  # encoders, because applications may generate names
_MAX_NAME_CACHED: Final = 128  # characters, so that the cache is bounded in bytes too


class _OTLP(ABC):
    """Base class of the encoders of spans and log records. They never raise, whatever an event contains."""

    signal: ClassVar[str]

    def __init__(
        self,
        prefix: str = "",
        attributes: Mapping[str, object] = _NOTHING,
        ids: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make the processor.

        Args:
            prefix: Goes before each field's key. The default is an empty string.
            attributes: Constant attributes, after the fields. By default none.
            ids: Returns 64 random bits for an id that an event does not bring, see `FreshIds`. By default random ones.
            clock: Returns the Unix time in seconds, for an event without a valid `timestamp` (Unix seconds, a datetime,
                or ISO 8601; without an offset it is local time).
        """
        self.attributes = Attributes(prefix, attributes)
        self._clock = clock
        self._ids = FreshIds(ids)
        self._encoders: dict[str, Encode] = {}

    def copy(self) -> Self:
        """Return another processor with the same arguments, which makes other IDs.

        Returns:
            The other processor.
        """
        copied = copy(self)
        copied._ids = self._ids.copy()  # noqa: SLF001 - of its own class
        copied._encoders = {}  # noqa: SLF001 - as above
        return copied

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        try:
            return self._encode(event_dict)
        except Exception:  # a key that is not a str, a mapping or a key with methods that raise
            return self._encode(plain_dict(event_dict, text_of))

    @abstractmethod
    def encoder(self, name: str, select: Select, earliest: float, latest: float) -> Encode:
        """Return the encoder of the events of one name. All events are encoded by such encoders.

        Args:
            name: The name.
            select: Selects the sent parts of an event's fields.
            earliest: Unix seconds. For an earlier or invalid timestamp, the time of the clock is sent.
            latest: Unix seconds. For this or a later timestamp, the time of the clock is sent.

        Returns:
            A function from an event's level, timestamp and fields to the encoded event.
        """

    def _encode(self, event_dict: EventDict) -> bytes:
        name = _name_of(event_dict)
        encode = self._encoders.get(name)
        if encode is None:
            encode = self.encoder(name, self._everything, 0.0, MAX_SECONDS)
            if len(self._encoders) < _MAX_CACHED and len(name) <= _MAX_NAME_CACHED:
                self._encoders[name] = encode
        return encode(event_dict.get("level"), event_dict.get("timestamp"), event_dict)

    def _seconds(self, timestamp: object, earliest: float, latest: float) -> float:
        valid = seconds(timestamp, earliest, latest)
        return self._clock() if valid is None else valid

    def _everything(self, event_dict: EventDict) -> tuple[str, object, object, Ids, str]:
        """Select all fields."""
        get = event_dict.get
        exception = _exception_attributes(exc_info) if (exc_info := get("exc_info")) else {}
        return (
            self.attributes.encode(event_dict),
            get("success"),
            get("duration_ms"),
            valid_ids(get("trace_id"), get("span_id"), get("parent_span_id")),
            ",".join(key_values(self.attributes.without(event_dict, exception)).values()) if exception else "",
        )


class OTLPSpan(_OTLP):
    """Return the event as one span, named by it, that lasted its `duration_ms` until its timestamp.

    The start is rounded down to a second, and the end is the start and the duration.

    The status is ok (1) for `success=True`; error (2) for `success=False`, for a level of error or critical and for
    an event whose name ends in ".error"; else unset (0). The exception of `exc_info` is an event of the span.
    """

    signal = "traces"

    def encoder(self, name: str, select: Select, earliest: float, latest: float) -> Encode:
        """Return the encoder of the events of one name.

        Args:
            name: The name.
            select: Decides what is sent of an event's fields.
            earliest: Seconds since 1970; where a timestamp is earlier, or not valid, the clock's time is sent.
            latest: Seconds since 1970, likewise.

        Returns:
            A function from an event's level, timestamp and fields to the encoded event.
        """
        quoted, is_error, fresh = quote(name), name.endswith(".error"), self._ids

        def encode(level: object, timestamp: object, fields: Any) -> bytes:
            attributes, success, duration, ids, exception = select(fields)
            if type(timestamp) is not float or not earliest <= timestamp < latest:
                timestamp = self._seconds(timestamp, earliest, latest)
            lasted = _nanoseconds(duration)
            start = max(0, int(timestamp - lasted / _SECOND)) * _SECOND
            end = start + lasted
            span_id = next(fresh.ready, None) or fresh.more()
            trace_id = fresh.process + span_id
            above = events = ""
            if ids is not None:
                trace_id, span_id, parent = ids[0] or trace_id, ids[1] or span_id, ids[2]
                above = f'"parentSpanId":"{parent}",' if parent else ""
            if exception:
                events = f'"events":[{{"timeUnixNano":"{end}","name":"exception","attributes":[{exception}]}}],'
            if success is not True and success is not False and success is not None:
                success = flag_of(success)
            failed = success is False or (success is not True and (is_error or is_error_level(level)))
            status = 2 if failed else 1 if success is True else 0
            return utf8(
                f'{{"traceId":"{trace_id}","spanId":"{span_id}",{above}"name":{quoted},"kind":1,'
                f'"startTimeUnixNano":"{start}","endTimeUnixNano":"{end}",'
                f'"attributes":[{attributes}],{events}"status":{{"code":{status}}}}}'
            )

        return encode


class OTLPLogRecord(_OTLP):
    """Return the event as one log record: the name as `eventName` and body, the level as severity.

    It has the event's own IDs of trace and span, and no generated ones. `parent_span_id`, the span in which it was
    logged, becomes an attribute. The attribute `log.record.uid` identifies a record that is sent again. The exception
    of `exc_info` becomes three attributes. The time is rounded down to a second.
    """

    signal = "logs"

    def encoder(self, name: str, select: Select, earliest: float, latest: float) -> Encode:
        """Return the encoder of the events of one name.

        Args:
            name: The name.
            select: Decides what is sent of an event's fields.
            earliest: Seconds since 1970; where a timestamp is earlier, or not valid, the clock's time is sent.
            latest: Seconds since 1970, likewise.

        Returns:
            A function from an event's level, timestamp and fields to the encoded event.
        """
        quoted, fresh = quote(name), self._ids

        def encode(level: object, timestamp: object, fields: Any) -> bytes:
            attributes, _, _, ids, exception = select(fields)
            trace_id, span_id, parent = ids or _NO_IDS
            if type(timestamp) is not float or not earliest <= timestamp < latest:
                timestamp = self._seconds(timestamp, earliest, latest)
            time = int(timestamp) * _SECOND
            uid, _ = fresh.new()
            return utf8(
                f'{{"timeUnixNano":"{time}","observedTimeUnixNano":"{time}",{_severity(level)}'
                f'"eventName":{quoted},"body":{{"stringValue":{quoted}}},"attributes":['
                f"{attributes}{',' if attributes else ''}{f'{exception},' if exception else ''}"
                f"{_string('parent_span_id', parent) + ',' if parent else ''}{_string('log.record.uid', uid)}]"
                f"{_id('traceId', trace_id)}{_id('spanId', span_id)}}}"
            )

        return encode


def valid_ids(trace_id: object, span_id: object, parent: object) -> Ids:
    """Return the IDs of trace, span and parent, None for each that is not valid."""
    return (
        trace_id if is_id(trace_id, 32) else None,
        span_id if is_id(span_id, 16) else None,
        parent if is_id(parent, 16) else None,
    )


def _severity(level: object) -> str:
    if type(level) is not str:
        return ""
    return f'"severityNumber":{SEVERITIES.get(level, 0)},"severityText":{quote(level)},'


def _string(key: str, value: str) -> str:
    return f'{{"key":"{key}","value":{{"stringValue":"{value}"}}}}'


def _id(key: str, value: str | None) -> str:
    return f',"{key}":"{value}"' if value else ""


def _name_of(event_dict: EventDict) -> str:
    name = event_dict.get("event")
    return name if type(name) is str else "event" if name is None else text_of(name)


def _nanoseconds(milliseconds: Any) -> int:
    """Return a duration in nanoseconds, whole microseconds; 0 if it is not valid."""
    if type(milliseconds) is not float:
        milliseconds = None if milliseconds is None else milliseconds_of(milliseconds)
        if milliseconds is None:
            return 0
    return int(milliseconds * 1_000) * 1_000 if 0 <= milliseconds < MAX_SECONDS else 0


def _exception_attributes(exc_info: Any) -> dict[str, object]:
    """Return `exception.type`, `exception.message` and `exception.stacktrace`; {} if there is no exception.

    Args:
        exc_info: An exception, a tuple as `sys.exc_info()` returns it, or True for the exception being handled.
    """
    error: Any
    if type(exc_info) is tuple:
        error = exc_info[1] if len(exc_info) == 3 else None  # noqa: PLR2004 - class, exception, traceback
    elif type(exc_info) in {bool, int}:
        error = sys.exc_info()[1] if exc_info else None
    else:
        error = exc_info
    if not issubclass(type(error), BaseException):
        return {}
    attributes: dict[str, object] = {"exception.type": _type_of(error), "exception.message": text_of(error)}
    try:
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(error))
    except Exception:  # the exception's own methods may raise anything
        return attributes
    return attributes


def _type_of(error: BaseException) -> str:
    """Return the name of a class with its module, except for built-in ones, as OpenTelemetry's SDK does."""
    module = type.__dict__["__dict__"].__get__(type(error)).get("__module__")
    if type(module) is not str or module == "builtins":
        return type_name(error)
    return f"{module}.{type_name(error)}"


_LISTS: Final = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}


def envelope(signal: str, resource: Mapping[str, object], scope_name: str, scope_version: str) -> tuple[bytes, bytes]:
    r"""Return the head and the tail of a request: `head + b",\n".join(fragments) + tail` is its body.

    Args:
        signal: "traces" or "logs", as in the class attributes of `OTLPSpan` and `OTLPLogRecord`.
        resource: Attributes of the resource, such as `service.name`.
        scope_name: Name of the instrumentation scope.
        scope_version: Version of the instrumentation scope.

    Returns:
        The head, which ends in `[\n`, and the tail.

    Raises:
        ValueError: `signal` is not allowed.
    """
    if signal not in _LISTS:
        msg = f"signal must be one of {', '.join(_LISTS)}, got {signal!r}"
        raise ValueError(msg)
    resources, scopes, fragments = _LISTS[signal]
    attributes = ",".join(key_values(resource).values())
    scope = f'{{"name":{quote(scope_name)},"version":{quote(scope_version)}}}'
    head = (
        f'{{"{resources}":[{{"resource":{{"attributes":[{attributes}]}},"{scopes}":[{{"scope":{scope},"{fragments}":[\n'
    )
    return utf8(head), b"]}]}]}"
