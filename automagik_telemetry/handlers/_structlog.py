"""structlog in front of the standard logger: events become ordinary records, their name the message, fields `extra`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

from automagik_telemetry.handlers._loggers import LOGGER
from automagik_telemetry.handlers._record import EMPTY_RECORD, event_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

# `logging` refuses these as extra fields, with an exception in the face of the caller.
_RESERVED = frozenset(EMPTY_RECORD) | {"message", "asctime"}
_LEVELS = {name.lower(): level for name, level in logging.getLevelNamesMapping().items()} | {"exception": logging.ERROR}
_ARGUMENTS = ("exc_info", "stack_info", "stacklevel")


def configure_structlog() -> bool:
    """Let `structlog.get_logger()` log to `automagik`, unless the application configured structlog itself."""
    if structlog.is_configured():
        return False
    structlog.configure(
        processors=[to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=_logger,
        cache_logger_on_first_use=True,
    )
    return True


def to_record(logger: RecordLogger, method_name: str, event_dict: EventDict) -> tuple[tuple[Any, ...], EventDict]:
    """Return the arguments of `RecordLogger`'s method; a field whose name `logging` keeps for itself gets a `_`.

    Raises DropEvent if the logger does not listen.
    """
    if not logger.isEnabledFor(_LEVELS[method_name]):
        raise structlog.DropEvent
    arguments = {key: event_dict.pop(key) for key in _ARGUMENTS if key in event_dict}
    event = event_dict.pop("event", "")
    # Structlog's own, unless somebody's field is called so.
    args = event_dict.pop("positional_args") if type(event_dict.get("positional_args")) is tuple else ()
    if not _RESERVED.isdisjoint(event_dict):
        event_dict = {f"{key}_" if key in _RESERVED else key: value for key, value in event_dict.items()}
    return (event, args, event_dict), arguments


def _at(level: int) -> Callable[..., None]:
    def log(self: RecordLogger, event: object, args: tuple[Any, ...], fields: EventDict, **arguments: Any) -> None:  # noqa: ANN401 - logging's
        logger = self.logger
        if arguments:
            logger.log(level, event, *args, extra=fields, **arguments)
        else:
            logger.handle(event_record(logger, level, event, fields, args))

    return log


class RecordLogger:
    """A standard logger whose methods take an event's fields, and don't ask where it was logged.

    `logging` would answer with a line of structlog's own, at half the cost of the call.
    """

    __slots__ = ("isEnabledFor", "logger")

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.isEnabledFor = logger.isEnabledFor

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the standard logger has
        return getattr(self.logger, name)

    debug = _at(logging.DEBUG)
    info = _at(logging.INFO)
    warning = _at(logging.WARNING)
    error = _at(logging.ERROR)
    critical = _at(logging.CRITICAL)
    exception = error


def _logger(*names: Any) -> RecordLogger:  # noqa: ANN401 - structlog's signature
    return RecordLogger(logging.getLogger(names[0] if names and isinstance(names[0], str) else LOGGER))
