"""The account of one sink: queued = processed + dropped, by reason + pending, at any moment."""

from __future__ import annotations

import os
import threading
import weakref
from collections import defaultdict
from typing import TypedDict


class Account(TypedDict):
    """A snapshot: counts of events since the process started, or was forked."""

    queued: int
    processed: int
    dropped: int
    dropped_by_reason: dict[str, int]


class Ledger:
    """Counts what became of every event.

    `lock` also guards the queue that the ledger belongs to, so that an append costs one lock and a snapshot of both is
    consistent. It can be taken again by the thread that holds it, for a finalizer or a signal handler may log at any
    moment, also while this thread appends. The methods that end in `_locked` are for callers that hold it.
    """

    def __init__(self) -> None:
        self.reset()
        _ledgers.add(self)

    def reset(self) -> None:
        """Start anew, with a new lock: for the child of a fork, where the old one may be held by a lost thread."""
        self.lock = threading.RLock()
        self.queued = 0
        self.processed = 0
        self.dropped: defaultdict[str, int] = defaultdict(int)

    def enter_locked(self, events: int) -> None:
        """Count events that came into the queue; a negative number strikes as many from the account.

        A method, for nothing may be called between reading the count and writing it: there a signal handler may refuse.
        """
        self.queued += events

    def refuse(self, reason: str) -> None:
        """Count one event that was dropped before it reached the queue."""
        with self.lock:
            self.queued += 1
            self.dropped[reason] += 1

    def settle_locked(self, *, processed: int = 0, reason: str = "", dropped: int = 0) -> None:
        """Count events that leave the queue: accepted by the endpoint, or dropped for `reason`."""
        self.processed += processed
        if dropped:
            self.dropped[reason] += dropped

    def snapshot_locked(self) -> Account:
        """Return the account, without the events of the queue's open batch."""
        queued, processed, reasons = self.queued, self.processed, dict(self.dropped)  # at once, as in `enter_locked`
        return Account(queued=queued, processed=processed, dropped=sum(reasons.values()), dropped_by_reason=reasons)


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
