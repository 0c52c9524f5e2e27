"""Every fault in the matrix is claimed by a test, and no test claims one that isn't there."""

from __future__ import annotations

from tests.faults.matrix import ROWS, claims


def test_every_row_is_claimed() -> None:
    """The rows are in order, each with at least one test."""
    assert list(ROWS) == sorted(ROWS)
    assert sorted(claims()) == list(ROWS)
