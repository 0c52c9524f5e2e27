"""Any value becomes plain data within limits, and plain data within them is unchanged."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors._bounded import CUT, Bounded, Bounds
from automagik_processors._bounded_json import dumps
from tests.processors.test_otlp import values

UUID_TEXT = "0f6a5a52-8f7a-4b66-8f4e-3a4c0f4a7a11"

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def bounded(depth: int = 50, nodes: int = 1_000, text: int = 1_000, total: int = 10_000) -> Bounded:
    """Return bounds that are wide where they are not given."""
    return Bounded(Bounds(depth, nodes, text, total))


@given(plain)
def test_plain_data_stays(value: Any) -> None:
    """Plain data is copied equal, without a mark."""
    bounds = bounded()
    kept = bounds.value(value)
    assert repr(kept) == repr(value)
    assert bounds.bad == {}
    assert kept is not value or not isinstance(value, list | dict)
    assert dumps(value) == orjson.dumps(value).decode()


def count(value: Any) -> tuple[int, int, int]:
    """Return how many values, characters and levels of containers there are."""
    if isinstance(value, str):
        return 1, len(value), 0
    if isinstance(value, list | dict):
        inner = [count(item) for item in (value.values() if isinstance(value, dict) else value)]
        names = sum(len(key) for key in value) if isinstance(value, dict) else 0
        totals = (sum(number) for number in zip(*((nodes, size) for nodes, size, _ in inner), strict=True))
        nodes, size = totals if inner else (0, 0)
        return 1 + nodes, size + names, 1 + max((levels for _, _, levels in inner), default=0)
    return 1, 0, 0


@given(values)
def test_bounds_hold(value: Any) -> None:
    """Any value becomes valid JSON within the limits of values and levels."""
    bounds = bounded(depth=3, nodes=10, text=5, total=20)
    kept = bounds.value(value)
    orjson.dumps(kept)
    nodes, _, levels = count(kept)
    assert levels <= 4
    assert nodes <= 10 + sum(bounds.bad.values())


@given(plain)
def test_texts_are_bounded(value: Any) -> None:
    """All strings and names together are within the limit of characters, except for the marks."""
    bounds = bounded(text=5, total=20)
    _, size, _ = count(bounds.value(value))
    assert size <= 20 + 40 * bounds.bad.get("cut_text", 0)


@pytest.mark.parametrize(
    ("value", "expected", "reason"),
    [
        ("abcdefg", "abcde[cut: 2 more characters]", "cut_text"),
        ([[[1]]], [[CUT]], "too_deep_or_many"),
        (list(range(20)), [*range(9), CUT], "too_deep_or_many"),
        (object, "?", "not_serializable"),
    ],
)
def test_what_is_cut_is_marked_and_counted(value: Any, expected: Any, reason: str) -> None:
    """A mark replaces it, and the reason is counted."""
    bounds = Bounded(Bounds(depth=1, nodes=10, text=5, total=1_000, unknown=lambda _: "?"))
    assert bounds.value(value) == expected
    assert bounds.bad == {reason: 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC), "2024-01-02T03:04:00+00:00"),
        (dt.timedelta(seconds=5), "0:00:05"),
        (UUID(UUID_TEXT), UUID_TEXT),
        (Decimal("1.50"), 1.5),
        (Decimal("0.1000000000000000055"), "0.1000000000000000055"),
        (Decimal("NaN"), "NaN"),
        (PurePosixPath("/a/b"), "/a/b"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_common_objects_are_data(value: Any, expected: str) -> None:
    """Dates, IDs and the like become their str, also where objects become their class name."""
    bounds = Bounded(Bounds(depth=1, nodes=10, text=50, total=1_000, unknown=lambda _: "?"))
    assert bounds.value(value) == expected
    assert bounds.bad == {}
