"""Ids of any form, such as dashed UUIDs, as the ids that OTLP allows: the same for the same, always."""

from __future__ import annotations

import hashlib
import re

_HEX = re.compile("[0-9a-f]+")
_TRACE_ID, _SPAN_ID = 32, 16


def trace_id_of(text: object) -> str:
    """Return 32 hex digits: a UUID's own, else a hash."""
    return _digits(text, _TRACE_ID)


def span_id_of(text: object) -> str:
    """Return 16 hex digits: the second half of a UUID, else a hash."""
    return _digits(text, _SPAN_ID)


def _digits(text: object, length: int) -> str:
    plain = str(text).replace("-", "").lower()
    digits = plain[-length:]
    if len(plain) in (_TRACE_ID, length) and _HEX.fullmatch(plain) and digits.strip("0"):
        return digits
    return hashlib.sha256(str(text).encode(errors="replace")).hexdigest()[:length]
