"""Trace and span ids: what a valid one looks like, and where fresh ones come from."""

from __future__ import annotations

import os
import random
import re
import weakref
from functools import cache
from typing import TYPE_CHECKING, Final, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_ONCE: Final = 64
_ZEROS: Final = "0" * 32

_is_hex: Final = re.compile("[0-9a-f]+").fullmatch


class ForkSafeRandom(random.Random):
    """A generator of its own, seeded by the system, and seeded anew in the child after a fork.

    Not the module-global `random`: applications seed that one, which would repeat our ids, and we must not
    disturb their sequence. Not `os.urandom` for each event: a system call gives up the GIL, which costs
    a logging thread milliseconds beside a busy one.
    """

    def __init__(self) -> None:
        super().__init__()
        _reseed_after_fork()
        _generators.add(self)


class FreshIds:
    """Gives ids to what is the first span of a trace: the trace's are 16 hex digits of this process, then the span's.

    As many bits are drawn, written and compressed for both ids as for one; of a trace's id, only the second half need
    be random (https://www.w3.org/TR/trace-context-2/#random-trace-id-flag). They are drawn for many spans in one go,
    in half of the time, unless there is a `draw` that returns 64 bits.
    """

    def __init__(self, draw: Callable[[], int] | None = None) -> None:
        self._draw = draw
        self._random = ForkSafeRandom()
        self.renew()
        _fresh.add(self)

    def renew(self) -> None:
        """Draw the digits of the process anew, and all else: in the child of a fork."""
        self.ready: Iterator[str] = iter(())
        """The ids of spans to come. To take one is a step of the interpreter, so that no two threads get the same."""
        self.process = self.more()

    def more(self) -> str:
        """Return the id of a span, and have others `ready`."""
        if self._draw is not None:
            return f"{self._draw() or 1:016x}"
        drawn = self._random.randbytes(8 * _AT_ONCE).hex(" ", 8).replace("0" * 16, "0" * 15 + "1")
        ready = iter(drawn.split(" "))
        self.ready = ready
        return next(ready)

    def new_span(self) -> str:
        """Return the id of a span. The encoders of events do the same in place."""
        return next(self.ready, None) or self.more()

    def new(self) -> tuple[str, str]:
        """Return the ids of a trace and its first span."""
        span_id = next(self.ready, None) or self.more()
        return self.process + span_id, span_id


def is_id(value: object, length: int) -> TypeGuard[str]:
    """Say whether `value` is an id of OTLP: exactly a str of `length` (16, 32) lower-case hex digits, not all zero."""
    return type(value) is str and len(value) == length and value != _ZEROS[:length] and _is_hex(value) is not None


_generators: Final[weakref.WeakSet[ForkSafeRandom]] = weakref.WeakSet()
_fresh: Final[weakref.WeakSet[FreshIds]] = weakref.WeakSet()


@cache
def _reseed_after_fork() -> None:
    # Not at import, for importing does nothing; and once, for the interpreter keeps each registration for ever.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reseed)


def _reseed() -> None:
    for generator in list(_generators):
        generator.seed()
    for ids in list(_fresh):
        ids.renew()
