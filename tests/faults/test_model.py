"""A model of delivery beside the real thing: random lives and deaths of processes that share a folder of files.

The processes are pipelines without threads, each with locks, maps and files of its own; the endpoint, the disk and the
clock do as they are told. The model keeps one word for each event, and at the end all of them must have come true.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.faults.bench import REJECTED, RETRY, SUCCESS, TOO_LARGE, Bench, Sink
from tests.faults.sending import event_id, fragment, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.export._contract import ExportResult

PROCESSES = 3
DISTANCE = 17
"""Ids are multiples of this less one, so that no single damaged digit makes one of another."""


class Delivery(RuleBasedStateMachine):
    """`safe` events must arrive. `unsafe` ones may: they were damaged, or in the memory of a killed process."""

    @initialize()
    def begin(self) -> None:
        """An empty directory, an endpoint that accepts, a disk with free space."""
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.disk_full = False
        for name in ("posix_fallocate", "pwrite"):
            self.patch.setattr(os, name, self.unless_full(getattr(os, name)))
        self.sink = Sink(self.answer)
        self.mode = "accept"
        self.processes: list[Bench] = []
        self.memory: dict[int, set[str]] = {}
        self.number = 0
        self.safe: set[str] = set()
        self.unsafe: set[str] = set()
        self.rejected: set[str] = set()
        self.twice: set[str] = set()
        self.damaged: set[str] = set()
        self.flips = 0

    def unless_full(self, call: Callable[..., int]) -> Callable[..., int]:
        """Return a call that fails while the disk is full."""

        def checked(*arguments: int) -> int:
            if self.disk_full:
                raise OSError(errno.ENOSPC, "full")
            return call(*arguments)

        return checked

    def answer(self, found: list[str]) -> ExportResult:
        """Answer a request by the endpoint's behaviour."""
        if self.mode == "too large" and len(found) > 1:
            return TOO_LARGE
        if self.mode == "reject":
            self.rejected |= set(found)
            return REJECTED
        if self.mode == "lose the answer":
            self.sink.accepted += found
            self.twice |= set(found)
            return RETRY
        return RETRY if self.mode == "refuse" else SUCCESS

    @rule(mode=st.sampled_from(["accept", "refuse", "reject", "lose the answer", "too large"]))
    def endpoint(self, mode: str) -> None:
        """Set the behaviour of the endpoint."""
        self.mode = mode

    @rule(full=st.booleans())
    def disk(self, *, full: bool) -> None:
        """The disk becomes full, or has free space again."""
        self.disk_full = full

    @precondition(lambda self: len(self.processes) < PROCESSES)
    @rule(mapped=st.booleans())
    def start(self, *, mapped: bool) -> None:
        """A process starts, on a file system that can be mapped or not."""
        made = Bench(self.folder / "state", self.sink, segment_bytes=4096, max_export_batch_size=5)
        made.pipeline.queue._buffered = not mapped
        self.processes.append(made)
        self.memory[id(made)] = set()

    def some(self, draw: int) -> Bench:
        """Return one of the processes."""
        return self.processes[draw % len(self.processes)]

    @precondition(lambda self: self.processes)
    @rule(draw=st.integers(0), count=st.integers(1, 12), padding=st.integers(0, 800))
    def log(self, draw: int, count: int, padding: int) -> None:
        """A process logs events; on a mapped segment they are safe at once."""
        process = self.some(draw)
        for _ in range(count):
            each = self.number * DISTANCE
            self.number += 1
            process.pipeline.queue.append(line(each, padding))
            queue = process.pipeline.queue
            mapped = queue._segments[-1].storage == "mapped"
            (self.safe if mapped else self.memory[id(process)]).add(event_id(each))

    @precondition(lambda self: self.processes)
    @rule(draw=st.integers(0), seconds=st.sampled_from([0.0, 5.0, 300.0]))
    def listen(self, draw: int, seconds: float) -> None:
        """Run the tick of a process's worker, which writes buffered events unless the disk is full."""
        process = self.some(draw)
        process.pass_time(seconds)
        if not self.disk_full:
            self.keep(process)

    def keep(self, process: Bench) -> None:
        """Buffered events are on disk, except those in segments begun while the disk was full."""
        in_memory = {
            event
            for segment in process.pipeline.queue._segments
            if segment.storage == "memory"
            for event in self.memory[id(process)]
            if event.encode() in segment._map[:]
        }
        self.safe |= self.memory[id(process)] - in_memory
        self.memory[id(process)] = in_memory

    @precondition(lambda self: self.processes)
    @rule(draw=st.integers(0))
    def end(self, draw: int) -> None:
        """A process ends as it should."""
        process = self.some(draw)
        self.processes.remove(process)
        process.pipeline.queue.release()
        if not self.disk_full:
            self.keep(process)
        self.unsafe |= self.memory.pop(id(process))
        process.pipeline.queue.abandon()

    @precondition(lambda self: self.processes)
    @rule(draw=st.integers(0), torn=st.integers(0, 200))
    def kill(self, draw: int, torn: int) -> None:
        """A process dies at any byte of an append."""
        process = self.some(draw)
        self.processes.remove(process)
        segment = process.pipeline.queue._open
        event = fragment(each := self.number * DISTANCE)
        if segment is not None and segment.storage == "mapped" and segment.size + 200 < segment._room:
            self.number += 1
            segment.append(event[:torn])
            self.unsafe.add(event_id(each))
        self.unsafe |= self.memory.pop(id(process))
        process.pipeline.queue.abandon()

    def orphan(self, draw: int) -> Path | None:
        """Return a free file that is not damaged yet."""
        queues = [each.pipeline.queue for each in self.processes]
        segments = [segment for queue in queues for segment in queue._segments]
        held = {segment.file.path for segment in segments if segment.file is not None}
        files = [path for path in sorted((self.folder / "state").rglob("[0-9]*.json")) if str(path) not in held]
        files = [path for path in files if path.name not in self.damaged]
        if not files:
            return None
        path = files[draw % len(files)]
        self.damaged.add(path.name)
        return path

    @rule(draw=st.integers(0), place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
    def flip(self, draw: int, place: float, mask: int) -> None:
        """Bits of a byte change in a file that waits; only the event around that byte may suffer."""
        if (path := self.orphan(draw)) is not None and (content := bytearray(path.read_bytes())):
            position = int(place * len(content))
            start = content.rfind(b"\n", 0, position) + 1
            end = content.find(b"\n", position) % (len(content) + 1)
            self.flips += 1
            self.doubt(content[start:end] if content[position] != ord("\n") else b"")
            content[position] ^= mask
            path.write_bytes(content)

    @rule(draw=st.integers(0), place=st.floats(0, 1))
    def cut(self, draw: int, place: float) -> None:
        """Truncate a queued file; whole events in the rest must arrive."""
        if (path := self.orphan(draw)) is not None:
            content = path.read_bytes()
            length = int(place * len(content))
            self.doubt(content[content.rfind(b"\n", 0, length) + 1 :])
            os.truncate(path, length)

    def doubt(self, content: bytes | bytearray) -> None:
        """Expect no more of the events in this part of a file."""
        gone = {event for event in self.safe if event.encode() in content}
        self.safe -= gone
        self.unsafe |= gone

    @invariant()
    def metrics_add_up(self) -> None:
        """In every process, at any moment; and nothing that was accepted comes again without a reason."""
        for process in getattr(self, "processes", ()):
            process.metrics()

    def teardown(self) -> None:
        """Let the endpoint accept, and one more process send the remaining events."""
        if not hasattr(self, "folder"):
            return
        try:
            self.disk_full, self.mode = False, "accept"
            self.start(mapped=True)
            for process in (*self.processes, self.processes[-1]):
                process.pass_time(300.0)
                process.pass_time(300.0)
                assert process.metrics()["pending"] == 0
            memory = set().union(*self.memory.values())
            arrived = Counter(self.sink.accepted)
            assert (self.safe | memory) - self.rejected <= set(arrived), "lost"
            assert {event for event, times in arrived.items() if times > 1} <= self.twice, "twice without a reason"
            altered = set(arrived) - self.safe - self.unsafe - memory
            assert len(altered) <= self.flips, "from nowhere"
            assert list((self.folder / "state").rglob("*.json")) == []
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(stateful_step_count=40)
