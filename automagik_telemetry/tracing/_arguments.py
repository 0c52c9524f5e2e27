"""Arguments of provider calls in one form: ids as OTLP has them, and counts of tokens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

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


_NAMES: Final = {
    "input_tokens": ("input_tokens", "prompt_tokens", "request_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens", "response_tokens"),
    "reasoning_tokens": ("reasoning_tokens",),
    "cache_read_tokens": ("cache_read_tokens", "cached_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens"),
    "total_tokens": ("total_tokens",),
}


def usage_of(usage: Any) -> dict[str, int] | None:  # noqa: ANN401 - a dict or an object of any framework's
    """Return the counts that `usage` holds, as a mapping or in attributes; None if there are none."""
    if usage is None:
        return None
    of: Callable[[str], object] = (
        usage.get if isinstance(usage, Mapping) else lambda name: cast("object", getattr(usage, name, None))
    )
    found = {
        name: count
        for name, others in _NAMES.items()
        if (count := next((value for other in others if type(value := of(other)) is int and value >= 0), None))
        is not None
    }
    return found or None
