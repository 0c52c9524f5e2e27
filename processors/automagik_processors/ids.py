"""Trace and span ids: what a valid one looks like, and where fresh random bits come from."""

from __future__ import annotations

import os
import random
import re
import weakref
from functools import cache
from typing import Final, TypeGuard

_hex_of: Final = {16: re.compile("[0-9a-f]{16}").fullmatch, 32: re.compile("[0-9a-f]{32}").fullmatch}


class ForkSafeRandom(random.Random):
    """A generator of its own, seeded by the system, and seeded anew in the child after a fork.

    Not the module-global `random`: hosts seed that one, which would repeat our ids, and we must not
    disturb their sequence. Not `os.urandom` for each event: a system call gives up the GIL, which costs
    a logging thread milliseconds beside a busy one.
    """

    def __init__(self) -> None:
        super().__init__()
        _reseed_after_fork()
        _generators.add(self)


def is_id(value: object, length: int) -> TypeGuard[str]:
    """Say whether `value` is an id of OTLP: exactly a str of `length` (16, 32) lower-case hex digits, not all zero."""
    return type(value) is str and _hex_of[length](value) is not None and value.strip("0") != ""


_generators: Final[weakref.WeakSet[ForkSafeRandom]] = weakref.WeakSet()


@cache
def _reseed_after_fork() -> None:
    # Not at import, for importing does nothing; and once, for the interpreter keeps each registration for ever.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reseed)


def _reseed() -> None:
    for generator in list(_generators):
        generator.seed()
