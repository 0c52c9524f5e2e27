"""The errors of the collector, each with a message of one sentence.

CollectorError
├── BadRequest      a request is rejected, with an HTTP status
│   └── Malformed   a value in a request is not valid OTLP
├── Overloaded      a request is rejected for now, because too many are in progress
├── CatalogueError  a catalogue of an application's events cannot be read
├── ExposureError   a collector may not be exposed like this
└── StoreError      the store cannot be opened, read or written
    └── StoreLocked another process has it open
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base class of the collector's errors; `str()` of it is one sentence."""


class BadRequest(CollectorError):  # noqa: N818 - HTTP's own name for it
    """Rejection of a request, of which nothing is stored.

    Args:
        status: HTTP status of the response, 400 to 499.
        message: One sentence on the cause.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Malformed(BadRequest):
    """A value that is not valid OTLP, with its path, which is extended outwards as the error rises."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(400, f"{path} {problem}.")
        self.path = path
        self.problem = problem

    def inside(self, parent: str) -> Malformed:
        """Return the same error with a path that begins one level further out."""
        return Malformed(f"{parent}.{self.path}" if self.path else parent, self.problem)


class Overloaded(CollectorError):  # noqa: N818 - a state, as in "the collector is overloaded"
    """Rejection of a request that can be sent again later."""


class CatalogueError(CollectorError):
    """A catalogue of an application's events cannot be read, or contradicts another."""


class ExposureError(CollectorError):
    """A collector may not be exposed like this, or its tokens cannot be read."""


class StoreError(CollectorError):
    """The store cannot be opened, read or written."""


class StoreLocked(StoreError):  # noqa: N818 - a state, as in "the store is locked"
    """Another process has the store open."""
