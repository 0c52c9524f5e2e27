"""Validates and generates trace and span IDs."""

from __future__ import annotations

import os
import random
import re
import weakref
from typing import TYPE_CHECKING, Final, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_ONCE: Final = 64

_is_id: Final = {length: re.compile(f"(?!0{{{length}}})[0-9a-f]{{{length}}}").fullmatch for length in (16, 32)}


class ForkSafeRandom(random.Random):
    """A separate random generator, seeded by the system, and reseeded in the child of a fork.

    The global `random` is not used, because an application's seed would repeat our IDs, and our calls would change its
    sequence. `os.urandom` is not called for each event, because a system call releases the GIL, which costs a logging
    thread milliseconds beside a busy one.
    """

    def __init__(self) -> None:
        super().__init__()
        _reseed_after_fork()
        _generators.add(self)


class FreshIds:
    """Generates IDs of root spans. A trace ID is 16 hex digits of this process, followed by the span ID.

    Only the second half of a trace ID must be random (https://www.w3.org/TR/trace-context-2/#random-trace-id-flag).
    So both IDs together need no more random bits, and compress as well, as one. IDs are drawn in batches, which takes
    half the time, unless `draw` is given, which returns 64 bits.
    """

    def __init__(self, draw: Callable[[], int] | None = None) -> None:
        self._draw = draw
        self._random = ForkSafeRandom()
        self.renew()
        _fresh.add(self)

    def copy(self) -> FreshIds:
        """Return another generator of the same kind."""
        return FreshIds(self._draw)

    def renew(self) -> None:
        """Draw new digits of the process and new IDs, in the child of a fork."""
        self.ready: Iterator[str] = iter(())
        """IDs of the next spans. Taking one is a single step of the interpreter, so that each is used once."""
        self.process = self.more()

    def more(self) -> str:
        """Return a span ID, and refill `ready`."""
        if self._draw is not None:
            return f"{self._draw() or 1:016x}"
        drawn = self._random.randbytes(8 * _AT_ONCE).hex(" ", 8).replace("0" * 16, "0" * 15 + "1")
        ready = iter(drawn.split(" "))
        self.ready = ready
        return next(ready)

    def new_span(self) -> str:
        """Return a span ID. The encoders of events inline this."""
        return next(self.ready, None) or self.more()

    def new(self) -> tuple[str, str]:
        """Return the IDs of a trace and its root span."""
        span_id = next(self.ready, None) or self.more()
        return self.process + span_id, span_id


def is_id(value: object, length: int) -> TypeGuard[str]:
    """Return whether `value` is an OTLP ID: a str of `length` (16 or 32) lower-case hex digits, not all zero."""
    return type(value) is str and _is_id[length](value) is not None


# A reload leaves these.
_generators: Final[weakref.WeakSet[ForkSafeRandom]] = globals().get("_generators") or weakref.WeakSet()
_fresh: Final[weakref.WeakSet[FreshIds]] = globals().get("_fresh") or weakref.WeakSet()
_registered: Final[list[bool]] = globals().get("_registered") or []


def _reseed_after_fork() -> None:
    # Not at import, which has no side effects; and once, because a registration can't be removed.
    if hasattr(os, "register_at_fork") and not _registered:
        _registered.append(True)
        os.register_at_fork(after_in_child=_reseed)


def _reseed() -> None:
    for generator in list(_generators):
        generator.seed()
    for ids in list(_fresh):
        ids.renew()
