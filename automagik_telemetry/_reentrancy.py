"""A flag of the current thread that keeps our own work from logging into our own handlers."""

from __future__ import annotations

import threading

from automagik_telemetry._process import kept


class _Guard(threading.local):
    def __init__(self) -> None:
        self.busy = 0

    def __enter__(self) -> None:
        self.busy += 1

    def __exit__(self, *_: object) -> None:
        self.busy -= 1


guard = kept("guard", _Guard)
"""Guard `with guard:` for code of our handlers that may log or holds a lock. It is always set in a worker's thread.

A record that is logged while `guard.busy`, for example by httpx or by a finalizer, is dropped and counted. This
prevents feedback loops and nested initialization.
"""
