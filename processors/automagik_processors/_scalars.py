"""Texts and numbers of any class, by their meaning: subclasses, enumerations, decimals, NumPy's and pandas's scalars.

A str, an int or a float is read by its stored value, whatever the methods of a subclass return. Any other number is
converted by its `__index__` or `__float__`. Nothing here raises.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import operator
import sys
from enum import Enum
from typing import Any, Final, cast

_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_NO_NUMBERS: Final = (str, bytes, bytearray, memoryview)  # NumPy's, which are of these classes, read as numbers


def word_of(value: object) -> str | None:
    """Return a text, or that of an Enum's member, as a plain str; None for anything else."""
    value = _held(value)
    return str.__str__(cast("str", value)) if issubclass(type(value), str) else None


def number_of(value: object) -> bool | int | float | None:
    """Return a number as a plain bool, int or float, perhaps NaN or infinite; None for anything else."""
    value = _held(value)
    kind = type(value)
    if kind is bool or kind is int or kind is float:
        return cast("bool | int | float", value)
    if issubclass(kind, int):
        return int.__int__(cast("int", value))
    if issubclass(kind, float):
        return float.__float__(cast("float", value))
    if issubclass(kind, _NO_NUMBERS):
        return None
    try:
        return _asked(kind, value)
    except Exception:  # the object's own methods may raise anything
        return None


def exact_number_of(value: object) -> bool | int | float | None:
    """Return a number as `number_of` does; None for a Decimal that a float can't hold."""
    number = number_of(value)
    decimal = sys.modules.get("decimal")  # avoids an import of `decimal`
    if decimal is not None and type(number) is float and issubclass(type(value), decimal.Decimal):
        return number if decimal.Decimal(repr(number)) == value else None
    return number


def integer_of(value: object) -> int | None:
    """Return a whole number, which may be written as a float, as a plain int; None for anything else."""
    number = number_of(value)
    if type(number) is float:
        return int(number) if number.is_integer() else None
    return None if number is None else int(number)


def real_of(value: object) -> float | None:
    """Return a finite number that is not a boolean, as a plain float; None for anything else."""
    number = number_of(value)
    try:
        real = None if number is None or type(number) is bool else float(number)
    except OverflowError:
        return None
    return real if real is not None and math.isfinite(real) else None


def flag_of(value: object) -> bool | None:
    """Return a boolean, or 0 or 1, as a plain bool; None for anything else."""
    number = number_of(value)
    return bool(number) if number in {0, 1} else None


def milliseconds_of(value: object) -> float | None:
    """Return a number of milliseconds, or a time difference, as a plain float; None for anything else, and NaN."""
    value = _held(value)
    kind = type(value)
    try:
        if issubclass(kind, dt.timedelta):
            return real_of(cast("dt.timedelta", value) / _MILLISECOND)
        if _numpy_kind(value) == "m":
            return real_of(cast("Any", value) / cast("Any", kind)(1, "ms"))
    except Exception:  # as above
        return None
    return real_of(value)


def seconds_of(value: object) -> float | int | None:
    """Return a number of seconds, or a UTC time of NumPy's, as a plain number; None for anything else."""
    try:
        if _numpy_kind(value) == "M":
            return int(cast("Any", value).astype("datetime64[us]").astype("int64")) / 1e6
    except Exception:  # as above
        return None
    number = number_of(value)
    return None if type(number) is bool else number


def is_numpy_time(value: object) -> bool:
    """Return whether a value is a time or a time difference of NumPy's."""
    try:
        return _numpy_kind(value) in {"m", "M"}
    except Exception:  # as above
        return False


def _held(value: object) -> object:
    """Return the value of an Enum's member; any other value as it is."""
    if issubclass(type(value), Enum):
        try:
            return cast("object", object.__getattribute__(value, "_value_"))
        except Exception:  # a class may put a property there
            return None
    return value


def _asked(kind: type, value: Any) -> bool | int | float | None:
    """Return the number that an object converts itself to. Raises the exceptions of its methods."""
    if issubclass(kind, numbers.Complex) and not issubclass(kind, numbers.Real):
        return None
    numpy_kind = _numpy_kind(value)
    # A time of NumPy's is an integer without its unit. An array of one element converts with a warning.
    if numpy_kind in {"m", "M"} or getattr(value, "shape", ()) != () or (hasattr(kind, "__len__") and not numpy_kind):
        return None
    if hasattr(kind, "__index__"):
        try:
            return int(operator.index(value))
        except TypeError:  # NumPy's bool
            pass
    number = float(value) if hasattr(kind, "__float__") else None
    return bool(number) if numpy_kind == "b" and number is not None else number


def _numpy_kind(value: object) -> str | None:
    """Return NumPy's letter for a kind of value, such as `b` for a boolean; None if it is not NumPy's."""
    return getattr(getattr(value, "dtype", None), "kind", None)
