"""Any Python value as JSON of bounded size, with a mark where something was cut."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import islice
from types import NoneType
from typing import Any, Final

import orjson

from automagik_processors.otlp_values import text_of, utf8

MAX_DEPTH: Final = 16
"""How many levels of containers are kept; a mark stands for what lies deeper."""

MAX_NODES: Final = 10_000
"""How many values are kept within one; a mark stands for what follows."""

MAX_TEXT: Final = 32_768
"""How many characters of one text are kept; a mark says how many are not."""

MAX_VALUE: Final = 262_144
"""How many characters of all the texts within one value are kept."""

CUT: Final = "[cut]"

_LARGEST: Final = 2**63 - 1


def cut(text: str, room: int = MAX_TEXT) -> str:
    """Return a text, cut after `room` characters with a mark that says how many more there were."""
    return text if len(text) <= room else f"{text[:room]}[cut: {len(text) - room:,} more characters]"


def dumps(value: object, max_value: int = MAX_VALUE, max_text: int = MAX_TEXT) -> str:
    """Return `value` as JSON, whatever it is; never raises.

    What JSON has no form for becomes a text: NaN, ints beyond 64 bits, dates, exceptions, any object's str. Bytes are
    never kept, only how many there were. Texts hold at most `max_text` characters, and all of them at most `max_value`.
    """
    return orjson.dumps(_Bounds(max_value, max_text).value(value)).decode()


class _Bounds:
    """One value on its way: how much may still be kept, and which containers lie around the present one."""

    def __init__(self, characters: int, max_text: int) -> None:
        self._characters = characters
        self._max_text = max_text
        self._nodes = MAX_NODES
        self._path: set[int] = set()

    def value(self, value: object) -> Any:  # noqa: ANN401  # plain data of any shape
        self._nodes -= 1
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]  # known by its type
        if value is None or kind is bool:
            return value
        identity = id(value)
        if self._nodes < 0 or len(self._path) > MAX_DEPTH or identity in self._path:
            return CUT
        self._path.add(identity)
        try:
            return _converter_of(kind)(self, value)
        except Exception:  # noqa: BLE001  # the object's own methods may raise anything
            return self.text(text_of(value))
        finally:
            self._path.discard(identity)

    def text(self, text: str) -> str:
        room = min(self._max_text, self._characters)
        self._characters -= min(room, len(text))
        text = cut(text, room)
        return text if text.isascii() else utf8(text).decode()

    def items(self, values: Iterable[object]) -> list[Any]:
        return [self.value(value) for value in islice(values, max(1, self._nodes + 1))]

    def mapping(self, pairs: Iterable[tuple[object, object]]) -> dict[str, Any]:
        return {self.text(text_of(key)): self.value(value) for key, value in islice(pairs, max(1, self._nodes + 1))}


_Converter = Callable[[_Bounds, Any], Any]


def _int(bounds: _Bounds, value: int) -> int | str:
    value = int.__int__(value)  # of a subclass, what it holds
    if -_LARGEST - 1 <= value <= _LARGEST:
        return value
    return bounds.text(hex(value)) if value.bit_length() > MAX_TEXT else str(value)


def _float(_bounds: _Bounds, value: float) -> float | str:
    value = float.__float__(value)
    return value if value - value == 0.0 else float.__repr__(value)


def _exception(bounds: _Bounds, value: BaseException) -> str:
    return bounds.text(f"{type(value).__name__}: {text_of(value)}")


def _other(bounds: _Bounds, value: Any) -> Any:  # noqa: ANN401  # whatever a host puts there
    cls = type(value)
    if issubclass(cls, Mapping):
        return bounds.mapping(value.items())
    if dataclasses.is_dataclass(cls):
        return bounds.mapping((field.name, getattr(value, field.name)) for field in dataclasses.fields(cls))
    return bounds.text(text_of(value))


def _converter_of(cls: type) -> _Converter:
    for base in cls.__mro__:
        converter = _CONVERTERS.get(base)
        if converter is not None:
            return converter
    return _other


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
}
