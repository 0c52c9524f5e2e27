"""Counts of tokens, as applications and frameworks name them, by one name each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

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
