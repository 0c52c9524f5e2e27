"""Values of unknown make: pairs of any mapping or dataclass, and the table entry of any class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]] | None:  # noqa: ANN401  # whatever an application puts there
    """Return the pairs of a mapping that is no dict, or the fields of a dataclass; None if it is neither."""
    cls = type(value)
    if issubclass(cls, Mapping):
        return value.items()  # type: ignore[no-any-return]
    if dataclasses.is_dataclass(cls):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(cls))
    return None


_T = TypeVar("_T")


def by_type(table: Mapping[type, _T], cls: type, default: _T) -> _T:
    """Return the entry of `cls`, or of the first of its bases that has one, in the order of its methods."""
    for base in cls.__mro__:
        found = table.get(base)
        if found is not None:
            return found
    return default
