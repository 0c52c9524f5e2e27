"""Collects the spans of open traces within bounds, and logs a trace as one event when its root has ended.

What a limit cuts is marked in the trace and counted here; nothing is raised.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from automagik_telemetry.handlers._log_event import is_enabled, log_event
from automagik_telemetry.handlers._loggers import TRACE_LOGGER
from automagik_telemetry.tracing._limits import plain_trace, weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.tracing._types import RecordedSpan, Sampler, SamplingDecision

CUT = "[cut: the trace holds too much]"
_MAX_UNCOUNTED = 1_000


class TraceLimits(NamedTuple):
    """Bounds on what is held until a trace is logged."""

    max_spans: int = 500
    """Spans in one trace."""
    max_open_traces: int = 2_000
    """Traces that are open at the same time in this process."""
    max_trace_characters: int = 4_000_000
    """Characters that the spans of one open trace refer to, about."""
    max_open_characters: int = 64_000_000
    """The same for all open traces together."""
    max_age: float = 24 * 86_400.0
    """Age of a span in seconds: receivers refuse old ones, and a week may pass in the queue."""


class OpenTrace:
    """The spans of one trace in this process. `recorder` is None for one that is not recorded."""

    __slots__ = (
        "characters",
        "complete",
        "decision",
        "joined",
        "metadata",
        "pid_generation",
        "recorder",
        "spans",
        "trace_id",
        "truncated",
    )

    def __init__(self, recorder: Recorder | None, trace_id: str) -> None:
        self.recorder = recorder
        self.trace_id = trace_id
        self.joined = False
        """Whether it began in another process, or in another trace's part that has been logged."""
        self.spans: list[RecordedSpan] = []
        self.characters = 0
        self.truncated = 0
        self.complete = False
        self.metadata: dict[str, Any] = {}
        self.decision: SamplingDecision | None = None
        """Decided before the end, if it was."""
        self.pid_generation = _generation

    @property
    def mine(self) -> bool:
        """Whether spans can still be added: it is not logged yet, and not that of a parent process."""
        return not self.complete and self.pid_generation == _generation

    @property
    def root(self) -> RecordedSpan | None:
        """The first span, while the trace is open."""
        return self.spans[0] if self.spans else None

    def __del__(self) -> None:
        """Count a trace whose root nobody has ended."""
        if self.complete or self.recorder is None:
            return
        try:
            if self.mine:
                self.recorder.forget(self)
        except Exception:  # noqa: BLE001, S110 - while the interpreter ends, anything may be gone
            pass


class Recorder:
    """Holds the open traces of a process to their limits, and completes them. Methods are for any thread.

    What every trace passes takes no lock, which costs more than all else that is done there: it is one step of a dict
    or a deque, which no other thread can come between.
    """

    def __init__(
        self,
        sampler: Sampler,
        limits: TraceLimits | None = None,
        warm_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`warm_up` is called when the first trace of a process begins."""
        self.sampler = sampler
        self._warm_up = warm_up
        self._logger = logging.getLogger(TRACE_LOGGER)
        self.limits = limits or TraceLimits()
        self.reset()
        _recorders.add(self)

    def reset(self) -> None:
        """Begin with nothing open and a new lock: at first, and in the child of a fork."""
        self.lock = threading.RLock()  # a finalizer may complete a trace while this thread holds it
        self._cold = True
        self._open: dict[int, bool] = {}
        """The open traces, by the identity of each; whoever takes one out completes it."""
        self._counts: Counter[str] = Counter()
        self._uncounted: deque[tuple[str, int]] = deque()
        self.characters = 0

    def begin(self, trace_id: str, *, joined: bool) -> OpenTrace:
        """Return a new trace; one that records nothing if too many are open."""
        trace = OpenTrace(self, trace_id)
        if joined:
            trace.joined = True
        opened = self._open
        opened[id(trace)] = True
        if len(opened) > self.limits.max_open_traces:
            del opened[id(trace)]
            self.count("too_many_open_traces")
            trace.recorder = None
        elif self._cold:
            self._cold = False
            self._warm_up()
        return trace

    def add(self, trace: OpenTrace, span: RecordedSpan) -> bool:
        """Add a span to its trace; False if that one is full."""
        with self.lock:
            if len(trace.spans) < self.limits.max_spans:
                trace.spans.append(span)
                return True
            trace.truncated += 1
        self.count("truncated_spans")
        return False

    def hold(self, trace: OpenTrace, value: object) -> object:
        """Return what a span may keep of a value until the trace is logged: a mark if there is no room for it.

        A list or dict is copied, one level deep, for whoever it belongs to may go on to fill it.
        """
        if value is None or not trace.mine:
            return value
        size = weight(value)
        with self.lock:
            fits = (
                trace.characters + size <= self.limits.max_trace_characters
                and self.characters + size <= self.limits.max_open_characters
            )
            if fits:
                trace.characters += size
                self.characters += size
        if not fits:
            self.count("cut_values")
            return CUT
        kind = type(value)
        return value.copy() if kind is list or kind is dict else value  # type: ignore[attr-defined] # known by its type

    def forget(self, trace: OpenTrace) -> None:
        """Count a trace that will never be complete."""
        if self._close(trace):
            self.count("abandoned")

    def complete(self, trace: OpenTrace, root: RecordedSpan) -> None:
        """Decide on a trace whose root has ended, and log it if it is kept."""
        if not self._close(trace):
            return
        spans, trace.spans = trace.spans, []
        ended = root.ended or time.time()
        failed, expired, oldest = False, 0, time.time() - self.limits.max_age
        for span in spans:
            if span.error is not None:
                failed = True
            if span.start < oldest:
                expired += 1
        decision = trace.decision
        if decision is None:
            took = (ended - root.start) * 1000
            decision = trace.decision = self.sampler.decide(
                root.name, trace.trace_id, is_error=failed, duration_ms=took, joined=trace.joined
            )
        if not decision.should_sample:
            self.count(decision.reason)
            return
        if expired:
            self.count("expired_spans", expired)
            spans = [span for span in spans if span.start >= oldest]
        try:
            self._log(trace, spans, ended, decision, logging.ERROR if failed else logging.INFO)
        except Exception:  # noqa: BLE001 - nothing of ours reaches the application as an exception
            self.count("failed")

    def metrics(self) -> dict[str, int]:
        """Return how many traces are open and were logged, and how many of what was cut or dropped, by reason."""
        with self.lock:
            self._add_up()
            return {"open_traces": len(self._open), "open_characters": self.characters, **self._counts}

    def count(self, reason: str, number: int = 1) -> None:
        """Count what was logged, dropped or cut, by reason."""
        self._uncounted.append((reason, number))
        if len(self._uncounted) > _MAX_UNCOUNTED:
            with self.lock:
                self._add_up()

    def _add_up(self) -> None:
        uncounted, counts = self._uncounted, self._counts
        with contextlib.suppress(IndexError):
            while True:
                reason, number = uncounted.popleft()
                counts[reason] += number

    def _close(self, trace: OpenTrace) -> bool:
        """Let a trace be complete; False if it was, or is that of a parent process."""
        if self._open.pop(id(trace), False) and trace.pid_generation == _generation:
            trace.complete = True
            if trace.characters:
                with self.lock:
                    self.characters -= trace.characters
            return True
        return False

    def _log(
        self, trace: OpenTrace, spans: list[RecordedSpan], ended: float, decision: SamplingDecision, level: int
    ) -> None:
        """Log a trace as one record of plain data."""
        self.count("traces")
        if not spans:
            return
        if not is_enabled(self._logger, level):
            return
        event = self._rendered(trace, spans, ended, decision)
        with contextlib.suppress(Exception):  # a handler that an application has put there
            log_event(self._logger, level, "trace", event, is_trace=True)

    def _rendered(
        self, trace: OpenTrace, spans: list[RecordedSpan], ended: float, decision: SamplingDecision
    ) -> dict[str, Any]:
        bounds = plain_trace()
        event: dict[str, Any] = {
            "trace_id": trace.trace_id,
            "sample_rate": decision.sample_rate,
            "sample_reason": decision.reason,
            "truncated_spans": trace.truncated,
        }
        if trace.metadata:
            event["metadata"] = bounds.value(trace.metadata)
        event["spans"] = [span.rendered(bounds, ended) for span in spans]
        for reason, number in bounds.bad.items():
            self.count(reason, number)
        return event


_generation = 0
"""Changes in the child of a fork, to which the open traces don't belong."""
_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    global _generation  # noqa: PLW0603 - one per process
    _generation += 1
    for recorder in list(_recorders):
        recorder.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
