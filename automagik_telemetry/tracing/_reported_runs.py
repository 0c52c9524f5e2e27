"""Runs that an application reports call by call, with its own IDs: one run becomes one trace."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from automagik_telemetry.tracing._arguments import span_id_of, trace_id_of
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing.context import begin
from automagik_telemetry.tracing.spans import OpenSpan, child_of, current_span

if TYPE_CHECKING:
    from automagik_telemetry.tracing._recorder import Recorder

MAX_RUNS = 1_000
"""Maximum number of incomplete runs. Beyond it the oldest is completed as it is."""


class ReportedRun:
    """A run that is being reported: its root span, and all spans by the application's IDs."""

    def __init__(self, root: OpenSpan, provider: str, *, own: bool) -> None:
        self.root = root
        self.provider = provider
        self.own = own
        """True if the run began the trace, and ends it."""
        self.spans: dict[str, OpenSpan] = {}


class ReportedRuns:
    """The runs that are being reported, by the application's trace IDs.

    An application calls every provider for every run, and every provider gets every trace. The first provider that is
    called for a run reports it; calls of the others are ignored. A run inside an open trace becomes part of it.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._runs: OrderedDict[str, ReportedRun] = OrderedDict()
        self._recorder = recorder

    def start(self, provider: str, trace_id: object, span_id: object, name: str) -> tuple[OpenSpan | None, bool]:
        """Begin or find a run.

        Returns:
            Its root span, or None if another provider reports it; and whether that span was opened by this call.
        """
        key = trace_id_of(trace_id)
        with self._recorder.lock:  # a new one after a fork
            run = self._runs.get(key)
            is_new = False
            if run is None:
                outer = current_span()
                ids = SpanContext.part_of(key, None, span_id_of(span_id) if span_id else None)
                run = ReportedRun(outer or begin(name, "agent", span=ids), provider, own=outer is None)
                is_new = run.own
                self._runs[key] = run
            if span_id:
                run.spans[span_id_of(span_id)] = run.root
            oldest = self._runs.popitem(last=False)[1] if len(self._runs) > MAX_RUNS else None
        if oldest is not None:
            end(oldest)
        return run.root if run.provider == provider else None, is_new

    def add(  # noqa: PLR0913 - the IDs and attributes of a span
        self,
        provider: str,
        name: str,
        type: str,  # noqa: A002 - the attribute's name
        *,
        trace_id: object = None,
        span_id: object = None,
        parent_span_id: object = None,
        **values: Any,
    ) -> OpenSpan | None:
        """Open a span of a run, of the current trace, or of a new one; None if another provider reports the run."""
        run = self._run(trace_id)
        if run is not None and run.provider != provider:
            return None
        if run is None:
            return begin(name, type, **values)
        outer = run.spans.get(span_id_of(parent_span_id), run.root) if parent_span_id else run.root
        ids = SpanContext.part_of(outer.trace.trace_id, outer.span_id, span_id_of(span_id) if span_id else None)
        opened = child_of(outer, name, type, span=ids, **values)
        if span_id:
            run.spans[opened.span_id] = opened
        return opened

    def find(self, provider: str, trace_id: object, span_id: object = None) -> OpenSpan | None:
        """Return a span of a run, else the current one; None if there is none, or another provider reports the run."""
        run = self._run(trace_id)
        if run is None:
            return current_span()
        if run.provider != provider:
            return None
        return run.spans.get(span_id_of(span_id)) if span_id else run.root

    def complete(self, provider: str, trace_id: object) -> ReportedRun | None:
        """Remove and return a completed run; None if there is none, or another provider reports it."""
        run = self._run(trace_id)
        if run is None or run.provider != provider:
            return None
        with self._recorder.lock:
            self._runs.pop(trace_id_of(trace_id), None)
        return run

    def _run(self, trace_id: object) -> ReportedRun | None:
        with self._recorder.lock:
            return self._runs.get(trace_id_of(trace_id)) if trace_id else None


def end(run: ReportedRun) -> None:
    """End the trace of a run that began it."""
    if run.own:
        run.root.end()
