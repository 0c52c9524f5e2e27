"""Reads a mapping that may be hostile as the plain dict it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import EventDict


def plain_dict(mapping: object, text_of: Callable[[object], str]) -> EventDict:
    """Return the pairs of any mapping as a plain dict with plain str keys; `text_of` names the keys that are no str.

    Of a dict subclass the pairs it really holds count, whatever its methods say. What can't be read at all is empty.
    """
    try:
        return {
            str.__str__(key) if issubclass(type(key), str) else text_of(key): value for key, value in _items(mapping)
        }
    except Exception:  # noqa: BLE001  # a mapping of unknown make may raise anything
        return {}


def _items(mapping: object) -> Iterable[tuple[Any, Any]]:
    # By the type, for isinstance asks the object's __class__, which can lie or raise.
    if issubclass(type(mapping), dict):
        return dict.items(mapping)  # type: ignore[arg-type]
    if issubclass(type(mapping), Mapping):
        return mapping.items()  # type: ignore[attr-defined, no-any-return]
    return ()
