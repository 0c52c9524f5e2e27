"""The kinds of fields, which define the allowed values and the part of them that is sent.

A kind has a one-word `name` and `take(value)`, which returns the value as it may be sent, or None if it must be
dropped. Numbers are sent with three significant digits: enough for statistics, too few to carry an account number.
`take` never raises. It interprets a value of any class by its meaning, see `_scalars`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import TYPE_CHECKING, ClassVar, Final

from automagik_processors._scalars import flag_of, integer_of, milliseconds_of, real_of, word_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import Enum

_POWERS: Final = [10.0**exponent for exponent in range(16)]  # up to 10**15 floats are exact for every integer
_SCALES: Final = [10**exponent for exponent in range(19)]


class Kind(ABC):
    """The kind of a field; `name` is one lower-case word for generated documentation."""

    __slots__ = ()
    name: ClassVar[str]
    is_word: ClassVar[bool] = False
    """True if a value that is not on the allowlist is hashed. A reload changes the class, but not this."""

    def __repr__(self) -> str:
        slots: tuple[str, ...] = self.__slots__
        return f"{type(self).__name__}({', '.join(f'{slot}={getattr(self, slot)!r}' for slot in slots)})"

    @abstractmethod
    def take(self, value: object) -> bool | float | str | None:
        """Return a value as it may be sent.

        Args:
            value: The value of a field, of any type.

        Returns:
            The value, rounded or clamped as the kind has it, or None if it must not be sent.
        """


class Flag(Kind):
    """True or False; 1 and 0 mean the same."""

    __slots__ = ()
    name: ClassVar[str] = "flag"

    def take(self, value: object) -> bool | None:
        """Return a boolean.

        Args:
            value: The value of a field, of any type.

        Returns:
            The boolean, which 1 and 0 are too, or None for anything else.
        """
        return value if type(value) is bool else flag_of(value)


class Count(Kind):
    """A whole number from 0 to `maximum`, rounded to three significant digits. A larger one is dropped.

    Args:
        maximum: The largest count that is sent. The default is 10**12.
    """

    __slots__ = ("maximum",)
    name: ClassVar[str] = "count"

    def __init__(self, maximum: int = 10**12) -> None:
        self.maximum = maximum

    def take(self, value: object) -> int | None:
        """Return a count, rounded.

        Args:
            value: The value of a field, of any type.

        Returns:
            The rounded count, or None for anything but a whole number from 0 to `maximum`.
        """
        if type(value) is not int:
            value = integer_of(value)
            if value is None:
                return None
        if 0 <= value <= self.maximum:
            return value if value < 1000 else _round(value)  # noqa: PLR2004 - it has three digits
        return None


class Duration(Kind):
    """Milliseconds, 0 or more, or a timedelta; rounded to three significant digits and capped at `maximum`.

    Args:
        maximum: The largest duration that is sent, in milliseconds. The default is a day.
    """

    __slots__ = ("maximum",)
    name: ClassVar[str] = "duration"

    def __init__(self, maximum: float = 86_400_000.0) -> None:
        self.maximum = maximum

    def take(self, value: object) -> float | None:
        """Return a duration, rounded and capped.

        Args:
            value: The value of a field, of any type.

        Returns:
            The milliseconds as a float, or None for anything but a finite number from 0.
        """
        if type(value) is not float:
            value = milliseconds_of(value)
            if value is None:
                return None
        if 0.0 <= value < math.inf:
            return three_digits(value) if value < self.maximum else float(self.maximum)
        return None


class Measure(Kind):
    """A finite number, clamped to `minimum` and `maximum` and rounded to three significant digits.

    Args:
        minimum: The smallest number that is sent.
        maximum: The largest number that is sent.
    """

    __slots__ = ("maximum", "minimum")
    name: ClassVar[str] = "measure"

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def take(self, value: object) -> float | None:
        """Return a measure, rounded and clamped.

        Args:
            value: The value of a field, of any type.

        Returns:
            The measure as a float, or None for anything but a finite number.
        """
        if type(value) is not float:
            value = real_of(value)
            if value is None:
                return None
        if -math.inf < value < math.inf:
            return float(min(max(three_digits(value), self.minimum), self.maximum))
        return None


class Word(Kind):
    """A short text that is sent verbatim only if it is an allowed value. An Enum whose value is a str counts as one.

    Args:
        allowed: The values that are sent verbatim; any other is sent as a keyed hash. By default those on the
            allowlist.

    Raises:
        TypeError: The allowed values are not a list of strings.
        ValueError: There are none.
    """

    __slots__ = ("allowed",)
    name: ClassVar[str] = "word"
    is_word: ClassVar[bool] = True

    def __init__(self, allowed: Iterable[str | Enum] | None = None) -> None:
        self.allowed = None if allowed is None else _texts(allowed)

    def take(self, value: object) -> str | None:
        """Return the text as a plain str. The allowed values decide whether it is sent as it is.

        Args:
            value: The value of a field, of any type.

        Returns:
            The text, or None for anything but a str, or an Enum whose value is a str.
        """
        return value if type(value) is str else word_of(value)


def _texts(values: Iterable[object]) -> frozenset[str]:
    if isinstance(values, str):
        msg = f"allowed must be a list of strings, got {values!r}"
        raise TypeError(msg)
    # By index, because dictConfig resolves ext:// and cfg:// inside lists only then.
    given = [values[index] for index in range(len(values))] if isinstance(values, list) else list(values)
    texts = {word_of(value) for value in given}
    if None in texts:
        wrong = next(value for value in given if word_of(value) is None)
        msg = f"allowed must be a list of strings, got {wrong!r} in it"
        raise TypeError(msg)
    if not texts or "" in texts:
        msg = f"allowed must have at least one string, and none that is empty, got {given!r}"
        raise ValueError(msg)
    return frozenset(filter(None, texts))


def three_digits(number: float) -> float:
    """Round a finite number to three significant digits; -0.0 becomes 0.0."""
    if 100.0 <= number < _POWERS[-1]:  # noqa: PLR2004 - what most are, without the cost of formatting
        scale = _POWERS[bisect_right(_POWERS, number) - 3]
        return (number + scale / 2) // scale * scale
    return float(f"{number:.3g}") + 0.0


def _round(count: int) -> int:
    scale: int = _SCALES[bisect_right(_SCALES, count) - 3] if count < _SCALES[-1] else 10 ** (len(str(count)) - 3)
    return (count + scale // 2) // scale * scale
