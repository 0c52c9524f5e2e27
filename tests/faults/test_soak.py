"""`make soak` works, for a few seconds."""

from __future__ import annotations

from tests.faults import soak


def test_a_few_seconds() -> None:
    """Every event is accounted for, although processes are killed and the endpoint fails."""
    assert soak.main(["--seconds", "2", "--processes", "2", "--rate", "50"]) == 0
