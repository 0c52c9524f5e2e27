"""When the next request may be sent: exponential backoff with jitter, which also acts as a circuit breaker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["closed", "open", "half_open"]


class Backoff:
    """Closed while requests succeed or fail now and then; open after `failure_threshold` failures in a row.

    Every failure delays the next request by `initial * 2**n`, at most `maximum`, times a random factor in [0.5, 1]
    ("equal jitter"), so that clients that failed together do not come back together. Open means no more than that the
    delay has grown beyond the threshold; the one request after it is the trial (half open). A server's Retry-After is
    a minimum. Times are seconds of `clock`, which is monotonic.
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
        self._uniform = uniform or random.Random().uniform  # noqa: S311 - spreads load, guards nothing
        self.failures = 0
        self._not_before = 0.0

    @property
    def state(self) -> State:
        """The state as `get_metrics()` reports it."""
        if self.failures < self._threshold:
            return "closed"
        return "open" if self.remaining() > 0 else "half_open"

    def remaining(self) -> float:
        """Return the seconds until the next request may go out; 0.0 is now."""
        return max(0.0, self._not_before - self._clock())

    def record_success(self) -> None:
        """Forget the failures: the endpoint answered."""
        self.failures = 0
        self._not_before = 0.0

    def record_failure(self, retry_after: float = 0.0) -> float:
        """Count a failure and return the delay in seconds; `retry_after` is the least that it may be."""
        delay = min(self._initial * 2.0 ** min(self.failures, 30), self._maximum)
        self.failures += 1
        return self.hold(max(delay * self._uniform(0.5, 1.0), retry_after))

    def hold(self, seconds: float) -> float:
        """Let no request out for `seconds`, without counting a failure; return them."""
        self._not_before = max(self._not_before, self._clock() + seconds)
        return seconds
