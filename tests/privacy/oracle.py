"""detect-secrets as a second opinion: what it finds in a text.

Its plugins for high entropy are left out, for ids and hashes are random hex by design.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable


def found_in(text: str, ignored: str = "") -> set[tuple[str, str]]:
    """Return which plugins find what in `text`, but for what contains `ignored`."""
    return {
        (type(plugin).__name__, secret.secret_value or "")
        for plugin in _plugins()
        for line in text.splitlines()
        for secret in plugin.analyze_line("text", line, 1) or ()
        if not ignored or ignored not in (secret.secret_value or "")
    }


@cache
def _plugins() -> list[Any]:
    classes: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    return [made() for made in classes if not issubclass(made, HighEntropyStringsPlugin)]
