"""Keeps our own work from feeding our own handlers: a flag of the current thread."""

from __future__ import annotations

import threading


class _Guard(threading.local):
    busy = False


guard = _Guard()
"""`guard.busy` is true while this thread is inside one of our handlers, and for ever on a listener's thread.

A record logged meanwhile (by httpx, by a finalizer that the garbage collector runs) is counted and goes no further:
no feedback loop, and no lock taken twice.
"""
