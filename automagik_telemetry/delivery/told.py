"""What the processes of a destination have told of it, for those who only look: one small file beside its segments.

It holds counts, times and the last error, and nothing of any event. A listener adds to it after each request, so that
it lags behind a process's own account, and lacks what a process that was killed did not come to tell.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TypedDict, cast

import orjson

from automagik_telemetry.private_files import open_private

if TYPE_CHECKING:
    from automagik_telemetry.delivery.ledger import Ledger

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows: there is no folder either
    fcntl = None  # type: ignore[assignment]

_NAME = "account"
_LIMIT = 65_536


class Told(TypedDict, total=False):
    """Counts of events; times in Unix seconds. `retry_at` is when the next attempt may be, if the last one failed."""

    endpoint: str
    processed: int
    dropped: dict[str, int]
    last_success: float | None
    last_error: str | None
    failures: int
    retry_at: float


class Teller:
    """One process's part in the file: tells what its ledger has counted since it last did."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, _NAME)
        self.reset()

    def reset(self) -> None:
        """Count from nothing, as the ledger does in the child of a fork."""
        self._processed = 0
        self._dropped: dict[str, int] = {}

    def tell(self, ledger: Ledger, now: Told) -> None:
        """Add to the file; if it can't be locked or written, the next time will do. Raises nothing."""
        with ledger.lock:
            processed, dropped = ledger.processed, dict(ledger.dropped)
        with contextlib.suppress(OSError):
            descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink != 1:  # it is another file as well
                    return
                before = _parse(os.pread(descriptor, _LIMIT, 0))
                counts = before.get("dropped", {})
                for reason, count in dropped.items():
                    counts[reason] = counts.get(reason, 0) + count - self._dropped.get(reason, 0)
                after = before | now
                after["processed"] = before.get("processed", 0) + processed - self._processed
                after["dropped"] = counts
                after["last_success"] = now.get("last_success") or before.get("last_success")
                text = orjson.dumps(after)
                os.pwrite(descriptor, text, 0)
                os.ftruncate(descriptor, len(text))
            finally:
                os.close(descriptor)
            self._processed, self._dropped = processed, dropped


def read_told(directory: str) -> Told:
    """Return what the file in a destination's folder says; empty if there is none, or none of ours."""
    try:
        descriptor = open_private(os.path.join(directory, _NAME), os.O_RDONLY)
    except OSError:
        return Told()
    try:
        return _parse(os.read(descriptor, _LIMIT))
    finally:
        os.close(descriptor)


def _parse(text: bytes) -> Told:
    """Return what a file holds, as far as it is what it should be: it may be torn, or someone's joke."""
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Told()
    kinds: dict[str, Any] = {
        "endpoint": str,
        "processed": int,
        "dropped": dict,
        "last_success": float | None,
        "last_error": str | None,
        "failures": int,
        "retry_at": float | int,
    }
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kinds[key]) for key in kinds):
        return Told()
    found["dropped"] = {str(reason): count for reason, count in found["dropped"].items() if isinstance(count, int)}
    return cast("Told", {key: found[key] for key in kinds})
