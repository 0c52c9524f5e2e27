"""The encoding of values other than plain scalars."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import uuid
from collections import OrderedDict, UserDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import pytest

from automagik_processors import OTLPSpan
from automagik_processors._otlp_values import MAX_DEPTH, MAX_NODES


class Raises:
    """An object of which every use raises."""

    def __getattribute__(self, name: str) -> Any:  # any
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class Silent:
    """An object without a str of its own."""

    def __repr__(self) -> str:
        return "<silent>"


class Endless(list[int]):
    """A list that never ends when iterated."""

    def __iter__(self) -> Any:  # any
        while True:
            yield 1


class Metaclass(type):
    """A class of classes that hides names."""

    def __getattribute__(cls, name: str) -> Any:  # any
        raise RuntimeError


class Nameless(metaclass=Metaclass):
    """An object whose class raises."""


class Colour(enum.Enum):
    """An enumeration."""

    RED = ("r", 1)


class Number(enum.IntEnum):
    """An enumeration of numbers."""

    SEVEN = 7


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    y: Any = None


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the untyped one


def encoded(value: object) -> Any:  # any
    """Return the AnyValue that a field becomes."""
    return json.loads(OTLPSpan()(None, "", {"event": "e", "f": value}))["attributes"][0]["value"]


def text(value: str) -> dict[str, str]:
    """Return the AnyValue of a str."""
    return {"stringValue": value}


def array(*values: object) -> dict[str, Any]:
    """Return the AnyValue of a list."""
    return {"arrayValue": {"values": list(values)}}


def kvlist(**values: object) -> dict[str, Any]:
    """Return the AnyValue of a dict."""
    return {"kvlistValue": {"values": [{"key": key, "value": value} for key, value in values.items()]}}


INT = {"intValue": "1"}


@pytest.mark.fault(47, 48)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        (False, {"boolValue": False}),
        (0, {"intValue": "0"}),
        ("", text("")),
        (2**63 - 1, {"intValue": "9223372036854775807"}),
        (-(2**63), {"intValue": "-9223372036854775808"}),
        (2**63, text("9223372036854775808")),
        (10**400, text(str(10**400))),
        (16**5000, text("0x1" + "0" * 5000)),
        (math.nan, {"doubleValue": "NaN"}),
        (math.inf, {"doubleValue": "Infinity"}),
        (-math.inf, {"doubleValue": "-Infinity"}),
        (1e300, {"doubleValue": 1e300}),
        (b"\x00\xff", {"bytesValue": "AP8="}),
        (bytearray(b"a"), {"bytesValue": "YQ=="}),
        (memoryview(b"a"), {"bytesValue": "YQ=="}),
        ([], array()),
        ([1, None, [1]], array(INT, {}, array(INT))),
        ((1,), array(INT)),
        (Pair(1, "b"), array(INT, text("b"))),
        ({1}, array(INT)),
        (frozenset("cab"), array(text("a"), text("b"), text("c"))),
        ({"a": {"b": 1}}, kvlist(a=kvlist(b=INT))),
        ({1: 1, "1": "last"}, kvlist(**{"1": text("last")})),
        (OrderedDict(a=1), kvlist(a=INT)),
        (UserDict(a=1), kvlist(a=INT)),
        (Point(1, [1]), kvlist(x=INT, y=array(INT))),
        (Point, text(str(Point))),
        (Colour.RED, array(text("r"), INT)),
        (Number.SEVEN, {"intValue": "7"}),
        (dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC), text("2024-01-02T03:04:05+00:00")),
        (dt.date(2024, 1, 2), text("2024-01-02")),
        (dt.time(3, 4), text("03:04:00")),
        (uuid.UUID(int=5), text("00000000-0000-0000-0000-000000000005")),
        (PurePosixPath("/a"), text("/a")),
        (Decimal("1.50"), {"doubleValue": 1.5}),
        (Decimal("0.1000000000000000055"), text("0.1000000000000000055")),
        (Decimal("1e400"), text("1E+400")),
        (Fraction(1, 2), {"doubleValue": 0.5}),
        (ValueError("no"), text("ValueError: no")),
        (KeyError(), text("KeyError")),
        (Silent(), text("<silent>")),
        (Raises(), text("Raises")),
        ([Raises()], array(text("Raises"))),
        ({Silent(): 1}, kvlist(**{"<silent>": INT})),
        (Endless([1, 1]), array(INT, INT)),
        ("\ud800a\udfff", text("\ufffda\ufffd")),
        ('\U0001f600\n\x00\x7f\u2028"\\', text('\U0001f600\n\x00\x7f\u2028"\\')),
        ({"\ud800": "\ud800"}, kvlist(**{"\ufffd": text("\ufffd")})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_becomes(value: object, expected: dict[str, Any]) -> None:
    """Each type has the form that the docstring states, by itself and inside of another."""
    assert encoded(value) == expected
    assert encoded([value]) == array(expected)


@pytest.mark.fault(47)
def test_a_class_that_raises_is_named_still() -> None:
    """An object whose metaclass hides the class name becomes that name."""
    assert encoded(Nameless()) == text("Nameless")


@pytest.mark.fault(47)
def test_a_cycle_ends() -> None:
    """A value that contains itself is cut; one that occurs twice is not."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert encoded(loop) == array(INT, text("..."))
    table: dict[str, Any] = {}
    table["self"] = {"again": table}
    assert encoded(table) == kvlist(self=kvlist(again=text("...")))
    point = Point(1)
    point.y = point
    assert encoded(point) == kvlist(x=INT, y=text("..."))
    shared = [1]
    assert encoded([shared, shared]) == array(array(INT), array(INT))


@pytest.mark.fault(47)
def test_depth_is_bounded() -> None:
    """Nesting that is too deep is cut, and raises nothing beyond the interpreter's limit."""
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    cut = json.dumps(encoded(nested))
    assert cut.count("arrayValue") == MAX_DEPTH + 1
    assert '"..."' in cut


@pytest.mark.fault(47)
@pytest.mark.parametrize("make", [list, tuple, set, dict.fromkeys], ids=["list", "tuple", "set", "dict"])
def test_size_is_bounded(make: Any) -> None:  # any
    """A value of too many parts is cut with one mark, wherever the parts are."""
    large = json.dumps(encoded(make(range(MAX_NODES * 3))))
    assert large.count('"..."') == 1
    nested = json.dumps(encoded([make(range(MAX_NODES // 2)) for _ in range(5)]))
    assert MAX_NODES // 2 < nested.count("{") < MAX_NODES * 3
