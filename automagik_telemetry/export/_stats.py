"""Delivery stats of one destination: exact counts of all events, across kills and processes.

Constraints: whatever interrupts a process (a signal handler that raises, SIGKILL), delivered + dropped by reason +
pending = logged, where pending are the events in segments on disk. Counting takes no system call.

Layout: each process counts on a page of its own, a file of 4 KiB in the destination's directory, mapped and locked
while the process lives. A later process adopts a free page and continues its counts. The totals of a destination are
the sum of its pages. All numbers are native 64-bit integers.

    word 0         magic number
    word 1         id of the segment that is being settled, or 0
    words 2 to 9   four pairs: word of a counter, and its value once that segment is settled
    byte 80        48 counters, each a name of 40 bytes and a number
    byte 2384      state of the worker, as JSON: endpoint, last success and error, failures in a row, next attempt

Invariants: a counter changes by one store of 8 bytes, so that a kill comes before or after it. Settling a segment
changes several counters: their new values are written first, and the segment counts as settled from the store of its ID
on. After a kill, the next process that adopts the page applies the pairs and deletes that segment.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Protocol

    from automagik_telemetry.export._held_file import HeldFile
    from automagik_telemetry.export._segment import Storage
    from automagik_telemetry.export.metrics import TracerMetrics

    class PageSource(Protocol):
        """A directory of pages of stats."""

        def stats_page(self) -> Page:
            """Return a page that no other process holds. Raises OSError."""
            raise NotImplementedError


PAGE_BYTES: Final = 4096
_MAGIC: Final = int.from_bytes(b"AMSTATS1", "little")
_SETTLING: Final = 1  # word
_PAIRS: Final = (2, 4, 6, 8)  # words
_COUNTERS: Final = 80  # byte
_NAME_BYTES: Final = 40
_COUNTER_BYTES: Final = _NAME_BYTES + 8
_MAX_COUNTERS: Final = 48
_STATE: Final = _COUNTERS + _MAX_COUNTERS * _COUNTER_BYTES  # byte
_DELIVERED: Final = "delivered"
_DROPPED: Final = "dropped."
_RECORDED: Final = "recorded."
_FIELD: Final = "field."
_REPORTED: Final = "reported."
_OTHER: Final = "other"
_MAX_FIELD_COUNTERS: Final = 12
"""Fields that are counted by name, so that there is room for all reasons."""


class WorkerState(TypedDict):
    """State of a worker, for other processes; times in Unix seconds."""

    at: float
    endpoint: str
    last_success: float | None
    last_error: str | None
    failures: int
    retry_at: float


_STATE_KINDS: Final[dict[str, Any]] = {
    "at": float | int,
    "endpoint": str,
    "last_success": float | int | None,
    "last_error": str | None,
    "failures": int,
    "retry_at": float | int,
}
_NO_STATE: Final = WorkerState(at=0.0, endpoint="", last_success=None, last_error=None, failures=0, retry_at=0.0)


class Totals(NamedTuple):
    """Counts of one destination over all processes, and the state of the worker that wrote last."""

    delivered: int
    dropped: dict[str, int]
    recorded: dict[str, int]
    """Counts of recorded, cut and sampled-out data of traces, by reason."""
    state: WorkerState
    dropped_fields: dict[str, int]
    """Counts of values that were dropped because they are not of the field's kind, by event and field."""
    reported: dict[str, int]
    """The part of the counts that events of the client's health have reported, by their field."""


class Counts(NamedTuple):
    """Counts of events: delivered, and dropped by reason."""

    delivered: int
    dropped: dict[str, int]


class Pending(NamedTuple):
    """Undelivered events of this process, of others, and their bytes."""

    own: int = 0
    recovered: int = 0
    bytes: int = 0


class Page:
    """A page of counters: in memory, or the content of a `file`, mapped or written at intervals."""

    def __init__(self, file: HeldFile | None = None, *, mapped: bool = False) -> None:
        """Adopt the page in `file`, or begin an empty one.

        Raises OSError if the disk is full.
        """
        self._file = file
        self._mapped = mapped
        content = b"" if file is None else file.read(PAGE_BYTES)
        if file is not None and len(content) < PAGE_BYTES:
            file.preallocate(PAGE_BYTES)
        self._buffer: Any = bytearray(PAGE_BYTES) if file is None or not mapped else _mapped(file)
        self._bytes = memoryview(self._buffer)
        self.words = self._bytes.cast("q")
        if file is not None and not mapped and len(content) == PAGE_BYTES:
            self._bytes[:] = content
        if self.words[0] != _MAGIC or min(self.words[_counter_words()]) < 0:
            self._bytes[:] = bytes(PAGE_BYTES)
            self.words[0] = _MAGIC
        _complete_settling(self.words)
        for pair in _PAIRS:
            self.words[pair] = 0
        self._index = dict(_named(self._bytes))
        self.before = self.counters()
        """The counters when this process adopted the page."""

    def word(self, name: str) -> int:
        """Return the word of the counter with this name, or of a shared one if there are too many names."""
        found = self._index.get(name)
        if found is not None:
            return found
        number = len(self._index)
        prefix, _, rest = name.partition(".")
        if rest != _OTHER and (
            number >= _MAX_COUNTERS - len((_DROPPED, _RECORDED, _FIELD, _REPORTED)) or self._is_surplus(name)
        ):
            return self.word(f"{prefix}.{_OTHER}")
        start = _COUNTERS + number * _COUNTER_BYTES
        encoded = name.encode("utf-8", "replace")[:_NAME_BYTES]
        self._bytes[start : start + _NAME_BYTES] = encoded.ljust(_NAME_BYTES, b"\0")
        self._index[name] = (start + _NAME_BYTES) // 8
        return self._index[name]

    def _is_surplus(self, name: str) -> bool:
        return name.startswith(_FIELD) and sum(other.startswith(_FIELD) for other in self._index) >= _MAX_FIELD_COUNTERS

    def counters(self) -> dict[str, int]:
        """Return the counters by name."""
        return {name: self.words[word] for name, word in self._index.items()}

    def write_state(self, state: WorkerState) -> None:
        """Write the state of the worker, unless it is too large."""
        text = json.dumps(state).encode()
        if len(text) <= PAGE_BYTES - _STATE:
            self._bytes[_STATE:] = text.ljust(PAGE_BYTES - _STATE)

    @property
    def in_file(self) -> bool:
        """True if the page outlives the process."""
        return self._file is not None

    @property
    def settling(self) -> int:
        """ID of the segment that was settled last; 0 if its file is known to be deleted."""
        return self.words[_SETTLING]

    def write_out(self) -> None:
        """Write a page that is not mapped to its file."""
        if self._file is not None and not self._mapped:
            with contextlib.suppress(OSError):
                self._file.write(bytes(self._bytes), 0)

    def close(self) -> None:
        """Close the page. Its counters stay in its file."""
        self.write_out()
        self._unmap()
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        """Close the page without unlocking its file, in the child of a fork."""
        self._unmap()
        if self._file is not None:
            self._file.abandon()

    def _unmap(self) -> None:
        self.words.release()
        self._bytes.release()
        if self._mapped:
            self._buffer.close()


def _mapped(file: HeldFile) -> Any:
    from automagik_telemetry.export._file_map import FileMap

    return FileMap(file.descriptor, PAGE_BYTES)


def _counter_words() -> slice:
    return slice((_COUNTERS + _NAME_BYTES) // 8, _STATE // 8, _COUNTER_BYTES // 8)


def _named(page: memoryview | bytes) -> Iterator[tuple[str, int]]:
    """Yield the name and the word of each counter that is in use."""
    for start in range(_COUNTERS, _STATE, _COUNTER_BYTES):
        name = bytes(page[start : start + _NAME_BYTES]).rstrip(b"\0").decode("utf-8", "replace")
        if not name:
            return
        yield name, (start + _NAME_BYTES) // 8


def _complete_settling(words: memoryview) -> None:
    """Complete the settling of a process that was killed. A second call has no effect."""
    if words[_SETTLING]:
        last = PAGE_BYTES // 8
        for pair in _PAIRS:
            if 0 < words[pair] < last:
                words[words[pair]] = words[pair + 1]


class DeliveryStats:
    """Counts of one sink in this process. The queue shares the `lock`, so that a snapshot of both is consistent.

    The lock is reentrant, because a finalizer or a signal handler may log at any moment. Until `attach` is called, the
    page is in memory.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin at zero, in memory: initially, and in the child of a fork, where a lost thread may hold the lock."""
        self.lock = threading.RLock()
        self._page = Page()
        self._recovered = Counts(0, {})
        """The part of the counts that is of events of other processes."""

    def attach(self, source: PageSource | None) -> None:
        """Continue on a page of the destination's directory, once; stay in memory if there is none."""
        if source is None or self._page.in_file:
            return
        try:
            page = source.stats_page()
        except OSError:
            return
        with self.lock:
            memory, moved = self._page, Counter[str]()
            try:
                self._move(memory, page, moved)
                self._page = page
            except BaseException:
                if self._page is memory:
                    for name in moved:
                        page.words[page.word(name)] = page.before.get(name, 0)
                    page.close()
                raise
            self._move(memory, page, moved)  # counts of a signal handler meanwhile

    @staticmethod
    def _move(memory: Page, page: Page, moved: Counter[str]) -> None:
        """Add the counts of a page to another, except those that were `moved` before."""
        for name, count in memory.counters().items():
            page.words[page.word(name)] += count - moved[name]
            moved[name] = count

    def drop(self, reason: str, events: int = 1) -> None:
        """Count dropped events."""
        with self.lock:
            word = self._page.word(_DROPPED + reason)
            self._page.words[word] += events

    def drop_field(self, event: str, field: str) -> None:
        """Count a value that was dropped because it is not of its field's kind; the event goes on without it."""
        name = f"{_FIELD}{event}.{field}".encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore")
        with self.lock:
            word = self._page.word(name)
            self._page.words[word] += 1

    def settle(self, segment_id: int, delivered: int, dropped: Mapping[str, int], *, recovered: bool = False) -> None:
        """Count the events of a segment whose file is deleted next; call `settled` after that.

        `recovered` events are of another process. Called with the lock held.
        """
        words = self._page.words
        words[_SETTLING] = 0
        after = [
            (word := self._page.word(name), words[word] + count)
            for name, count in _flat(Counts(delivered, dict(dropped)))
        ]
        for number, pair in enumerate(_PAIRS):
            words[pair], words[pair + 1] = after[number] if number < len(after) else (0, 0)
        words[_SETTLING] = segment_id
        for word, value in after:
            words[word] = value
        if recovered:
            known, losses = self._recovered
            added = {reason: losses.get(reason, 0) + count for reason, count in dropped.items()}
            self._recovered = Counts(known + delivered, losses | added)

    def settled(self) -> None:
        """Clear the segment that was settled last, because its file is deleted."""
        self._page.words[_SETTLING] = 0

    def record(self, counts: Mapping[str, int]) -> None:
        """Set the counts of recorded, cut and sampled-out data of this process."""
        with self.lock:
            for reason, count in counts.items():
                name = _RECORDED + reason
                self._page.words[self._page.word(name)] = self._page.before.get(name, 0) + count

    def report(self, counts: Mapping[str, int]) -> None:
        """Count what an event of the client's health reports."""
        with self.lock:
            for name, count in counts.items():
                word = self._page.word(_REPORTED + name)
                self._page.words[word] += count

    def own(self) -> Counts:
        """Return the counts of this process's own events."""
        with self.lock:
            counted = self._counted()
            known, losses = self._recovered
        dropped = {reason: count - losses.get(reason, 0) for reason, count in counted.dropped.items()}
        return Counts(counted.delivered - known, {reason: count for reason, count in dropped.items() if count})

    def dropped_fields(self) -> dict[str, int]:
        """Return how many values this process has dropped because they are not of their field's kind, by field."""
        with self.lock:
            return _without_prefix(_FIELD, self._change())

    def recovered(self) -> Counts:
        """Return the counts of other processes' events that this process has delivered or dropped."""
        return self._recovered

    def _change(self) -> dict[str, int]:
        return {name: count - self._page.before.get(name, 0) for name, count in self._page.counters().items()}

    def _counted(self) -> Counts:
        now = self._change()
        dropped = {name.removeprefix(_DROPPED): count for name, count in now.items() if name.startswith(_DROPPED)}
        return Counts(now.get(_DELIVERED, 0), dropped)

    def unlock(self) -> None:
        """Release the lock if an interrupt has left it held by this thread."""
        with contextlib.suppress(RuntimeError):  # it is not this thread's
            while True:
                self.lock.release()

    def write_state(self, state: WorkerState) -> None:
        """Write the state of the worker, for other processes."""
        self._page.write_state(state)

    def write_out(self) -> None:
        """Write a page that is not mapped to its file."""
        self._page.write_out()

    def abandon(self) -> None:
        """Begin at zero in the child of a fork, without changing the parent's page."""
        page = self._page
        self.reset()
        page.abandon()


def _flat(counts: Counts) -> Iterator[tuple[str, int]]:
    """Yield the counters that are not 0, by their names on a page."""
    if counts.delivered:
        yield _DELIVERED, counts.delivered
    for reason, count in counts.dropped.items():
        if count:
            yield _DROPPED + reason, count


def settling_id(page: bytes) -> int:
    """Return the ID of the segment that a page's process settles, or did when it was killed; 0 if there is none."""
    return memoryview(page).cast("q")[_SETTLING] if _is_page(page) else 0


def totals_of(pages: Iterator[bytes]) -> Totals:
    """Return the totals of a destination from the content of its pages. Malformed pages are ignored."""
    counters: Counter[str] = Counter()
    states: list[WorkerState] = []
    for content in filter(_is_page, pages):
        page = bytearray(content)
        with memoryview(page) as view, view.cast("q") as words:
            _complete_settling(words)
            counters.update({name: max(0, words[word]) for name, word in _named(view)})
        states.append(_state_of(content))
    state = max(states, key=lambda each: each["at"], default=_NO_STATE)
    successes = [each["last_success"] for each in states if each["last_success"] is not None]
    return Totals(
        counters[_DELIVERED],
        _without_prefix(_DROPPED, counters),
        _without_prefix(_RECORDED, counters),
        {**state, "last_success": max(successes, default=None)},
        _without_prefix(_FIELD, counters),
        _without_prefix(_REPORTED, counters),
    )


def _is_page(content: bytes) -> bool:
    return len(content) == PAGE_BYTES and memoryview(content).cast("q")[0] == _MAGIC


def _without_prefix(prefix: str, counters: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counters.items() if n and name.startswith(prefix)}


def _state_of(page: bytes) -> WorkerState:
    """Return the state of the worker on a page; an empty one if it is truncated or malformed."""
    try:
        found: Any = json.loads(page[_STATE:].rstrip(b" \0"))
    except ValueError:
        return _NO_STATE
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in _STATE_KINDS.items()):
        return _NO_STATE
    return cast("WorkerState", {key: found[key] for key in _STATE_KINDS})


def delivery_metrics(
    own: Counts, recovered: Counts, pending: Pending, storage: Storage | None, dropped_fields: dict[str, int]
) -> TracerMetrics:
    """Return the counts of a process for `get_metrics()`, with queued = processed + dropped + pending.

    Events of other processes that this one delivers or drops are counted separately, as `recovered`.
    `dropped_fields` are single values, by event and field. Their events are sent without them.
    """
    return {
        "queued": own.delivered + sum(own.dropped.values()) + pending.own,
        "processed": own.delivered,
        "dropped": sum(own.dropped.values()),
        "dropped_by_reason": own.dropped,
        "dropped_fields": dict(dropped_fields),
        "pending": pending.own,
        "pending_bytes": pending.bytes,
        "storage": storage,
        "recovered": {
            "processed": recovered.delivered,
            "dropped": sum(recovered.dropped.values()),
            "dropped_by_reason": {reason: count for reason, count in recovered.dropped.items() if count},
            "pending": pending.recovered,
        },
    }
