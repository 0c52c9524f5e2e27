"""Reads values of any class: the pairs of a mapping or dataclass, and the table entry of a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from structlog.typing import EventDict


def plain_dict(mapping: object, text_of: Callable[[object], str]) -> EventDict:
    """Return the pairs of any mapping as a plain dict with plain str keys; `text_of` converts other keys.

    The stored pairs of a dict subclass are read without its own methods. A mapping that raises gives an empty dict.
    """
    try:
        return {
            str.__str__(key) if issubclass(type(key), str) else text_of(key): value for key, value in _items(mapping)
        }
    except Exception:  # a mapping of any class may raise anything
        return {}


def _items(mapping: object) -> Iterable[tuple[Any, Any]]:
    # By the type, because isinstance reads the object's __class__, which may be false or raise.
    if issubclass(type(mapping), dict):
        return dict.items(mapping)  # type: ignore[arg-type]  # checked above
    if issubclass(type(mapping), Mapping):
        return mapping.items()  # type: ignore[attr-defined, no-any-return]  # checked above
    return ()


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the pairs of a mapping that is not a dict, or the fields of a dataclass; None if it is neither."""
    cls = type(value)
    if issubclass(cls, Mapping):
        return value.items()  # type: ignore[no-any-return]  # checked above
    if dataclasses.is_dataclass(cls):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(cls))
    return None


_T = TypeVar("_T")


def by_type(table: Mapping[type, _T], cls: type, default: _T) -> _T:
    """Return the entry of `cls`, or of the first base class that has one, in method resolution order."""
    for base in cls.__mro__:
        found = table.get(base)
        if found is not None:
            return found
    return default
