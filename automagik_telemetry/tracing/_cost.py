"""Estimates the cost of a model's response by the price list of genai-prices, never from the network."""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES: Final = {"reasoning_tokens": "output_reasoning_tokens"}
"""Counts that have another name in the library."""
_PROVIDERS: Final = {"azurefoundry": "azure"}
"""Providers whose name the library does not recognize."""


def prepare() -> None:
    """Load the price list if it is installed. This takes half a second, too long for a run of an agent."""
    with contextlib.suppress(Exception):  # not installed, or incompatible with other packages
        import genai_prices  # noqa: F401 - `estimate` finds it in sys.modules


def estimate(
    model: str | None, provider: str | None, usage: Mapping[str, Any] | None, url: str | None = None
) -> float | None:
    """Return the cost in US dollars; None if the price or a count is unknown, or the list is not loaded.

    Args:
        model: The name of the model.
        provider: The name of the provider.
        usage: The counts of tokens. Those of the input include cached ones, those of the output the reasoning.
        url: The address of the provider's API. It decides: a local server, or an unknown one, has no price, whatever
            provider and model it imitates.
    """
    library = sys.modules.get("genai_prices")
    if library is None or not model or not usage or not (url or provider):
        return None
    counts = SimpleNamespace(requests=1, **{_NAMES.get(name, name): count for name, count in usage.items() if count})
    with contextlib.suppress(Exception):  # LookupError of what it doesn't know, or another error of the library
        return float(library.calc_price(counts, model, **_reference(provider or "", url)).total_price)
    return None


def is_known(url: str) -> bool:
    """Return whether the price list knows the provider at an address."""
    with contextlib.suppress(Exception):  # LookupError, or another version of the library
        from genai_prices.data_snapshot import get_snapshot

        return bool(get_snapshot().find_provider(None, None, url))
    return False


def _reference(provider: str, url: str | None) -> dict[str, str]:
    name = provider.lower()
    return {"provider_api_url": url} if url else {"provider_id": _PROVIDERS.get(name, name)}
