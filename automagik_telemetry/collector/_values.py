"""Typed and checked readers of the values in an OTLP request in its JSON form, where null means absent."""

from __future__ import annotations

import base64
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import orjson

from automagik_telemetry.collector._errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Json: TypeAlias = dict[str, Any]
Item = TypeVar("Item")

MAX_UINT32: Final = 2**32 - 1
# One below the largest int64, which DuckDB reads as infinity.
MAX_NANOSECONDS: Final = 2**63 - 2

_MAX_DEPTH: Final = 64
_MIN_INT64: Final = -(2**63)
_MAX_INT64: Final = 2**63 - 1
_MAX_INT_DIGITS: Final = 20
_PLAIN_FROM: Final = 1e-6
_PLAIN_BELOW: Final = 1e21
_REPR_PLAIN_FROM: Final = 1e-4
_REPR_PLAIN_BELOW: Final = 1e16
_MAX_SHOWN_CHARACTERS: Final = 48


def walk(parent: Json, key: str, visit: Callable[[Json], Iterable[Item]]) -> Iterator[Item]:
    """Yield from `visit` for each object in the array `parent[key]`. Errors get the index of the element."""
    for index, item in enumerate(_array(parent, key)):
        try:
            yield from visit(_object(item, ""))
        except Malformed as error:
            raise error.inside(f"{key}[{index}]") from None


def child(parent: Json, key: str) -> Json:
    """Return the object `parent[key]`, empty if absent."""
    value = parent.get(key)
    return {} if value is None else _object(value, key)


def text(parent: Json, key: str) -> str:
    """Return the string `parent[key]`, empty if absent."""
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Malformed(key, f"must be a string, got {_shown(value)}")
    return value


def unsigned(parent: Json, key: str, largest: int) -> int:
    """Return the integer `parent[key]`, a number or decimal string from 0 to `largest`; 0 if absent."""
    return _integer(parent, key, 0, largest)


def enum(parent: Json, key: str, prefix: str, names: Sequence[str]) -> int:
    """Return the number of the enumeration value `parent[key]`, given as a number or as `prefix` and name."""
    value = parent.get(key)
    if isinstance(value, str) and value.removeprefix(prefix) in names:
        return names.index(value.removeprefix(prefix))
    number = unsigned(parent, key, MAX_UINT32)
    if number >= len(names):
        raise Malformed(key, f"must be from 0 to {len(names) - 1}, got {number}")
    return number


def identifier(parent: Json, key: str, digits: int, *, required: bool = False) -> str:
    """Return the ID `parent[key]`, `digits` lower-case hexadecimal digits.

    An ID that is not required is empty if it is absent, empty or all zero, as some senders write "none".
    """
    value = text(parent, key).lower()
    if not required and len(value) in {0, digits} and not value.strip("0"):
        return ""
    if len(value) != digits or value.strip("0123456789abcdef"):
        raise Malformed(key, f"must be {digits} hexadecimal digits, got {_shown(parent.get(key))}")
    if not value.strip("0"):
        raise Malformed(key, "must not be all zero")
    return value


def attributes(parent: Json) -> dict[str, str]:
    """Return the attributes of a resource, scope, span or record as strings. Of a repeated key the last counts."""
    found: dict[str, str] = {}
    # This is `walk` without generators, and with a short way for the usual values, because most of a request is
    # attributes: four times as fast.
    for index, item in enumerate(_array(parent, "attributes")):
        try:
            key: Any = item["key"]  # type: ignore[index]
            ((kind, held),) = item["value"].items()  # type: ignore[index]
            written = _PLAIN[kind, type(held)](held)
            if type(key) is str:
                found[key] = written
                continue
        except (AttributeError, KeyError, Malformed, TypeError, ValueError):
            pass  # anything unusual: read it step by step, with an error that has its path
        try:
            pair = _object(item, "")
            found[text(pair, "key")] = any_text(pair, "value")
        except Malformed as error:
            raise error.inside(f"attributes[{index}]") from None
    return found


def any_text(parent: Json, key: str) -> str:
    """Return the value `parent[key]` (an OTLP AnyValue) as a plain string, empty if absent."""
    value = child(parent, key)
    try:
        return _as_text(_any(value, 0))
    except Malformed as error:
        raise error.inside(key) from None


def _any(value: Json, depth: int) -> object:
    """Return the Python value of an AnyValue."""
    for kind, held in value.items():
        read = _KINDS.get(kind)
        if read and held is not None:
            if depth > _MAX_DEPTH:
                raise Malformed(kind, f"must be nested at most {_MAX_DEPTH} levels deep")
            return read(value, kind, depth + 1)
    return None


def _flag(value: Json, kind: str, _depth: int) -> bool:
    if not isinstance(value[kind], bool):
        raise Malformed(kind, f"must be true or false, got {_shown(value[kind])}")
    return bool(value[kind])


def _number(value: Json, kind: str, _depth: int) -> float:
    number = value[kind]
    try:
        if isinstance(number, str | int | float) and not isinstance(number, bool):
            return float(number)
    except ValueError:
        pass
    raise Malformed(kind, f"must be a number, got {_shown(number)}")


def _bytes(value: Json, kind: str, _depth: int) -> str:
    """Return base64, as ClickHouse's exporter stores it. The URL-safe alphabet is converted to the standard one."""
    encoded = text(value, kind).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64encode(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)).decode()
    except ValueError:
        raise Malformed(kind, "must be base64") from None


def _list(value: Json, kind: str, depth: int) -> list[object]:
    def visit(item: Json) -> Iterator[object]:
        yield _any(item, depth)

    array = child(value, kind)
    try:
        return list(walk(array, "values", visit))
    except Malformed as error:
        raise error.inside(kind) from None


def _map(value: Json, kind: str, depth: int) -> dict[str, object]:
    def visit(pair: Json) -> Iterator[tuple[str, object]]:
        key, item = text(pair, "key"), child(pair, "value")
        try:
            yield key, _any(item, depth)
        except Malformed as error:
            raise error.inside("value") from None

    pairs = child(value, kind)
    try:
        return dict(walk(pairs, "values", visit))
    except Malformed as error:
        raise error.inside(kind) from None


_KINDS: Final[dict[str, Callable[[Json, str, int], object]]] = {
    "stringValue": lambda value, kind, _depth: text(value, kind),
    "boolValue": _flag,
    "intValue": lambda value, kind, _depth: _integer(value, kind, _MIN_INT64, _MAX_INT64),
    "doubleValue": _number,
    "bytesValue": _bytes,
    "arrayValue": _list,
    "kvlistValue": _map,
}


def _as_text(value: object) -> str:
    """Return a value as ClickHouse's exporter writes it: `true`, `12`, `1.5`; lists and maps as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return _float_text(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _float_text(value: float) -> str:
    """The shortest decimal that reads back as `value`, in ECMAScript's and Go's notation."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    shortest = repr(value)
    if _REPR_PLAIN_FROM <= abs(value) < _REPR_PLAIN_BELOW:
        return shortest.removesuffix(".0")
    if value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        return format(Decimal(shortest), "f").removesuffix(".0")
    return shortest.replace("e-0", "e-")


_PLAIN: Final[dict[tuple[str, type], Callable[[Any], str]]] = {
    ("stringValue", str): str,
    ("boolValue", bool): lambda value: "true" if value else "false",
    ("intValue", str): lambda value: str(_integer({"": value}, "", _MIN_INT64, _MAX_INT64)),
    ("doubleValue", float): _float_text,
}
"""Writers of the usual values. What they raise is not reported: `any_text` reads the value again."""


def _integer(parent: Json, key: str, smallest: int, largest: int) -> int:
    value = parent.get(key)
    number = value
    if isinstance(value, str) and len(value) <= _MAX_INT_DIGITS and value.removeprefix("-").isdecimal():
        number = int(value)
    elif value is None:
        return 0
    if not isinstance(number, int) or isinstance(number, bool):
        raise Malformed(key, f"must be an integer, got {_shown(value)}")
    if not smallest <= number <= largest:
        raise Malformed(key, f"must be from {smallest} to {largest}, got {number}")
    return number


def _object(value: object, path: str) -> Json:
    if not isinstance(value, dict):
        raise Malformed(path, f"must be an object, got {_shown(value)}")
    return value


def _array(parent: Json, key: str) -> list[object]:
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(key, f"must be an array, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Return a value, shortened for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    shown = orjson.dumps(value).decode()
    return shown if len(shown) <= _MAX_SHOWN_CHARACTERS else f"{shown[:_MAX_SHOWN_CHARACTERS]}..."
