"""Bounds the bytes of all requests in flight, from the first byte of a body until its rows are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from automagik_telemetry.collector._errors import Overloaded

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024
"""Maximum number of bytes of the bodies that are being received and of the rows that wait for a commit."""


class Flow:
    """The bytes in flight. Used on the event loop's thread alone.

    Args:
        limit: Maximum number of bytes that are accepted.
    """

    def __init__(self, limit: int = DEFAULT_BYTES_IN_FLIGHT) -> None:
        self._limit = limit
        self.used = 0

    def request(self) -> Load:
        """Return the load of a new request, a context manager that releases it."""
        return Load(self)

    def move(self, difference: int) -> None:
        """Add to the bytes in flight, or subtract."""
        self.used += difference

    @property
    def full(self) -> bool:
        """True if the limit is exceeded."""
        return self.used > self._limit


class Load:
    """The bytes of one request in flight."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._size = 0

    def hold(self, size: int) -> None:
        """Set the number of bytes in memory: those of a body, and then those of its rows.

        Raises:
            Overloaded: There are too many bytes in flight, of all requests.
        """
        self._move(size)
        if self._flow.full:
            raise Overloaded("Too many requests are in progress. Send again later.")

    def _move(self, size: int) -> None:
        self._flow.move(size - self._size)
        self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._move(0)
