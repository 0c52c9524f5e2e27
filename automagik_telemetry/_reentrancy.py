"""Keeps our own work from feeding our own handlers: a flag of the current thread."""

from __future__ import annotations

import threading


class _Guard(threading.local):
    def __init__(self) -> None:
        self.busy = 0

    def __enter__(self) -> None:
        self.busy += 1

    def __exit__(self, *_: object) -> None:
        self.busy -= 1


guard = _Guard()
"""`with guard` is where one of our handlers calls what may log, or holds a lock; a worker's thread is always there.

A record logged while `guard.busy` (by httpx, by a finalizer that the garbage collector runs) is counted and goes no
further: no feedback loop, and no half-made thing that is made twice.
"""
