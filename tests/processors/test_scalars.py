"""Values of any class are taken by what they mean: NumPy's, decimals, enumerations, subclasses, time differences."""

from __future__ import annotations

import datetime as dt
import warnings
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Anonymize, Count, Dropped, Duration, Flag, Kind, Measure, Word
from automagik_processors._bounded_json import dumps
from automagik_processors._conventions import seconds
from automagik_processors._otlp_values import any_value


class Index:
    """An integer of a library: it has `__index__`, as NumPy's have, and none of int's methods."""

    dtype: Any = None

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


class Real:
    """A number of a library: it has `__float__`."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        return self._value


class Boolean(Real):
    """A boolean of a library, as NumPy's: `__index__` raises."""

    class dtype:  # noqa: N801 - as NumPy has it
        """Describes it."""

        kind = "b"

    def __index__(self) -> int:
        raise TypeError


class Array(Real):
    """An array of one element, which converts with a warning."""

    shape = (1,)

    def __len__(self) -> int:
        return 1

    def __float__(self) -> float:
        warnings.warn("an array is not a number", DeprecationWarning, stacklevel=2)
        return 1.0


class Difference:
    """A time difference of a library, as NumPy's: an integer without its unit."""

    class dtype:  # noqa: N801 - as NumPy has it
        """Describes it."""

        kind = "m"

    def __init__(self, value: int, unit: str) -> None:
        self._seconds = value * {"s": 1.0, "ms": 1e-3}[unit]

    def __truediv__(self, other: Any) -> float:
        return float(self._seconds / other._seconds)

    def __index__(self) -> int:
        return 5


class Raising:
    """Every method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError

    def __index__(self) -> int:
        raise RuntimeError

    def __float__(self) -> float:
        raise RuntimeError


class Liar(float):
    """A float that says something else."""

    def __float__(self) -> float:
        return -1.0


class Name(StrEnum):
    """A text."""

    SIMPLE = "simple"


class Mixed(str, Enum):  # noqa: UP042 - as applications write it
    """A text, of which str() returns something else."""

    SIMPLE = "simple"


class Plain(Enum):
    """A number and a text."""

    FOUR = 4
    SIMPLE = "simple"
    NOTHING = ()


class Number(IntEnum):
    """A number."""

    FOUR = 4


TAKEN: list[tuple[Kind, Any, Any]] = [
    (Flag(), Boolean(1.0), True),
    (Flag(), Boolean(0.0), False),
    (Flag(), Index(1), True),
    (Flag(), 0.0, False),
    (Flag(), Decimal(1), True),
    (Flag(), "true", None),
    (Flag(), Index(2), None),
    (Flag(), Raising(), None),
    (Count(), Index(1234), 1230),
    (Count(), Index(-1), None),
    (Count(), Index(10**400), None),
    (Count(), Real(7.0), 7),
    (Count(), Real(7.5), None),
    (Count(), Boolean(1.0), 1),
    (Count(), Decimal(7), 7),
    (Count(), Decimal("7.5"), None),
    (Count(), Fraction(8, 2), 4),
    (Count(), Number.FOUR, 4),
    (Count(), Plain.FOUR, 4),
    (Count(), Plain.SIMPLE, None),
    (Count(), Array(1.0), None),
    (Count(), Difference(1, "s"), None),
    (Count(), dt.timedelta(seconds=1), None),
    (Count(), Raising(), None),
    (Count(), "7", None),
    (Duration(), dt.timedelta(seconds=1.5), 1500.0),
    (Duration(), dt.timedelta(seconds=-1), None),
    (Duration(), dt.timedelta.max, 86_400_000.0),
    (Duration(), Difference(2, "s"), 2000.0),
    (Duration(), Index(12), 12.0),
    (Duration(), Real(12.5), 12.5),
    (Duration(), Decimal("12.5"), 12.5),
    (Duration(), Liar(12.5), 12.5),
    (Duration(), 10**30, 86_400_000.0),
    (Duration(), Real(float("nan")), None),
    (Duration(), Boolean(1.0), None),
    (Duration(), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None),
    (Duration(), Array(1.0), None),
    (Measure(0, 1), Decimal("0.12345"), 0.123),
    (Measure(0, 1), Fraction(1, 4), 0.25),
    (Measure(0, 1), Real(float("inf")), None),
    (Measure(0, 100), Plain.FOUR, 4.0),
    (Measure(0, 1), Difference(1, "s"), None),
    (Word(), Name.SIMPLE, "simple"),
    (Word(), Mixed.SIMPLE, "simple"),
    (Word(), Plain.SIMPLE, "simple"),
    (Word(), Plain.NOTHING, None),
    (Word(), Number.FOUR, None),
    (Word(), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None),
]


@pytest.mark.fault(75)
@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    TAKEN,
    ids=[f"{kind.name}-{type(value).__name__}-{taken}" for kind, value, taken in TAKEN],
)
def test_a_value_is_taken_by_what_it_means(kind: Kind, value: object, taken: object) -> None:
    """As a plain value, and what has no such meaning is dropped, without an exception or a warning."""
    result = kind.take(value)
    assert (type(result), result) == (type(taken), taken)


@pytest.mark.fault(75)
def test_numpy_scalars_are_taken() -> None:
    """Of every type that NumPy has, in events and in what traces hold."""
    numpy = pytest.importorskip("numpy")
    for kind in (numpy.int8, numpy.uint64, numpy.float16, numpy.float32, numpy.float64, numpy.longdouble):
        assert (Count().take(kind(7)), Duration().take(kind(7)), Measure(0, 9).take(kind(7))) == (7, 7.0, 7.0)
        assert dumps({"tokens": kind(7)}) in {'{"tokens":7}', '{"tokens":7.0}'}
    assert Flag().take(numpy.bool_(0)) is False
    assert any_value(numpy.bool_(1)) == '{"boolValue":true}'
    assert Word().take(numpy.str_("7")) == "7"
    assert Count().take(numpy.str_("7")) is None
    for unit, number in (("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)):
        assert Duration().take(numpy.timedelta64(number, unit)) == 1000.0
        assert Count().take(numpy.timedelta64(number, unit)) is None
    for other in (numpy.timedelta64("NaT"), numpy.datetime64(1, "ns"), numpy.complex64(1), numpy.array([1.0])):
        assert [kind.take(other) for kind in (Flag(), Count(), Duration(), Measure(0, 1), Word())] == [None] * 5
    assert seconds(numpy.datetime64("2024-01-01"), 0.0, 4e9) == 1_704_067_200


@pytest.mark.fault(75)
@given(st.integers() | st.floats() | st.booleans())
def test_a_number_means_the_same_in_any_class(value: float) -> None:
    """As itself, as an object's `__index__` or `__float__`, in an Enum, as a subclass."""
    members: Any = Enum("members", {"A": value})
    forms: list[object] = list(members)
    if type(value) is int:
        forms += [Index(value), type("I", (int,), {})(value)]
    elif type(value) is float:
        forms += [Real(value), Liar(value)]
    for kind in (Flag(), Count(), Duration(), Measure(-1e6, 1e6)):
        assert {repr(kind.take(form)) for form in forms} == {repr(kind.take(value))}


@pytest.mark.fault(75)
@pytest.mark.parametrize("name", [Name("simple"), Mixed("simple"), Plain("simple"), type("Text", (str,), {})("simple")])
def test_an_event_s_name_is_taken_by_what_it_means(name: object) -> None:
    """It is sent as a plain str."""
    sent = Anonymize({"simple": {}})(None, "info", {"event": name})
    assert (sent, type(sent["event"])) == ({"event": "simple"}, str)


@pytest.mark.parametrize(
    "name", [Plain.FOUR, Plain.NOTHING, b"simple", Raising()], ids=lambda name: type(name).__name__
)
def test_a_name_that_is_not_a_text_is_not_an_event(name: object) -> None:
    """It is dropped with a reason."""
    with pytest.raises(Dropped, match="unknown_event"):
        Anonymize({"simple": {}})(None, "info", {"event": name})


@pytest.mark.fault(75)
def test_what_is_not_of_its_kind_is_reported_by_name() -> None:
    """Each declared field and each key that is carried, once an event, and never one that is missing."""
    anonymize = Anonymize({"run": {"tokens": Count(), "duration_ms": Duration(), "name": Word()}})
    reported: list[tuple[str, str]] = []
    anonymize.on_wrong_kind = lambda *names: reported.append(names)
    event = {"event": "run", "tokens": -1, "duration_ms": None, "name": "x", "other": 1, "sample_rate": 7}
    anonymize(None, "info", event)
    assert reported == [("run", "tokens"), ("run", "sample_rate")]
