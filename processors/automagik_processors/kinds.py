"""What a field of an event may hold, and what of it leaves.

A kind has a one-word `name` and `take(value)`, which returns the value as it may leave, or None if it must be
withheld. Numbers leave with three significant digits: enough for statistics, too few to carry an account number.
`take` never raises and never calls a method of the value that the value's author could have written.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from enum import Enum
from typing import ClassVar, Final, cast

_INT64: Final = 2**63
_POWERS: Final = [10.0**exponent for exponent in range(16)]  # as far as floats hold every integer
_SCALES: Final = [10**exponent for exponent in range(19)]


class Kind(ABC):
    """What a catalogue says of a field; `name` is one lower-case word for generated documentation."""

    __slots__ = ()
    name: ClassVar[str]

    def __repr__(self) -> str:
        slots: tuple[str, ...] = self.__slots__
        return f"{type(self).__name__}({', '.join(f'{slot}={getattr(self, slot)!r}' for slot in slots)})"

    @abstractmethod
    def take(self, value: object) -> bool | float | str | None:
        """Return `value` as it may leave, or None to withhold it."""


class Flag(Kind):
    """Exactly True or False."""

    __slots__ = ()
    name: ClassVar[str] = "flag"

    def take(self, value: object) -> bool | None:
        """Return the flag, or None for anything else, 0 and 1 included."""
        return value if type(value) is bool else None


class Count(Kind):
    """An int from 0 to `maximum`, rounded to three significant digits. Larger is withheld: it counts nothing."""

    __slots__ = ("maximum",)
    name: ClassVar[str] = "count"

    def __init__(self, maximum: int = 10**12) -> None:
        self.maximum = maximum

    def take(self, value: object) -> int | None:
        """Return the rounded count, an int, or None."""
        if type(value) is not int:
            value = _int_of(value)
            if value is None:
                return None
        if 0 <= value <= self.maximum:
            return value if value < 1000 else _round(value)  # noqa: PLR2004  # it has three digits
        return None


class Duration(Kind):
    """Milliseconds, 0 or more, rounded to three significant digits and capped at `maximum` (a day)."""

    __slots__ = ("maximum",)
    name: ClassVar[str] = "duration"

    def __init__(self, maximum: float = 86_400_000.0) -> None:
        self.maximum = maximum

    def take(self, value: object) -> float | None:
        """Return the milliseconds as a float, or None for what is negative, not finite or no number."""
        if type(value) is not float:
            value = _float_of(value)
            if value is None:
                return None
        if 0.0 <= value < math.inf:
            return three_digits(value) if value < self.maximum else float(self.maximum)
        return None


class Measure(Kind):
    """A finite number, clamped to `minimum` and `maximum` and rounded to three significant digits."""

    __slots__ = ("maximum", "minimum")
    name: ClassVar[str] = "measure"

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def take(self, value: object) -> float | None:
        """Return the measure as a float, or None for what is not finite or no number."""
        if type(value) is not float:
            value = _float_of(value)
            if value is None:
                return None
        if -math.inf < value < math.inf:
            return float(min(max(three_digits(value), self.minimum), self.maximum))
        return None


class Word(Kind):
    """A short text that leaves verbatim only if it was known in advance; an Enum whose value is a str counts as one."""

    __slots__ = ()
    name: ClassVar[str] = "word"

    def take(self, value: object) -> str | None:
        """Return the text as a plain str, or None. Whether it is known is for who holds the vocabulary to say."""
        if type(value) is str:
            return value
        if issubclass(type(value), str):
            return str.__str__(cast("str", value))
        if issubclass(type(value), Enum):
            return _str_of_enum(value)
        return None


def three_digits(number: float) -> float:
    """Round a finite number to three significant digits; -0.0 becomes 0.0."""
    if 100.0 <= number < _POWERS[-1]:  # noqa: PLR2004  # what most are, without the cost of formatting
        scale = _POWERS[bisect_right(_POWERS, number) - 3]
        return (number + scale / 2) // scale * scale
    return float(f"{number:.3g}") + 0.0


def _round(count: int) -> int:
    scale: int = _SCALES[bisect_right(_SCALES, count) - 3] if count < _SCALES[-1] else 10 ** (len(str(count)) - 3)
    return (count + scale // 2) // scale * scale


def _int_of(value: object) -> int | None:
    """Return the int that a subclass of int such as HTTPStatus holds; None for a bool or anything else."""
    if issubclass(type(value), int) and type(value) is not bool:
        return int.__int__(value)  # type: ignore[arg-type]  # known by its type
    return None


def _float_of(value: object) -> float | None:
    """Return an int of at most 64 bits as a float; None for anything else."""
    number = value if type(value) is int else _int_of(value)
    return float(number) if number is not None and -_INT64 <= number < _INT64 else None


def _str_of_enum(member: object) -> str | None:
    try:
        value = object.__getattribute__(member, "_value_")
    except Exception:  # noqa: BLE001  # a class may put a property there
        return None
    return str.__str__(value) if issubclass(type(value), str) else None
