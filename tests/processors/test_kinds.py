"""The values that each kind accepts and drops."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Count, Duration, Flag, Kind, Measure, Word

KINDS: list[Kind] = [Flag(), Count(), Duration(), Measure(-1e6, 1e6), Word()]


class Colour(Enum):
    """An enumeration of words."""

    RED = "red"


class Loud(str):
    """A str whose methods return something else."""

    __slots__ = ()

    def __str__(self) -> str:
        return "loud"


class Small(int):
    """An int that claims to be small."""

    def __lt__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "0"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "value",
    [
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Fraction(10**400),
        "1.5x",
        b"1",
        10**400,
        -(10**400),
        math.nan,
        math.inf,
        -math.inf,
        [],
        {},
        object(),
        1j,
    ],
    ids=lambda value: type(value).__name__,  # the repr of an object is another in each of xdist's workers
)
def test_values_of_another_kind_are_dropped(kind: Kind, value: object) -> None:
    """NaN, infinities, huge numbers and values of other kinds are dropped without an error."""
    assert kind.take(value) == (value if (kind.name, type(value)) == ("word", str) else None)


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (Flag(), True, True),
        (Flag(), False, False),
        (Flag(), 1, True),
        (Flag(), 0, False),
        (Flag(), 2, None),
        (Count(), 0, 0),
        (Count(), 999, 999),
        (Count(), 1004, 1000),
        (Count(), 123_456, 123_000),
        (Count(), 999_600, 1_000_000),
        (Count(), 10**12, 10**12),
        (Count(), 10**12 + 1, None),
        (Count(), -1, None),
        (Count(), True, 1),
        (Count(), 1.0, 1),
        (Count(), 1.5, None),
        (Count(), HTTPStatus.NOT_FOUND, 404),
        (Count(), Small(4111111111111111), None),
        (Count(maximum=5), 6, None),
        (Duration(), 0, 0.0),
        (Duration(), -0.0, 0.0),
        (Duration(), 12, 12.0),
        (Duration(), 0.012345, 0.0123),
        (Duration(), 1234.5, 1230.0),
        (Duration(), 999.6, 1000.0),
        (Duration(), 1e300, 86_400_000.0),
        (Duration(maximum=50), 51, 50.0),
        (Duration(), -0.1, None),
        (Duration(), True, None),
        (Measure(0, 1), 0.12345, 0.123),
        (Measure(0, 1), -7, 0.0),
        (Measure(0, 1), 7, 1.0),
        (Measure(-100, 100), -12.3456, -12.3),
        (Measure(-1e9, 1e9), -123_456.0, -123_000.0),
        (Measure(0, 1), False, None),
        (Word(), "red", "red"),
        (Word(), Colour.RED, "red"),
        (Word(), Loud("quiet"), "quiet"),
        (Word(), HTTPStatus.OK, None),
        (Word(), 1, None),
    ],
    ids=repr,
)
def test_values_are_sent_as_stated(kind: Kind, value: object, taken: object) -> None:
    """Each kind's bounds, rounding and types are those of its docstring."""
    result = kind.take(value)
    assert (type(result), repr(result)) == (type(taken), repr(taken))


@given(st.floats(min_value=0, max_value=86_000_000) | st.integers(0, 86_000_000))
def test_a_duration_keeps_three_digits(value: float) -> None:
    """A duration is sent near its value, with at most three significant digits, and rounding is idempotent."""
    taken = Duration().take(value)
    assert taken is not None
    assert taken == float(f"{taken:.3g}")
    assert math.isclose(taken, value, rel_tol=0.00501)
    assert Duration().take(taken) == taken


@given(st.integers(0, 10**12))
def test_a_count_keeps_three_digits(value: int) -> None:
    """A count is sent near its value, with at most three significant digits."""
    taken = Count().take(value)
    assert taken is not None
    assert len(str(taken).rstrip("0")) <= 3
    assert math.isclose(taken, value, rel_tol=0.00501)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers()))
def test_a_kind_returns_only_plain_types(value: Any) -> None:  # that is the point
    """Any input gives None or exactly a bool, int, float or str within its bounds."""
    for kind in KINDS:
        taken = kind.take(value)
        assert type(taken) in (type(None), {"flag": bool, "count": int, "word": str}.get(kind.name, float))


def test_names_are_one_word() -> None:
    """Generated documentation prints the kinds' names."""
    assert [kind.name for kind in KINDS] == ["flag", "count", "duration", "measure", "word"]
