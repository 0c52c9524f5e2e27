"""What `logging` itself puts on a record, found out once, without a trace in the host's own records."""

from __future__ import annotations

import logging
from typing import Any, Final


class _Record(logging.LogRecord):
    """A class of its own, for the instances of one share the table of their keys.

    Python 3.11 stops that for all that have `extra` if two were made before the first of them, and structlog makes one.
    From then on a record with `extra` costs a twentieth more.
    """


EMPTY_RECORD: Final[dict[str, Any]] = vars(
    _Record("", logging.NOTSET, "(unknown file)", 0, "", (), None, "(unknown function)")
)
"""The attributes of a record that says nothing, not even where it was made."""

NOT_FIELDS: Final = frozenset(EMPTY_RECORD) | {"message", "asctime", "taskName", "_logger", "_name"}
"""Attributes of a record that `logging`, structlog and others add themselves, so that no field may have their names."""
