"""An estimate of what a model's answer cost, from the price list that genai-prices brings; never from the network."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = "genai_prices"


class _Usage(NamedTuple):
    """Counts of tokens by the names that the library reads."""

    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_audio_read_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None


def prepare() -> None:
    """Load the price list, if it is installed: it takes half a second, which no run of an agent should."""
    if importlib.util.find_spec(_PACKAGE) is not None:
        with contextlib.suppress(Exception):  # a version that doesn't fit what else is installed
            importlib.import_module(_PACKAGE)


def estimate(model: str | None, provider: str | None, usage: Mapping[str, Any] | None) -> float | None:
    """Return the cost in US dollars; None if the price or a count is not known, or the list is not loaded."""
    library = sys.modules.get(_PACKAGE)
    if library is None or not model or not usage:
        return None
    counts = _Usage(*(usage.get(name) or None for name in _Usage._fields[:4]))
    with contextlib.suppress(Exception):  # LookupError, and whatever a version of the library raises
        return float(library.calc_price(counts, model, provider_id=provider and provider.lower()).total_price)
    with contextlib.suppress(Exception):  # a provider that it knows by another name
        return float(library.calc_price(counts, model).total_price)
    return None
