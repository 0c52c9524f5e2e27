"""Turns any Python value into plain data of bounded size, with a mark where something was cut."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import NoneType
from typing import Any, Final
from uuid import UUID

from automagik_processors._mappings import by_type, pairs_of
from automagik_processors._otlp_values import text_of, utf8

CUT: Final = "[cut]"

_INT64_LIMIT: Final = 2**63
_STR: Final = frozenset({str})
_MAX_DECIMAL_BITS: Final = 10_000  # of an int that is written in decimal: Python writes at most 4,300 digits


def cut(text: str, room: int) -> str:
    """Return a text, cut after `room` characters with a mark that says how many more there were."""
    return text if len(text) <= room else f"{text[:room]}[cut: {len(text) - room:,} more characters]"


class Bounded:
    """Values on their way: how much of them may still be kept, and what was wrong with the rest, counted by reason.

    Kept are `depth` levels of containers, `nodes` values, `text` characters of each text, and `total` of all. What is
    no data is what `unknown` says of it, by default what it says of itself.
    """

    __slots__ = ("_depth", "_nodes", "_path", "_text", "_total", "_unknown", "bad")

    def __init__(
        self, *, depth: int, nodes: int, text: int, total: int, unknown: Callable[[object], str] = text_of
    ) -> None:
        self.bad: dict[str, int] = {}
        self._depth = depth
        self._nodes = nodes
        self._text = text
        self._total = total
        self._unknown = unknown
        self._path: set[int] = set()

    def value(self, value: object) -> Any:  # noqa: ANN401  # plain data of any shape
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
            if len(self._path) <= self._depth and id(value) not in self._path:
                return self._held(kind, value)
        self.mark("too_deep_or_many")
        return CUT

    def _held(self, kind: type, value: Any) -> Any:  # noqa: ANN401  # of what type, `kind` says
        """Return what an object holds, which is not looked into again inside of itself."""
        identity = id(value)
        self._path.add(identity)
        try:
            if kind is dict:
                # The copy is looked at, because another thread may go on to fill the dict.
                if len(value) <= self._nodes and self._fits(copy := value.copy()):
                    return copy
                return self.mapping(value.items())
            return self.items(value) if kind is list else by_type(_CONVERTERS, kind, _other)(self, value)
        except Exception:  # noqa: BLE001  # the object's own methods may raise anything
            return self.unknown(value)
        finally:
            self._path.discard(identity)

    def text(self, text: str) -> str:
        """Return a text, cut to what one may have and what there is left, with a mark that says how much is gone.

        A lone surrogate, which no request can carry, becomes U+FFFD.
        """
        size = len(text)
        if size > self._text or size > self._total:
            self.mark("cut_text")
            size = min(self._text, self._total)
            text = cut(text, size)
        self._total -= size
        return text if text.isascii() else utf8(text).decode()

    def items(self, values: Iterable[object]) -> list[Any]:
        """Return the values of a list, until there were too many."""
        return [self.value(value) for value in islice(values, max(1, self._nodes + 1))]

    def mapping(self, pairs: Iterable[tuple[object, object]]) -> dict[str, Any]:
        """Return the pairs of a dict, until there were too many."""
        kept: dict[str, Any] = {}
        for key, value in islice(pairs, max(1, self._nodes + 1)):
            name = self.text(key if type(key) is str else text_of(key))
            # Without a call for each, which are most values there are.
            if self._nodes > 0 and (type(value) is str or value is None or value is True or value is False):
                self._nodes -= 1
                kept[name] = self.text(value) if type(value) is str else value
            else:
                kept[name] = self.value(value)
        return kept

    def _fits(self, held: dict[Any, Any]) -> bool:
        """Count a dict of ASCII texts and numbers that all fit, as most do, and return whether it is one."""
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
        """Return what stands for an object that is no data."""
        self.mark("not_serializable")
        return self.text(self._unknown(value))

    def mark(self, reason: str) -> None:
        """Count what can't be kept as it is."""
        self.bad[reason] = self.bad.get(reason, 0) + 1


_Converter = Callable[[Bounded, Any], Any]


def _int(bounds: Bounded, value: int) -> int | str:
    value = int.__int__(value)  # of a subclass, what it holds
    if -_INT64_LIMIT <= value < _INT64_LIMIT:
        return value
    return bounds.text(hex(value) if value.bit_length() > _MAX_DECIMAL_BITS else str(value))


def _float(_bounds: Bounded, value: float) -> float | str:
    value = float.__float__(value)
    return value if value - value == 0.0 else float.__repr__(value)


def _exception(bounds: Bounded, value: BaseException) -> str:
    return bounds.text(f"{type(value).__name__}: {text_of(value)}")


def _other(bounds: Bounded, value: Any) -> Any:  # noqa: ANN401  # whatever an application puts there
    if (pairs := pairs_of(value)) is not None:
        return bounds.mapping(pairs)
    dump: Callable[[Any], dict[Any, Any]] | None = getattr(type(value), "model_dump", None)  # pydantic's models
    if callable(dump):
        return bounds.mapping(dump(value).items())
    return bounds.unknown(value)


# The base types' own iterators, for a subclass may have overridden them.
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
    **dict.fromkeys(
        (dt.timedelta, UUID, Decimal, PurePath, complex), lambda bounds, value: bounds.text(text_of(value))
    ),
}
