"""Collects the spans of open traces within limits, and logs a trace as one event when its root has ended.

A span's structure (names, IDs, model, tokens, cost, error) has limits of its own, which keep it whole. Of the content,
which has other limits, the oldest is cut first, except for the root's. What is cut or dropped is counted in the trace
and here. Nothing is raised.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from automagik_processors._bounded import Bounded, Bounds, cut, weight
from automagik_processors._dropped_spans import Totals
from automagik_processors._ids import FreshIds
from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import at_fork, kept
from automagik_telemetry.handlers._log_event import log_event
from automagik_telemetry.handlers._loggers import TRACE_LOGGER, own
from automagik_telemetry.tracing._beginning import Beginning

if TYPE_CHECKING:
    from automagik_telemetry.tracing._conversation import Conversation
    from automagik_telemetry.tracing._scope import Scope

_MAX_UNCOUNTED = 1_000
MAX_DEPTH: Final = 12
"""Levels of containers in one value."""
MAX_NODES: Final = 50_000
"""Values in the content of one trace."""
MAX_TEXT: Final = 100_000
"""Characters of one string."""
MAX_TRACE: Final = 1_000_000
"""Characters of all strings in the content of one trace."""
MAX_NAME: Final = 256
"""Characters of the name of a span."""
MAX_ERROR: Final = 4_000
"""Characters of an error's message."""

_KEEP_AFTER: Final = 0.01
"""Seconds until the ended spans of an open trace are kept."""
_KEEP_AT_ONCE: Final = 50
"""Spans that are kept at once, because this takes the application's time."""
_KEEP_SHARE: Final = 0.05
"""The largest share of a trace's time that is spent on keeping its spans."""


class TraceLimits(NamedTuple):
    """Limits of the data of traces until they are logged."""

    max_spans: int = 2_000
    """Spans in one trace. Beyond it, a span that failed replaces one that did not, and the tokens and costs of dropped
    spans are added up."""
    max_open_traces: int = 2_000
    """Traces that are open at the same time in this process."""
    max_trace_characters: int = 4_000_000
    """Approximate number of characters in the inputs and outputs of one open trace. Beyond it the oldest go."""
    max_open_characters: int = 64_000_000
    """The same for all open traces together."""
    max_age: float = 24 * 86_400.0
    """Age of a span in seconds. Receivers reject old ones, and a trace may wait in the queue for a week."""


class SamplingDecision(NamedTuple):
    """A sampling decision, with its reason and rate. A kept trace counts as 1 / `sample_rate` traces.

    Args:
        should_sample: Whether the trace is kept.
        reason: The reason, such as "error", "slow", "first_occurrence" or "not_sampled".
        sample_rate: The sampling rate of such traces, from 0 to 1. The default is 1.
    """

    should_sample: bool
    reason: str
    sample_rate: float = 1.0


class Sampler(Protocol):
    """Decides whether a trace that has ended is kept."""

    def decide(
        self, trace_type: str, trace_id: str, *, is_error: bool, duration_ms: float | None, joined: bool
    ) -> SamplingDecision:
        """Return the decision for a trace, by its ID; the duration is in milliseconds."""
        raise NotImplementedError


class RecordedSpan(Protocol):
    """A span of an open trace."""

    name: str
    type: str
    span_id: str
    parent_span_id: str | None
    start: float
    ended: float | None
    error: dict[str, Any] | None
    recorded: bool
    lost: int

    def rendered(self, bounds: TraceBounds, ended: float) -> dict[str, Any]:
        """Return the span as plain data."""
        raise NotImplementedError

    def measures(self) -> dict[str, Any]:
        """Return its model, tokens, cost and times."""
        raise NotImplementedError

    def open_ancestors(self) -> list[Any]:
        """Return the spans of the trace around it that have not ended, without the root."""
        raise NotImplementedError


class TraceBounds(NamedTuple):
    """The limits of one trace's data when it is logged."""

    structure: Bounded
    """Large enough for the structure of all spans."""
    content: Bounded


Part = Beginning | dict[str, Any]
"""A part of an open trace: its root when it begins, or spans as an event."""
Discard = Callable[[], None]
"""Discards what was kept of a trace."""


class _Kept:
    """The part of an open trace that is kept for the next process, which sends it if this one dies."""

    __slots__ = ("discards", "ended", "sample_rate", "seconds", "unfinished")

    def __init__(self, sample_rate: float, discards: list[Discard]) -> None:
        self.sample_rate = sample_rate
        self.discards = discards
        """Of the root and of ended spans."""
        self.ended: list[RecordedSpan] = []
        """Spans that have ended, and are not kept yet."""
        self.unfinished: dict[str, list[Discard]] = {}
        """Of spans that have not ended but enclose kept ones, by ID."""
        self.seconds = 0.0
        """The time that it took to keep spans."""

    def discard(self) -> None:
        """Discard it all, because the trace has ended."""
        for discards in (self.discards, *self.unfinished.values()):
            _discard(discards)


class OpenTrace:
    """The spans of one trace in this process. `recorder` is None for a trace that is not recorded."""

    __slots__ = (
        "characters",
        "complete",
        "conversations",
        "decision",
        "held",
        "joined",
        "kept",
        "link",
        "metadata",
        "pid_generation",
        "recorder",
        "scope",
        "spans",
        "spare",
        "totals",
        "trace_id",
    )

    def __init__(self, recorder: Recorder | None, trace_id: str) -> None:
        self.recorder = recorder
        self.trace_id = trace_id
        self.joined = False
        """True if it began in another process, or continues a trace that has been logged."""
        self.scope: Scope | None = None
        """The request that it is part of, at whose end it is decided on."""
        self.link: tuple[str, str] | None = None
        """The trace ID and span ID of the span that it was started in, if that is of another trace."""
        self.spans: list[RecordedSpan] = []
        self.characters = 0
        self.held: deque[tuple[RecordedSpan, str, int]] | None = None
        """The inputs and outputs that are kept, the oldest first, without the root's: span, field and size."""
        self.conversations: dict[str | None, Conversation] = {}
        """The last request to a model, by the ID of the span that made it."""
        self.totals: Totals | None = None
        """The sums of the spans beyond the limit."""
        self.spare = 1
        """The place of the first span that a failed one may replace."""
        self.complete = False
        self.metadata: dict[str, Any] = {}
        self.decision: SamplingDecision | None = None
        """The decision, if it was made before the end."""
        self.pid_generation = _generation
        self.kept: _Kept | None = None
        """The part of it that the next process sends if this one dies."""

    @property
    def accepts_spans(self) -> bool:
        """True while spans can be added: the trace is not logged yet, and not a parent process's."""
        return not self.complete and self.pid_generation == _generation

    @property
    def root(self) -> RecordedSpan | None:
        """The first span, while the trace is open."""
        return self.spans[0] if self.spans else None

    def __del__(self) -> None:
        """Count a trace whose root was never ended."""
        if self.complete or self.recorder is None:
            return
        try:
            if self.accepts_spans:
                self.recorder.abandon(self)
        except Exception:  # noqa: S110 - at the end of the interpreter, any module may be gone
            pass


class Recorder:
    """Enforces the limits of open traces, and completes them. Its methods are thread-safe.

    The common path takes no lock, which would cost more than all of its work. It uses single steps of a dict or a
    deque, which other threads can't interrupt.
    """

    def __init__(
        self,
        sampler: Sampler,
        limits: TraceLimits | None = None,
        warm_up: Callable[[], None] = lambda: None,
        keep: Callable[[Part], list[Discard]] = lambda _part: [],
    ) -> None:
        """`warm_up` is called when the first trace of a process begins.

        `keep` is called with the beginning of each trace, and with the spans so far of one that takes longer.
        """
        self.sampler = sampler
        self._keep = keep
        self._warm_up = warm_up
        self._logger = own(TRACE_LOGGER)
        self.limits = limits or TraceLimits()
        self.reset()
        _recorders.add(self)

    def reset(self) -> None:
        """Begin without open traces and with a new lock: initially, and in the child of a fork."""
        self.lock = threading.RLock()  # a finalizer may complete a trace while this thread holds it
        self._cold = True
        self._open: dict[int, bool] = {}
        """The open traces by identity. The thread that removes one completes it."""
        self._counts: Counter[str] = Counter()
        self._uncounted: deque[tuple[str, int]] = deque()
        self.characters = 0

    def begin(self, trace_id: str, *, joined: bool) -> OpenTrace:
        """Return a new trace, which is not recorded if too many are open."""
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

    def keep(self, trace: OpenTrace, root: RecordedSpan) -> None:
        """Keep the root of a trace that begins, for the next process to send if this one dies before its end."""
        attempt(self._keep_root, trace, root)

    def _keep_root(self, trace: OpenTrace, root: RecordedSpan) -> None:
        name, kind = (value if type(value) is str else text_of(value) for value in (root.name, root.type))
        decision = self._decision(trace, root, is_error=True)
        if not decision.should_sample:
            return
        ids = trace.trace_id, root.span_id, root.parent_span_id
        beginning = Beginning(name[:MAX_NAME], kind, decision.sample_rate, *ids, trace.link, root.start)
        if discards := self._keep(beginning):
            trace.kept = _Kept(decision.sample_rate, discards)

    def keep_ended(self, trace: OpenTrace, span: RecordedSpan) -> None:
        """Keep a span that has ended, of a trace whose root is kept: at once, or with a later one.

        Spans are encoded once more for this, so it is done within a share of the time that the work itself takes, and
        not at all for short work.
        """
        kept, root = trace.kept, trace.root
        if kept is None or root is None or not trace.accepts_spans:
            return
        kept.ended.append(span)
        age = time.time() - root.start
        if age >= _KEEP_AFTER and kept.seconds <= age * _KEEP_SHARE:
            began = time.perf_counter()
            attempt(self._keep_spans, trace, kept)
            kept.seconds += time.perf_counter() - began

    def _keep_spans(self, trace: OpenTrace, kept: _Kept) -> None:
        with self.lock:
            ended, kept.ended = kept.ended[:_KEEP_AT_ONCE], kept.ended[_KEEP_AT_ONCE:]
        if not ended:  # another thread keeps it
            return
        for span in ended:
            _discard(kept.unfinished.pop(span.span_id, []))
        kept.discards.extend(self._kept(trace, kept, ended))
        for outer in {outer.span_id: outer for span in ended for outer in span.open_ancestors()}.values():
            if outer.span_id not in kept.unfinished:
                kept.unfinished[outer.span_id] = self._kept(trace, kept, [outer])
        if trace.kept is not kept:  # the trace has ended meanwhile
            kept.discard()

    def _kept(self, trace: OpenTrace, kept: _Kept, spans: list[RecordedSpan]) -> list[Discard]:
        """Keep spans; without their content if there is no room for it."""
        part = {"trace_id": trace.trace_id, "sample_rate": kept.sample_rate, "sample_reason": "abandoned"}
        for content in (_KEPT_CONTENT, _NO_CONTENT):
            bounds = TraceBounds(Bounded(_STRUCTURE), Bounded(content))
            rendered = [span.rendered(bounds, time.time()) for span in spans]
            if discards := self._keep({**part, "spans": rendered}):
                return discards
        return []

    def add(self, trace: OpenTrace, span: RecordedSpan) -> bool:
        """Add a span to its trace; return False if the trace is full."""
        with self.lock:
            if len(trace.spans) < self.limits.max_spans:
                trace.spans.append(span)
                return True
            if trace.totals is None:
                trace.totals = Totals()
        return False

    def end_dropped(self, trace: OpenTrace, span: RecordedSpan) -> None:
        """Add a span beyond the limit, which has ended, to the sums, or keep it in place of another if it failed."""
        with self.lock:
            totals = trace.totals
            if totals is None or not trace.accepts_spans:
                return
            if span.error is not None and (replaced := _take_spare(trace)) is not None:
                span.recorded, replaced.recorded = True, False
                trace.spans.append(span)
                span = replaced
            totals.add(span.measures())
        self.count("truncated_spans")

    def add_late(self, trace: OpenTrace, measures: dict[str, Any]) -> None:
        """Add the tokens and cost of a dropped span that were set after its end."""
        with self.lock:
            if trace.totals is not None:
                trace.totals.add(measures, 0)

    def hold(self, trace: OpenTrace, span: RecordedSpan, field: str, value: object) -> None:
        """Set the input or output of a span, which is kept until the trace is logged.

        Beyond the limits, the oldest values of the trace go first, and those of its root stay. A list or dict is copied
        one level deep, because the application may change it.
        """
        if value is None or not trace.accepts_spans:
            setattr(span, field, value)
            return
        size, limits = weight(value), self.limits
        if size > limits.max_trace_characters and type(value) is str:
            value = cut(value, max(0, min(MAX_TEXT, limits.max_trace_characters // 2) - 100))  # with room for the mark
            span.lost += size - len(value)
            size = len(value)
            self.count("cut_text")
        with self.lock:
            room = min(limits.max_trace_characters - trace.characters, limits.max_open_characters - self.characters)
            if size > room:
                room += self._make_room(trace, size - room)
            if fits := size <= room:
                trace.characters += size
                self.characters += size
                if span is not trace.root:
                    if trace.held is None:
                        trace.held = deque()
                    trace.held.append((span, field, size))
        if not fits:
            span.lost += size
            self.count("cut_values")
            return
        kind = type(value)
        setattr(span, field, value.copy() if kind is list or kind is dict else value)  # type: ignore[attr-defined] # known by its type

    def _make_room(self, trace: OpenTrace, needed: int) -> int:
        """Remove the oldest values of a trace until `needed` characters are free; return the number of those freed."""
        freed, held = 0, trace.held
        while held and freed < needed:
            span, field, size = held.popleft()
            setattr(span, field, None)
            span.lost += size
            freed += size
            self.count("cut_values")
        trace.characters -= freed
        self.characters -= freed
        return freed

    def abandon(self, trace: OpenTrace) -> None:
        """Count a trace that will never be completed."""
        if self._close(trace):
            self.count("abandoned")
            _forget([trace])

    def complete(self, trace: OpenTrace, root: RecordedSpan) -> None:
        """Decide on a trace whose root has ended, or let it wait for the end of its request."""
        if self._close(trace) and not (trace.scope is not None and trace.scope.take(trace, root)):
            self.decide([(trace, root)])

    def decide(self, traces: list[tuple[OpenTrace, RecordedSpan]]) -> None:
        """Decide on traces that belong together, and log them if they are kept."""
        traces = [one for one in traces if one[0].pid_generation == _generation]  # others are the parent process's
        try:
            self._decide(traces)
        except Exception:  # nothing of ours reaches the application as an exception
            self.count("failed")
        _forget([trace for trace, _ in traces])

    def _decide(self, traces: list[tuple[OpenTrace, RecordedSpan]]) -> None:
        if not traces:
            return
        failed = any(span.error is not None for trace, _ in traces for span in trace.spans)
        decisions = [self._decision(trace, root, is_error=failed) for trace, root in traces]
        # They share a trace ID, by which they are sampled, so the one with the highest rate decides.
        decision = max(decisions, key=lambda one: (one.should_sample, one.sample_rate))
        for trace, root in traces:
            spans, trace.spans = trace.spans, []
            trace.held, trace.conversations = None, {}
            trace.decision = decision
            if not decision.should_sample:
                self.count(decision.reason)
                continue
            oldest = time.time() - self.limits.max_age
            fresh = [span for span in spans if span.start >= oldest]
            if len(fresh) < len(spans):
                self.count("expired_spans", len(spans) - len(fresh))
            is_error = any(span.error is not None for span in fresh)
            self._log(trace, fresh, root.ended or time.time(), decision, logging.ERROR if is_error else logging.INFO)

    def _decision(self, trace: OpenTrace, root: RecordedSpan, *, is_error: bool) -> SamplingDecision:
        if trace.decision is not None:
            return trace.decision
        took = ((root.ended or time.time()) - root.start) * 1000
        return self.sampler.decide(root.name, trace.trace_id, is_error=is_error, duration_ms=took, joined=trace.joined)

    def metrics(self) -> dict[str, int]:
        """Return the numbers of open and logged traces, and of cut and dropped data by reason."""
        with self.lock:
            self._add_up()
            return {"open_traces": len(self._open), "open_characters": self.characters, **self._counts}

    def count(self, reason: str, number: int = 1) -> None:
        """Count logged, dropped or cut data by reason."""
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
        """Mark a trace as complete; return False if it was, or is a parent process's."""
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
        if not self._logger.isEnabledFor(level):
            return
        event = self._rendered(trace, spans, ended, decision)
        with contextlib.suppress(Exception):  # a handler of the application may raise
            log_event(self._logger, level, "trace", event, is_trace=True)

    def _rendered(
        self, trace: OpenTrace, spans: list[RecordedSpan], ended: float, decision: SamplingDecision
    ) -> dict[str, Any]:
        bounds = TraceBounds(Bounded(_STRUCTURE), Bounded(_CONTENT))
        totals = trace.totals
        event: dict[str, Any] = {
            "trace_id": trace.trace_id,
            "sample_rate": decision.sample_rate,
            "sample_reason": decision.reason,
            "truncated_spans": 0 if totals is None else totals.number,
        }
        if trace.metadata:
            event["metadata"] = bounds.content.value(trace.metadata)
        # The root first, then the newest, because content is limited and the oldest is to be cut.
        rendered = [spans[0].rendered(bounds, ended)]
        rendered += [span.rendered(bounds, ended) for span in spans[:0:-1]]
        rendered[1:] = rendered[:0:-1]
        if trace.link is not None:
            rendered[0]["links"] = [dict(zip(("trace_id", "span_id"), trace.link, strict=True))]
        if totals is not None:
            rendered += totals.spans(spans[0].span_id, _ids.new_span)
        event["spans"] = rendered
        for bounded in bounds:
            for reason, number in bounded.bad.items():
                self.count(reason, number)
        return event


_ids: Final = FreshIds()


def _forget(traces: list[OpenTrace]) -> None:
    """Discard what was kept of traces that have ended."""
    for trace in traces:
        kept, trace.kept = trace.kept, None
        if kept is not None:
            kept.discard()


def _discard(kept: list[Discard]) -> None:
    with contextlib.suppress(IndexError):
        while True:  # one thread alone gets each of them, because afterwards the place may be another trace's
            attempt(kept.pop())


def _take_spare(trace: OpenTrace) -> RecordedSpan | None:
    """Remove and return a span that ended without an error and has no children; None if there is none."""
    spans = trace.spans
    parents = None
    for place in range(trace.spare, len(spans)):
        span = spans[place]
        if span.ended is None or span.error is not None:
            continue
        if parents is None:
            parents = {one.parent_span_id for one in spans}
        if span.span_id not in parents:
            trace.spare = place
            return spans.pop(place)
    return None


def _class_name(value: object) -> str:
    return f"[{type(value).__name__}]"


_CONTENT: Final = Bounds(MAX_DEPTH, MAX_NODES, MAX_TEXT, MAX_TRACE, _class_name)
"""An object becomes the name of its class, because the application has not chosen to send its content."""
_STRUCTURE: Final = Bounds(MAX_DEPTH, 100 * MAX_NODES, MAX_ERROR, 100 * MAX_TRACE, _class_name)
_KEPT_CONTENT: Final = Bounds(MAX_DEPTH, 2_000, 16_000, 32_000, _class_name)
"""Of spans that are kept while their trace is open."""
_NO_CONTENT: Final = Bounds(MAX_DEPTH, 0, 0, 0, _class_name)

_generation: int = globals().get("_generation", 0)
"""Number that changes in the child of a fork, because open traces are the parent's."""
_recorders: weakref.WeakSet[Recorder] = kept("recorders", weakref.WeakSet)


def _after_fork_in_child() -> None:
    global _generation  # noqa: PLW0603 - one per process
    _generation += 1
    for recorder in list(_recorders):
        recorder.reset()


at_fork(__name__, after_in_child=_after_fork_in_child)
