"""A handler's formatter is its chain of processors: one LogRecord in, one encoded OTLP fragment out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog

from automagik_telemetry.delivery.envelope import SEPARATOR
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.empty_record import EMPTY_RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    UsualLine = Callable[[object, object, object, Mapping[str, object]], bytes | None]

# What logging itself puts on a record, and what it and others add later.
_NOT_FIELDS = frozenset(EMPTY_RECORD) | {"message", "asctime", "taskName", "_logger", "_name"}
_LEVEL_NAMES = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


def event_dict(record: logging.LogRecord) -> dict[str, Any]:
    """Return the event that a record stands for, as structlog's processors expect it.

    The message is the event's name and `extra` its fields. A record made by structlog's
    `ProcessorFormatter.wrap_for_formatter` carries the whole event dict as its message; it is copied, never changed.
    """
    header = {"level": _level_name(record.levelno), "timestamp": record.created}
    message: Any = record.msg
    if type(message) is dict:
        return message | header
    fields = {key: value for key, value in record.__dict__.items() if key not in _NOT_FIELDS}
    fields["event"] = message
    fields.update(header)
    return fields


def _level_name(level: int) -> str:
    return _LEVEL_NAMES.get(level) or _LEVEL_NAMES[min(max(level // 10 * 10, 10), 50)]


def no_line(_event: object, _level: object, _timestamp: object, _fields: Mapping[str, object]) -> None:
    """Return None: to a chain that does something else, no event is usual."""


class ChainFormatter(logging.Formatter):
    """Runs a sink's processors, in order, over the event that a record stands for.

    `processors` are structlog processors, the last of which returns the encoded bytes; in a configuration file each is
    a mapping with its factory under `()` and its arguments beside it. Raises ValueError or TypeError with the place in
    the list for one that can't be built. With any handler of the standard library it shows what would be sent.
    """

    def __init__(self, processors: Sequence[Any]) -> None:
        super().__init__()
        # A process without a chain needs no processor.
        from automagik_processors.fused import Fused, fuse  # noqa: PLC0415 - see above

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
        self._processors = tuple(built)
        self._steps = fuse(self._processors, SEPARATOR)
        whole = self._steps[0]
        self.usual_line: UsualLine = whole.encode if isinstance(whole, Fused) else no_line
        """See `Fused.encode`: returns a usual event and what separates it from the next; None if the chain is not."""

    @property
    def processors(self) -> tuple[Callable[[Any, str, Any], Any], ...]:
        """The processors, in order. For others make another formatter: these are compiled."""
        return self._processors

    def encode(self, record: logging.LogRecord) -> bytes:
        """Return the fragment that would be sent; raises structlog.DropEvent if the event does not leave.

        `usual_line` is asked first by who is in haste.
        """
        with guard:  # what a processor logs goes no further
            event: Any = event_dict(record)
            method = event["level"]
            for processor in self._steps:
                event = processor(None, method, event)
            return cast("bytes", event)

    def format(self, record: logging.LogRecord) -> str:
        """Return the same as text, or the reason why the event would not leave."""
        try:
            return self.encode(record).decode()
        except structlog.DropEvent as drop:
            return f"(not sent: {getattr(drop, 'reason', 'processor')})"


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
