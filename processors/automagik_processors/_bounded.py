"""Turns any Python value into plain data of bounded size, with marks for cut parts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import NoneType
from typing import Any, Final, NamedTuple
from uuid import UUID

from automagik_processors._mappings import by_type, pairs_of
from automagik_processors._otlp_values import text_of, utf8
from automagik_processors._scalars import exact_number_of, is_numpy_time

CUT: Final = "[cut]"

_INT64_LIMIT: Final = 2**63
_STR: Final = frozenset({str})
_MAX_DECIMAL_BITS: Final = 10_000  # of an int that is written in decimal: Python writes at most 4,300 digits


def cut(text: str, room: int) -> str:
    """Return a text, cut after `room` characters with a mark of the number of missing characters."""
    return text if len(text) <= room else f"{text[:room]}[cut: {len(text) - room:,} more characters]"


_MAX_WEIGHED: Final = 300  # parts of a value


def weight(value: object) -> int:
    """Return the approximate number of characters in a value, from at most 300 of its parts."""
    kind = type(value)
    if kind is str:
        return len(value)  # type: ignore[arg-type] # known by its type
    total, left, waiting = 0, _MAX_WEIGHED, [value]
    while waiting and left:
        left -= 1
        item = waiting.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            total += len(item)  # type: ignore[arg-type] # known by its type
        elif kind is list or kind is tuple:
            waiting.extend(item)  # type: ignore[arg-type] # known by its type
        elif kind is dict:
            waiting.extend(item.values())  # type: ignore[attr-defined] # known by its type
        else:
            total += 16
    return total + 100 * len(waiting)


MAX_SHORT_TEXT: Final = 200
"""Characters of a short text."""
_MAX_SHORT_ENTRIES: Final = 32
_MAX_SHORT_CHARACTERS: Final = 1_000
_NUMBERS: Final = frozenset({bool, int, float})


def short_entries(given: object) -> dict[str, Any]:
    """Return the first entries of a dict that are numbers or short texts: those that are not content."""
    if type(given) is not dict:
        return {}
    short: dict[str, Any] = {}
    left = _MAX_SHORT_CHARACTERS
    for key, value in islice(given.copy().items(), 4 * _MAX_SHORT_ENTRIES):
        size = len(value) if type(value) is str else 16 if type(value) in _NUMBERS else MAX_SHORT_TEXT + 1
        if type(key) is str and size <= MAX_SHORT_TEXT and len(key) + size <= left:
            left -= len(key) + size
            short[key] = value
            if len(short) == _MAX_SHORT_ENTRIES:
                break
    return short


class Bounds(NamedTuple):
    """Limits on plain data."""

    depth: int
    """Maximum levels of containers."""
    nodes: int
    """Maximum number of values."""
    text: int
    """Maximum characters of each text."""
    total: int
    """Maximum characters of all texts."""
    unknown: Callable[[object], str] = text_of
    """Returns the text for an object that is not data."""


class Bounded:
    """Converts values to plain data within `Bounds`, and counts the cut or replaced values by reason.

    `lost` is the approximate number of characters that were cut.
    """

    __slots__ = ("_depth", "_nodes", "_path", "_text", "_total", "_unknown", "bad", "lost")

    def __init__(self, bounds: Bounds) -> None:
        self._depth, self._nodes, self._text, self._total, self._unknown = bounds
        self.bad: dict[str, int] = {}
        self.lost = 0
        self._path: set[int] = set()

    @property
    def is_spent(self) -> bool:
        """True if nothing more fits."""
        return self._total <= 0 or self._nodes <= 0

    def value(self, value: object) -> Any:
        """Return `value` as None, bool, int, float, str, list or dict; never raises."""
        kind = type(value)
        self._nodes -= 1
        if self._nodes >= 0:
            if kind is str:
                return self.text(value)  # type: ignore[arg-type]  # known by its type
            if value is None or kind is bool or (kind is int and -_INT64_LIMIT <= value < _INT64_LIMIT):  # type: ignore[operator]
                return value
            if kind is float and value - value == 0.0:  # type: ignore[operator]  # neither NaN nor infinite
                return value
            if len(self._path) <= self._depth:
                # The copy is read, because another thread may change the dict meanwhile.
                if kind is dict and len(value) <= self._nodes and self._fits(copy := value.copy()):  # type: ignore[arg-type, attr-defined]
                    return copy
                if id(value) not in self._path:
                    return self._held(kind, value)
        self.mark("too_deep_or_many")
        self.lost += weight(value)
        return CUT

    def _held(self, kind: type, value: Any) -> Any:
        """Return the content of an object, which is not expanded again inside of itself."""
        identity = id(value)
        self._path.add(identity)
        try:
            if kind is dict:
                return self.mapping(value.items())
            return self.items(value) if kind is list else by_type(_CONVERTERS, kind, _other)(self, value)
        except Exception:  # the object's own methods may raise anything
            return self.unknown(value)
        finally:
            self._path.discard(identity)

    def text(self, text: str) -> str:
        """Return a text, cut to its own and the remaining limit, with a mark of the number of missing characters.

        A lone surrogate, which no request can carry, becomes U+FFFD.
        """
        size = len(text)
        if size > self._text or size > self._total:
            self.mark("cut_text")
            self.lost += size
            size = max(0, min(self._text, self._total))
            self.lost -= size
            text = cut(text, size)
        self._total -= size
        return text if text.isascii() else utf8(text).decode()

    def items(self, values: Iterable[object]) -> list[Any]:
        """Return the values of a list, up to the limit."""
        return [self.value(value) for value in islice(values, max(1, self._nodes + 1))]

    def mapping(self, pairs: Iterable[tuple[object, object]]) -> dict[str, Any]:
        """Return the pairs of a dict, up to the limit."""
        kept: dict[str, Any] = {}
        for key, value in islice(pairs, max(1, self._nodes + 1)):
            name = self.text(key if type(key) is str else text_of(key))
            # Without a call for each simple value, which most values are.
            if self._nodes > 0 and (type(value) is str or value is None or value is True or value is False):
                self._nodes -= 1
                kept[name] = self.text(value) if type(value) is str else value
            else:
                kept[name] = self.value(value)
        return kept

    def _fits(self, held: dict[Any, Any]) -> bool:
        """Count a dict of ASCII texts and numbers that all fit, as most do. Return False for any other dict."""
        if not _STR.issuperset(map(type, held)):
            return False
        texts = "".join(held)
        for value in held.values():
            kind = type(value)
            if kind is str:
                texts += value
            elif not (
                kind is bool
                or (kind is float and value - value == 0.0)
                or (kind is int and -_INT64_LIMIT <= value < _INT64_LIMIT)
                or value is None
            ):
                return False
        size = len(texts)
        if size > self._text or size > self._total or not texts.isascii():
            return False
        self._nodes -= len(held)
        self._total -= size
        return True

    def unknown(self, value: object) -> str:
        """Return the replacement of an object that is not data."""
        self.mark("not_serializable")
        return self.text(self._unknown(value))

    def mark(self, reason: str) -> None:
        """Count a value that can't be kept as it is."""
        self.bad[reason] = self.bad.get(reason, 0) + 1


_Converter = Callable[[Bounded, Any], Any]


def _int(bounds: Bounded, value: int) -> int | str:
    value = int.__int__(value)  # the content of a subclass
    if -_INT64_LIMIT <= value < _INT64_LIMIT:
        return value
    return bounds.text(hex(value) if value.bit_length() > _MAX_DECIMAL_BITS else str(value))


def _float(_bounds: Bounded, value: float) -> float | str:
    value = float.__float__(value)
    return value if value - value == 0.0 else float.__repr__(value)


def _exception(bounds: Bounded, value: BaseException) -> str:
    return bounds.text(f"{type(value).__name__}: {text_of(value)}")


def _other(bounds: Bounded, value: Any) -> Any:
    if (pairs := pairs_of(value)) is not None:
        return bounds.mapping(pairs)
    dump: Callable[[Any], dict[Any, Any]] | None = getattr(type(value), "model_dump", None)  # pydantic's models
    if callable(dump):
        return bounds.mapping(dump(value).items())
    number = exact_number_of(value)
    if number is not None:
        return bounds.value(number)
    return bounds.text(text_of(value)) if is_numpy_time(value) else bounds.unknown(value)


def _decimal(bounds: Bounded, value: Decimal) -> Any:
    number = exact_number_of(value)
    return bounds.text(text_of(value)) if number is None else bounds.value(number)


# The base types' own iterators, because a subclass may have overridden them.
_CONVERTERS: Final[dict[type, _Converter]] = {
    NoneType: lambda _bounds, _value: None,
    bool: lambda _bounds, value: bool(value),
    int: _int,
    float: _float,
    str: lambda bounds, value: bounds.text(str.__str__(value)),
    bytes: lambda _bounds, value: f"[{len(value):,} bytes]",
    bytearray: lambda _bounds, value: f"[{len(value):,} bytes]",
    memoryview: lambda _bounds, value: f"[{value.nbytes:,} bytes]",
    list: lambda bounds, value: bounds.items(list.__iter__(value)),
    tuple: lambda bounds, value: bounds.items(tuple.__iter__(value)),
    set: lambda bounds, value: bounds.items(set.__iter__(value)),
    frozenset: lambda bounds, value: bounds.items(frozenset.__iter__(value)),
    dict: lambda bounds, value: bounds.mapping(dict.items(value)),
    Enum: lambda bounds, value: bounds.value(value._value_),
    dt.date: lambda _bounds, value: value.isoformat(),
    dt.time: lambda _bounds, value: value.isoformat(),
    BaseException: _exception,
    Decimal: _decimal,
    **dict.fromkeys((dt.timedelta, UUID, PurePath, complex), lambda bounds, value: bounds.text(text_of(value))),
}
