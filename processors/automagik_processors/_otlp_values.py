"""Encodes any Python value as an AnyValue of OTLP/JSON."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from json.encoder import encode_basestring
from types import NoneType
from typing import Any, Final

from automagik_processors._mappings import by_type, pairs_of
from automagik_processors._scalars import exact_number_of, word_of

MAX_DEPTH: Final = 16
"""Maximum levels of containers. Deeper ones become the string "..."."""

MAX_NODES: Final = 10_000
"""Maximum number of values within one. Further ones become one "..."."""

quote: Final[Callable[[str], str]] = encode_basestring
"""Return a str as JSON in quotes, with non-ASCII characters unescaped. The standard library's, in C."""

_MAX_INT64: Final = 2**63 - 1
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def any_value(value: object) -> str:
    """Return any value as the JSON text of an AnyValue; never raise.

    None is the empty value `{}`, which the specification requires to be passed on. Ints beyond 64 bits, dates and
    exceptions become strings, bytes base64, Enums their value, dataclasses a map of their fields, and sets a sorted
    array. Any other object becomes its str, its repr if its class has no str, or its type's name if these raise.
    """
    return _Encoding().encode(value)


def utf8(text: str) -> bytes:
    """Return `text` as UTF-8, with U+FFFD for each lone surrogate, which JSON can't carry."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def text_of(value: object) -> str:
    """Return any value as a plain str; never raise."""
    if (text := word_of(value)) is not None:
        return text
    try:
        return str.__str__(repr(value) if type(value).__str__ is object.__str__ else str(value))
    except Exception:  # the object's own methods may raise anything
        return type_name(value)


class _Encoding:
    """The state of the encoding of one value: the number of values so far, and the enclosing containers."""

    def __init__(self) -> None:
        self._nodes = 0
        self._path: set[int] = set()

    def encode(self, value: object) -> str:
        """Return the AnyValue of `value`, or of "..." if it exceeds a limit or contains itself."""
        self._nodes += 1
        identity = id(value)
        if self._nodes > MAX_NODES or len(self._path) > MAX_DEPTH or identity in self._path:
            return _string("...")
        self._path.add(identity)
        try:
            return by_type(_ENCODERS, type(value), _other)(self, value)
        except Exception:  # the object's own methods may raise anything
            return _string(type_name(value))
        finally:
            self._path.discard(identity)

    def encode_all(self, values: Iterable[object]) -> list[str]:
        """Return the AnyValues of `values`, up to the limit."""
        return [self.encode(value) for value in islice(values, max(1, MAX_NODES + 1 - self._nodes))]

    def array(self, texts: Iterable[str]) -> str:
        """Return the AnyValue that is an array of AnyValues."""
        return f'{{"arrayValue":{{"values":[{",".join(texts)}]}}}}'

    def kvlist(self, pairs: Iterable[tuple[object, object]]) -> str:
        """Return the AnyValue that is a map, its keys made str."""
        texts = {text_of(key): self.encode(value) for key, value in islice(pairs, max(1, MAX_NODES + 1 - self._nodes))}
        entries = (f'{{"key":{quote(key)},"value":{text}}}' for key, text in texts.items())
        return f'{{"kvlistValue":{{"values":[{",".join(entries)}]}}}}'


_Encoder = Callable[[_Encoding, Any], str]


def _string(text: str) -> str:
    return f'{{"stringValue":{quote(text)}}}'


def _int(_encoding: _Encoding, value: int) -> str:
    value = int.__int__(value)  # the number in a subclass
    if -_MAX_INT64 - 1 <= value <= _MAX_INT64:
        return f'{{"intValue":"{value}"}}'
    try:
        return _string(str(value))
    except ValueError:  # more digits than Python converts to decimal
        return _string(hex(value))


def _float(_encoding: _Encoding, value: float) -> str:
    text = float.__repr__(value)
    return f'{{"doubleValue":{_NOT_FINITE.get(text, text)}}}'


def _bytes(_encoding: _Encoding, value: bytes | bytearray | memoryview) -> str:
    return f'{{"bytesValue":"{base64.b64encode(value).decode()}"}}'


def _exception(_encoding: _Encoding, value: BaseException) -> str:
    message = text_of(value)
    return _string(f"{type_name(value)}: {message}" if message else type_name(value))


def _other(encoding: _Encoding, value: Any) -> str:
    if (pairs := pairs_of(value)) is not None:
        return encoding.kvlist(pairs)
    number = exact_number_of(value)
    return _string(text_of(value)) if number is None else encoding.encode(number)


def type_name(value: object) -> str:
    """Return the name of the class of `value`; never raise."""
    name: str = type.__dict__["__name__"].__get__(type(value))  # without a metaclass's override
    return name


_NOT_FINITE: Final = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}

# The base types' own iterators, because a subclass may have overridden them.
_ENCODERS: Final[dict[type, _Encoder]] = {
    NoneType: lambda _encoding, _value: "{}",
    bool: lambda _encoding, value: f'{{"boolValue":{"true" if value else "false"}}}',
    int: _int,
    float: _float,
    str: lambda _encoding, value: _string(value),
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _bytes,
    list: lambda encoding, value: encoding.array(encoding.encode_all(list.__iter__(value))),
    tuple: lambda encoding, value: encoding.array(encoding.encode_all(tuple.__iter__(value))),
    set: lambda encoding, value: encoding.array(sorted(encoding.encode_all(set.__iter__(value)))),
    frozenset: lambda encoding, value: encoding.array(sorted(encoding.encode_all(frozenset.__iter__(value)))),
    dict: lambda encoding, value: encoding.kvlist(dict.items(value)),
    Enum: lambda encoding, value: encoding.encode(value._value_),
    dt.date: lambda _encoding, value: _string(value.isoformat()),
    dt.time: lambda _encoding, value: _string(value.isoformat()),
    BaseException: _exception,
}
