"""A handler's formatter is its chain of processors: one LogRecord in, one encoded OTLP fragment out."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog

from automagik_telemetry._failsafe import is_from_signal
from automagik_telemetry._fork_lock import importing
from automagik_telemetry._process import LoadedTwice, is_instance
from automagik_telemetry._reentrancy import guard
from automagik_telemetry.consent._application import given
from automagik_telemetry.handlers._record import NOT_FIELDS, own_fields
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import Processor

_LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


def event_dict(record: logging.LogRecord) -> dict[str, Any]:
    """Return the event of a record, as structlog's processors expect it.

    The message is the event's name and `extra` its fields. A record made by structlog's
    `ProcessorFormatter.wrap_for_formatter` carries the whole event dict as its message; it is copied, never changed.

    Args:
        record: The record, of any logger.

    Returns:
        A new dict with `event`, `level`, `timestamp` (Unix seconds), the fields, and `exc_info` if there is an
        exception.
    """
    return _event_dict(record.msg, _nearest(record.levelno), record.created, own_fields(record.__dict__))


def _event_dict(name: Any, level: str, created: float, fields: Mapping[str, Any]) -> dict[str, Any]:
    header = {"level": level, "timestamp": created}
    if type(name) is dict:
        event = name | header
    else:
        # Our own events hold only fields, and are copied in one step.
        if type(fields) is dict and NOT_FIELDS.isdisjoint(fields):
            event = fields.copy()
        else:
            event = {key: value for key, value in fields.items() if key not in NOT_FIELDS}
        event["event"] = name
        event.update(header)
    exc_info = fields.get("exc_info")
    if exc_info:
        event["exc_info"] = exc_info
    return event


def _nearest(level: int) -> str:
    return _LEVEL_NAMES[min(max(level // 10 * 10, 10), 50)]


class ChainFormatter(logging.Formatter, metaclass=LoadedTwice):
    """Runs a sink's processors, in order, over the event of a record.

    With any handler of the standard library it shows the event as it would be sent.

    Args:
        processors: Processors as structlog has them, the last of which returns the encoded bytes. In a configuration
            file each is a mapping with its class under `()` and its arguments beside it.

    Raises:
        ValueError: The list is empty, a processor can't be built, or the last one does not encode the event. The
            message has the position in the list.
    """

    def __init__(self, processors: Sequence[Any]) -> None:
        super().__init__()
        # A process without a chain needs no processor.
        from automagik_processors._direct import direct
        from automagik_processors.anonymize import Anonymize
        from automagik_processors.sample import Sample

        # By index, because only then does dictConfig resolve ext:// and cfg:// inside lists.
        built = [_build(processors[index], index) for index in range(len(processors))]
        if not built:
            raise ValueError("processors: the list is empty; its last entry must encode the event, such as OTLP")
        signal = getattr(built[-1], "signal", None)
        if signal not in ("traces", "logs"):
            raise ValueError(
                f"processors[{len(built) - 1}]: {_describe(built[-1])} does not encode the event; "
                "the last processor must be OTLP, OTLPSpan, OTLPLogRecord or the encoder of a sink of traces"
            )
        self.signal: Literal["traces", "logs"] = signal
        for index, processor in enumerate(built):
            if is_instance(processor, Anonymize):
                _check_fields(processor.catalogue, f"processors[{index}]")
        self._sink: weakref.ref[object] | None = None
        settings = Settings.from_environ()
        rate = settings.default_sampling_rate
        rates = given().sample_rate if rate is None else rate, settings.error_sampling_rate
        self._processors = tuple(each.with_rates(*rates) if is_instance(each, Sample) else each for each in built)
        self._direct = direct([*self._processors[:-1], getattr(built[-1], "encodes_with", built[-1])])

    @property
    def processors(self) -> tuple[Callable[[Any, str, Any], Any], ...]:
        """The processors, in order. Make another formatter to use others."""
        return self._processors

    def for_sink(self, sink: object, key: Callable[[], bytes]) -> ChainFormatter:
        """Let the chain hash with the key of a sink, unless it has a key of its own.

        Args:
            sink: The sink.
            key: Returns the hash key, at the first need.

        Returns:
            This chain; a copy, if it serves another sink already, because two recipients must not get equal hashes.
        """
        from automagik_processors.anonymize import Anonymize

        before = self._sink() if self._sink is not None else None
        if before is not None and before is not sink and type(self) is ChainFormatter:
            return ChainFormatter([_copied(each) for each in self._processors]).for_sink(sink, key)
        self._sink = weakref.ref(sink)
        for processor in self._processors:
            if is_instance(processor, Anonymize):
                processor.share_key(key)
        return self

    def report_wrong_kinds(self, report: Callable[[str, str], None]) -> None:
        """Report each declared field that is dropped because its value is not of its kind.

        Args:
            report: Called with the event and the field.
        """
        from automagik_processors.anonymize import Anonymize

        for processor in self._processors:
            if isinstance(processor, Anonymize):
                processor.on_wrong_kind = report

    def encode(self, record: logging.LogRecord) -> bytes:
        """Return the encoded event of a record, as it would be sent.

        Args:
            record: The record, of any logger.

        Returns:
            One OTLP span, log record or trace, as UTF-8 JSON.

        Raises:
            structlog.DropEvent: The event is not sent.
        """
        return self.encode_event(record.msg, record.levelno, record.created, own_fields(record.__dict__))

    def encode_event(self, name: object, level: int, created: float, fields: Mapping[str, Any]) -> bytes:
        """Return the encoded event, as it would be sent.

        Args:
            name: The event's name, or an event dict of structlog's.
            level: A level of `logging`.
            created: Unix time in seconds.
            fields: The fields; attributes of a record that are not its `extra` are ignored.

        Returns:
            One OTLP span, log record or trace, as UTF-8 JSON.

        Raises:
            structlog.DropEvent: The event is not sent.
        """
        level_name = _LEVEL_NAMES.get(level) or _nearest(level)
        event_name, given = (name.get("event"), name) if type(name) is dict else (name, fields)
        if type(event_name) is not str:
            with importing:
                from automagik_processors._scalars import word_of

            event_name = word_of(event_name)
        if (
            self._direct is not None
            and event_name is not None
            and (encode := self._direct.encoder(event_name)) is not None
        ):
            try:
                return encode(level_name, created, given)
            except Exception:  # a key whose methods raise, or a mapping that is not a dict
                return encode(level_name, created, self._direct.plain(given))
        with guard:  # what a processor logs is not sent, nor what a signal handler logs while an encoder is made
            if self._direct is not None and event_name is not None:
                self._direct.prepare(event_name)
            event: Any = _event_dict(name, level_name, created, fields)
            for processor in self._processors:
                event = processor(None, level_name, event)
            return cast("bytes", event)

    def format(self, record: logging.LogRecord) -> str:
        """Return the encoded event of a record as text.

        Args:
            record: The record, of any logger.

        Returns:
            The JSON, or "(not sent: " and the reason if the event is not sent.
        """
        try:
            return self.encode(record).decode()
        except structlog.DropEvent as drop:
            return f"(not sent: {getattr(drop, 'reason', 'processor')})"
        except (Exception, SystemExit) as error:  # a handler of the standard library would print it
            if isinstance(error, SystemExit) and is_from_signal(error):
                raise
            return "(not sent: processor_error)"


def _copied(processor: Processor) -> Processor:
    """Return a copy of a step whose hashes or IDs two recipients could compare, and any other step itself."""
    from automagik_processors.anonymize import Anonymize

    step: Any = processor
    is_encoder = hasattr(step, "signal") and hasattr(step, "copy")
    return cast("Processor", step.copy()) if is_encoder or is_instance(step, Anonymize) else processor


def _check_fields(catalogue: Mapping[str, Mapping[str, object]], place: str) -> None:
    """Raise ValueError for a declared field that has the name of a record's own attribute, which would be sent."""
    for event, fields in catalogue.items():
        for field in fields:
            if field in NOT_FIELDS:
                raise ValueError(
                    f"{place}: field {field!r} of {event!r}: logging uses this name itself; choose another"
                )


def _build(entry: Any, index: int) -> Callable[[Any, str, Any], Any]:
    """Build one processor from its entry in the list: the processor itself, or a mapping with a `()` factory."""
    if callable(entry):
        return cast("Callable[[Any, str, Any], Any]", entry)
    if not isinstance(entry, dict) or "()" not in entry:
        raise ValueError(f"processors[{index}]: {entry!r} is neither a processor nor a mapping with a () factory")
    # dictConfig converts values as they are read by key, so the items are not taken in one go.
    arguments = {str(key): entry[key] for key in entry if key != "()"}
    factory = entry["()"]
    try:
        if isinstance(factory, str):
            factory = _resolve(factory)
        processor = factory(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"processors[{index}]: {entry['()']}: {error}") from error
    if not callable(processor):
        raise ValueError(f"processors[{index}]: {entry['()']} made {_describe(processor)}, which is no processor")  # noqa: TRY004 - one error type for a configuration
    return cast("Callable[[Any, str, Any], Any]", processor)


def _resolve(name: str) -> Any:
    import logging.config

    return logging.config.BaseConfigurator({}).resolve(name)


def _describe(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)
