"""Exponential backoff with jitter, which also acts as a circuit breaker."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["closed", "open", "half_open"]


class Backoff:
    """The delay until the next request may be sent. Open after `failure_threshold` failures in a row, else closed.

    Every failure delays the next request by `initial * 2**n`, at most `maximum`, times a random factor in [0.5, 1]
    ("equal jitter"), so that clients that failed together do not retry together. Open only means that the delay has
    grown beyond the threshold; the one request after it is the trial (half open). A server's Retry-After is a separate
    minimum: `hurry` ends the delay, but never the Retry-After. Times are seconds of
    `clock`, which is monotonic.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        initial: float = 1.0,
        maximum: float = 300.0,
        failure_threshold: int = 5,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._clock = clock
        self._initial = initial
        self._maximum = maximum
        self._threshold = failure_threshold
        self._uniform = uniform or random.Random().uniform  # noqa: S311 - not for security
        self.failures = 0
        self._delayed_until = 0.0
        self._held_until = 0.0

    @property
    def state(self) -> State:
        """The state as `get_metrics()` reports it."""
        if self.failures < self._threshold:
            return "closed"
        return "open" if self.remaining() > 0 else "half_open"

    def remaining(self) -> float:
        """Return the seconds until the next request may go out; 0.0 is now."""
        return max(self._delayed_until - self._clock(), self.held())

    def held(self) -> float:
        """Return the remaining seconds of the server's Retry-After."""
        return max(0.0, self._held_until - self._clock())

    def hurry(self) -> None:
        """Let the next request go out at once, unless the server asked to wait."""
        self._delayed_until = 0.0

    def record_success(self) -> None:
        """Reset the failures, because the endpoint responded."""
        self.failures = 0
        self._delayed_until = self._held_until = 0.0

    def record_failure(self, retry_after: float = 0.0, at_most: float = math.inf) -> float:
        """Count a failure and return the delay in seconds; `retry_after` is its minimum.

        `at_most` bounds the delay, but not `retry_after`, while a caller waits.
        """
        delay = min(self._initial * 2.0 ** min(self.failures, 30), self._maximum, at_most) * self._uniform(0.5, 1.0)
        self.failures += 1
        self._delayed_until = self._clock() + delay
        return max(delay, self.hold(retry_after))

    def hold(self, seconds: float) -> float:
        """Let no request out for `seconds`, without counting a failure; return them."""
        self._held_until = max(self._held_until, self._clock() + seconds)
        return seconds
