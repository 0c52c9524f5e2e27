"""A handler's formatter is its chain of processors: one LogRecord in, one encoded OTLP fragment out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.handlers._record import NOT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


def event_dict(record: logging.LogRecord) -> dict[str, Any]:
    """Return the event of a record, as structlog's processors expect it.

    The message is the event's name and `extra` its fields. A record made by structlog's
    `ProcessorFormatter.wrap_for_formatter` carries the whole event dict as its message; it is copied, never changed.
    """
    return _event_dict(record.msg, _nearest(record.levelno), record.created, record.__dict__)


def _event_dict(name: Any, level: str, created: float, fields: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a message
    header = {"level": level, "timestamp": created}
    if type(name) is dict:
        event = name | header
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


class ChainFormatter(logging.Formatter):
    """Runs a sink's processors, in order, over the event that a record stands for.

    `processors` are structlog processors, the last of which returns the encoded bytes; in a configuration file each is
    a mapping with its factory under `()` and its arguments beside it. Raises ValueError or TypeError with the place in
    the list for one that can't be built. With any handler of the standard library it shows what would be sent.
    """

    def __init__(self, processors: Sequence[Any]) -> None:
        super().__init__()
        # A process without a chain needs no processor.
        from automagik_processors._direct import direct  # noqa: PLC0415 - see above
        from automagik_processors.anonymize import Anonymize  # noqa: PLC0415 - see above

        # By index, for only so does dictConfig resolve ext:// and cfg:// inside lists.
        built = [_build(processors[index], index) for index in range(len(processors))]
        if not built:
            raise ValueError("processors: the list is empty; its last entry must encode the event, such as OTLPSpan")
        signal = getattr(built[-1], "signal", None)
        if signal not in ("traces", "logs"):
            raise ValueError(
                f"processors[{len(built) - 1}]: {_describe(built[-1])} does not encode the event; "
                "the last processor must be OTLPSpan or OTLPLogRecord"
            )
        self.signal: Literal["traces", "logs"] = signal
        for index, processor in enumerate(built):
            if isinstance(processor, Anonymize):
                _check_fields(processor.catalogue, f"processors[{index}]")
        self._processors = tuple(built)
        self._direct = direct(self._processors)

    @property
    def processors(self) -> tuple[Callable[[Any, str, Any], Any], ...]:
        """The processors, in order. For others make another formatter."""
        return self._processors

    def encode(self, record: logging.LogRecord) -> bytes:
        """Return the encoded event of a record, as it would be sent.

        Raises:
            structlog.DropEvent: The event is not sent.
        """
        return self.encode_event(record.msg, record.levelno, record.created, record.__dict__)

    def encode_event(self, name: object, level: int, created: float, fields: Mapping[str, Any]) -> bytes:
        """Return the encoded event, as it would be sent.

        Args:
            name: The event's name, or an event dict of structlog's.
            level: A level of `logging`.
            created: Unix time in seconds.
            fields: The fields; attributes of a record that are not its `extra` are ignored.

        Raises:
            structlog.DropEvent: The event is not sent.
        """
        level_name = _LEVEL_NAMES.get(level) or _nearest(level)
        event_name, given = (name.get("event"), name) if type(name) is dict else (name, fields)
        if (
            self._direct is not None
            and type(event_name) is str
            and (encode := self._direct.encoder(event_name)) is not None
        ):
            try:
                return encode(level_name, created, given)
            except Exception:  # noqa: BLE001 - a key whose methods raise, or a mapping that is not a dict
                return encode(level_name, created, self._direct.plain(given))
        with guard:  # what a processor logs is not sent, nor what a signal handler logs while an encoder is made
            if self._direct is not None and type(event_name) is str:
                self._direct.prepare(event_name)
            event: Any = _event_dict(name, level_name, created, fields)
            for processor in self._processors:
                event = processor(None, level_name, event)
            return cast("bytes", event)

    def format(self, record: logging.LogRecord) -> str:
        """Return the same as text, or the reason why the event would not leave."""
        try:
            return self.encode(record).decode()
        except structlog.DropEvent as drop:
            return f"(not sent: {getattr(drop, 'reason', 'processor')})"


def _check_fields(catalogue: Mapping[str, Mapping[str, object]], place: str) -> None:
    """Raise ValueError for a declared field that has the name of a record's own attribute, which would be sent."""
    for event, fields in catalogue.items():
        for field in fields:
            if field in NOT_FIELDS:
                raise ValueError(
                    f"{place}: field {field!r} of {event!r}: logging uses this name itself; choose another"
                )


def _build(entry: Any, index: int) -> Callable[[Any, str, Any], Any]:  # noqa: ANN401 - what a configuration file holds
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


def _resolve(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    import logging.config  # noqa: PLC0415 - only a configuration file needs it

    return logging.config.BaseConfigurator({}).resolve(name)


def _describe(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)
