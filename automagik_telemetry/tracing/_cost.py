"""Estimates the cost of a model's response by the price list of genai-prices, never from the network."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Usage(NamedTuple):
    """Counts of tokens, by the names in the library."""

    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_audio_read_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None


def prepare() -> None:
    """Load the price list if it is installed. This takes half a second, too long for a run of an agent."""
    with contextlib.suppress(Exception):  # not installed, or incompatible with other packages
        import genai_prices  # noqa: F401 - `estimate` finds it in sys.modules


def estimate(model: str | None, provider: str | None, usage: Mapping[str, Any] | None) -> float | None:
    """Return the cost in US dollars; None if the price or a count is unknown, or the list is not loaded."""
    library = sys.modules.get("genai_prices")
    if library is None or not model or not usage:
        return None
    counts = _Usage(*(usage.get(name) or None for name in _Usage._fields[:4]))
    with contextlib.suppress(Exception):  # LookupError, or another error of the library
        return float(library.calc_price(counts, model, provider_id=provider and provider.lower()).total_price)
    with contextlib.suppress(Exception):  # the provider may have another name in the list
        return float(library.calc_price(counts, model).total_price)
    return None
