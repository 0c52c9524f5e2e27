"""Delivery stats of one destination: what became of every event, counted exactly, through kills and across processes.

Constraints: whatever interrupts a process (a signal handler that raises, SIGKILL), delivered + dropped by reason +
pending = logged, where pending is what the segments on disk hold. Counting takes no system call.

Layout: each process counts on a page of its own, a file of 4 KiB in the destination's folder, mapped and locked while
the process lives. The next process takes over a page that is free and goes on counting on it, so that nothing is ever
added up on disk; the totals of a destination are the sum of its pages. All numbers are native 64-bit integers.

    word 0         magic number
    word 1         id of the segment that is being settled, or 0
    words 2 to 9   four pairs: word of a counter, and its value once that segment is settled
    byte 80        48 counters, each a name of 40 bytes and a number
    byte 2384      state of the worker, as JSON: endpoint, last success and error, failures in a row, next attempt

Invariants: a counter changes by one store of 8 bytes, so that a kill finds it before or after. Settling a segment
changes several: their new values are written first, and the store of the segment's id is the moment from which on it
counts as settled. After a kill, whoever takes over the page completes what the pairs say, and deletes that segment.
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

    class PageSource(Protocol):
        """A folder that has pages to count on."""

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
_OTHER: Final = "other"


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
    """Counts of one destination, of all processes so far, and the state of the worker that wrote last."""

    delivered: int
    dropped: dict[str, int]
    recorded: dict[str, int]
    """Counts of what was recorded, cut or sampled out before it was logged, by reason; of traces."""
    state: WorkerState


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
    """A page of counters: in memory, or the content of a `file`, mapped or written now and then."""

    def __init__(self, file: HeldFile | None = None, *, mapped: bool = False) -> None:
        """Take over the page in `file`, or begin an empty one.

        Raises OSError if the disk has no room for it.
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
        """The counters when this process took the page over."""

    def word(self, name: str) -> int:
        """Return the word of the counter with this name; of one for the rest if there are too many."""
        found = self._index.get(name)
        if found is not None:
            return found
        number = len(self._index)
        prefix, _, rest = name.partition(".")
        if number >= _MAX_COUNTERS - len((_DROPPED, _RECORDED)) and rest != _OTHER:
            return self.word(f"{prefix}.{_OTHER}")
        start = _COUNTERS + number * _COUNTER_BYTES
        encoded = name.encode("utf-8", "replace")[:_NAME_BYTES]
        self._bytes[start : start + _NAME_BYTES] = encoded.ljust(_NAME_BYTES, b"\0")
        self._index[name] = (start + _NAME_BYTES) // 8
        return self._index[name]

    def counters(self) -> dict[str, int]:
        """Return the counters by name."""
        return {name: self.words[word] for name, word in self._index.items()}

    def write_state(self, state: WorkerState) -> None:
        """Write the state of the worker; one that has no room is left as it was."""
        text = json.dumps(state).encode()
        if len(text) <= PAGE_BYTES - _STATE:
            self._bytes[_STATE:] = text.ljust(PAGE_BYTES - _STATE)

    @property
    def in_file(self) -> bool:
        """Whether the page outlives the process."""
        return self._file is not None

    @property
    def settling(self) -> int:
        """Id of the segment that was being settled last; 0 if its file is known to be gone."""
        return self.words[_SETTLING]

    def write_out(self) -> None:
        """Write a page that is not mapped to its file."""
        if self._file is not None and not self._mapped:
            with contextlib.suppress(OSError):
                self._file.write(bytes(self._bytes), 0)

    def close(self) -> None:
        """Let go of the page; what it holds stays in its file."""
        self.write_out()
        self._unmap()
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        """Let go of the page without ending the lock, in the child of a fork."""
        self._unmap()
        if self._file is not None:
            self._file.abandon()

    def _unmap(self) -> None:
        self.words.release()
        self._bytes.release()
        if self._mapped:
            self._buffer.close()


def _mapped(file: HeldFile) -> Any:  # noqa: ANN401 - a buffer, which typeshed has no name for before Python 3.12
    from automagik_telemetry.export._file_map import FileMap  # noqa: PLC0415 - only a process that counts on disk

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
    """Complete what a process that was killed had begun to settle; done twice, it changes nothing."""
    if words[_SETTLING]:
        last = PAGE_BYTES // 8
        for pair in _PAIRS:
            if 0 < words[pair] < last:
                words[words[pair]] = words[pair + 1]


class DeliveryStats:
    """Counts of one sink in this process; `lock` is the queue's too, so that a snapshot of both is consistent.

    The lock can be taken again by the thread that holds it, because a finalizer or a signal handler may log at any
    moment. Until `attach` is called, the page is in memory.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin at zero, in memory: at first, and in the child of a fork, where a lost thread may hold the lock."""
        self.lock = threading.RLock()
        self._page = Page()
        self._recovered = Counts(0, {})
        """What of the counts concerns events of other processes."""

    def attach(self, source: PageSource | None) -> None:
        """Go on counting on a page of the destination's folder, once; in memory if there is none, or no room."""
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
            self._move(memory, page, moved)  # what a signal handler has counted meanwhile

    @staticmethod
    def _move(memory: Page, page: Page, moved: Counter[str]) -> None:
        """Add to a page what another has counted beyond what was `moved`."""
        for name, count in memory.counters().items():
            page.words[page.word(name)] += count - moved[name]
            moved[name] = count

    def drop(self, reason: str, events: int = 1) -> None:
        """Count events that were dropped before they reached the queue, or in it."""
        with self.lock:
            word = self._page.word(_DROPPED + reason)
            self._page.words[word] += events

    def settle(self, segment_id: int, delivered: int, dropped: Mapping[str, int], *, recovered: bool = False) -> None:
        """Count the events of a segment, whose file is to be deleted next; then call `settled`.

        `recovered` events are another process's. To be called with the lock held.
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
        """Forget the segment that was settled last, because its file is gone."""
        self._page.words[_SETTLING] = 0

    def record(self, counts: Mapping[str, int]) -> None:
        """Set the counts of what was recorded, cut or sampled out in this process before it was logged."""
        with self.lock:
            for reason, count in counts.items():
                name = _RECORDED + reason
                self._page.words[self._page.word(name)] = self._page.before.get(name, 0) + count

    def own(self) -> Counts:
        """Return the counts of this process's own events."""
        with self.lock:
            counted = self._counted()
            known, losses = self._recovered
        dropped = {reason: count - losses.get(reason, 0) for reason, count in counted.dropped.items()}
        return Counts(counted.delivered - known, {reason: count for reason, count in dropped.items() if count})

    def recovered(self) -> Counts:
        """Return the counts of other processes' events that this one has delivered or dropped."""
        return self._recovered

    def _counted(self) -> Counts:
        now = {name: count - self._page.before.get(name, 0) for name, count in self._page.counters().items()}
        dropped = {name.removeprefix(_DROPPED): count for name, count in now.items() if name.startswith(_DROPPED)}
        return Counts(now.get(_DELIVERED, 0), dropped)

    def unlock(self) -> None:
        """Let go of the lock if an interrupt has left it taken by this thread."""
        with contextlib.suppress(RuntimeError):  # it is not this thread's
            while True:
                self.lock.release()

    def write_state(self, state: WorkerState) -> None:
        """Write the state of the worker, for other processes."""
        self._page.write_state(state)

    def write_out(self) -> None:
        """Write what is not mapped to its file."""
        self._page.write_out()

    def abandon(self) -> None:
        """Begin at zero without touching the parent's page, in the child of a fork."""
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
    """Return the id of the segment that a page's owner is settling, or was when it was killed; 0 if there is none."""
    return memoryview(page).cast("q")[_SETTLING] if _is_page(page) else 0


def totals_of(pages: Iterator[bytes]) -> Totals:
    """Return the totals of a destination from the content of all its pages; what is not a page counts as none."""
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
    )


def _is_page(content: bytes) -> bool:
    return len(content) == PAGE_BYTES and memoryview(content).cast("q")[0] == _MAGIC


def _without_prefix(prefix: str, counters: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counters.items() if n and name.startswith(prefix)}


def _state_of(page: bytes) -> WorkerState:
    """Return the state of the worker that a page holds; an empty one if it is torn or malformed."""
    try:
        found: Any = json.loads(page[_STATE:].rstrip(b" \0"))
    except ValueError:
        return _NO_STATE
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in _STATE_KINDS.items()):
        return _NO_STATE
    return cast("WorkerState", {key: found[key] for key in _STATE_KINDS})


def delivery_metrics(own: Counts, recovered: Counts, pending: Pending, storage: str | None) -> dict[str, Any]:
    """Return the counts of a process as `get_metrics()` has them, with queued = processed + dropped + pending.

    `recovered` are events that other processes left, which this one delivers or drops; they are counted apart.
    """
    return {
        "queued": own.delivered + sum(own.dropped.values()) + pending.own,
        "processed": own.delivered,
        "dropped": sum(own.dropped.values()),
        "dropped_by_reason": own.dropped,
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
