"""Finds what is to be done with a value of some class: what a table says of the class, or of the nearest one above."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")


def by_type(table: Mapping[type, _T], cls: type, default: _T) -> _T:
    """Return the entry of `cls`, or of the first of its bases that has one, in the order of its methods."""
    for base in cls.__mro__:
        found = table.get(base)
        if found is not None:
            return found
    return default
