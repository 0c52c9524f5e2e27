"""What can go wrong in the collector, each error with one plain sentence for the person who meets it.

CollectorError
├── BadRequest      a request that is refused, with its HTTP status
│   └── Malformed   a value in a request that is not what OTLP says
└── StoreError      the store cannot be opened, read or written
    └── StoreLocked another process has it open
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base of the collector's errors; `str()` of it is one sentence."""


class BadRequest(CollectorError):  # noqa: N818 - HTTP's own name for it
    """A request that is refused: nothing of it is stored.

    Args:
        status: the HTTP status to answer with, 400 to 499.
        message: one sentence that says what is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Malformed(BadRequest):
    """A value that is not what OTLP says; knows the path to it, which grows outwards as the error rises."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(400, f"{path} {problem}.")
        self.path = path
        self.problem = problem

    def inside(self, parent: str) -> Malformed:
        """The same error, seen from one level further out."""
        return Malformed(f"{parent}.{self.path}" if self.path else parent, self.problem)


class StoreError(CollectorError):
    """The store cannot be opened, read or written."""


class StoreLocked(StoreError):  # noqa: N818 - a state, as in "the store is locked"
    """Another process has the store open."""
