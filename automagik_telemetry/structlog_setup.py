"""structlog in front of the standard logger: events become ordinary records, their name the message, fields `extra`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

from automagik_telemetry.host import LOGGER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, WrappedLogger

# `logging` refuses these as extra fields, with an exception in the face of the caller.
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure_structlog() -> bool:
    """Let `structlog.get_logger()` log to `automagik`, unless the application configured structlog itself."""
    if structlog.is_configured():
        return False
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=_logger,
        cache_logger_on_first_use=True,
    )
    return True


def _logger(*names: Any) -> logging.Logger:  # noqa: ANN401 - structlog's signature
    return logging.getLogger(names[0] if names and isinstance(names[0], str) else LOGGER)


def to_record(_logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> Mapping[str, Any]:
    """Return the arguments of the standard logger's call; a field whose name `logging` keeps for itself gets a `_`."""
    call = {key: event_dict.pop(key) for key in ("exc_info", "stack_info", "stacklevel") if key in event_dict}
    event = event_dict.pop("event", "")
    extra = {f"{key}_" if key in _RESERVED else key: value for key, value in event_dict.items()}
    return {"msg": event, "extra": extra, **call}
