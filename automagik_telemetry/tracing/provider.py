"""What an application calls a provider for: blocks that are traces, and calls that tell of a run after the fact.

No call raises, and what is wrong with its arguments is counted.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry.tracing._arguments import span_id_of, usage_of
from automagik_telemetry.tracing._reported_runs import ReportedRuns, end
from automagik_telemetry.tracing.context import TraceContext, annotate
from automagik_telemetry.tracing.spans import fill

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from automagik_telemetry.tracing._recorder import Recorder
    from automagik_telemetry.tracing.spans import OpenSpan

Method = TypeVar("Method")


def _never_raises(method: Method) -> Method:
    """Count a call that fails as `bad_call`."""

    @functools.wraps(cast("Callable[..., Any]", method))
    def call(self: TraceProvider, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the method's own
        try:
            cast("Callable[..., Any]", method)(self, *args, **kwargs)
        except Exception:  # noqa: BLE001 - nothing of ours reaches the application as an exception
            self._recorder.count("bad_call")

    return cast("Method", call)


class TraceProvider:
    """One destination of traces by its `name`; `handler` is the logging handler that takes them there.

    Every trace goes to every provider, whichever of them it was told to. Ids may be of any form.
    """

    def __init__(self, name: str, handler: logging.Handler, recorder: Recorder, runs: ReportedRuns) -> None:
        self.name = name
        self.handler = handler
        self._recorder = recorder
        self._runs = runs

    def start_trace(  # noqa: PLR0913 - the guide's three, and what applications pass besides
        self,
        name: str = "trace",
        kind: str = "agent_run",
        attributes: Mapping[str, Any] | None = None,
        *,
        trace_id: object = None,
        span_id: object = None,
        input_text: object = None,
        metadata: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> TraceContext:
        """Return a block that is a trace, or a part of the open one.

        With a `trace_id` it is begun at once: what the other methods say of that id becomes part of it, and
        `complete_trace` ends it. `traceparent` names the span of another process that this is part of.
        """
        context = TraceContext(name, kind, dict(attributes or {}), input=input_text, caller=traceparent)
        if trace_id is not None:
            self._start(trace_id, span_id, name, input_text, {**(attributes or {}), **(metadata or {})})
        elif metadata:
            context.attributes.update(metadata)
        return context

    @_never_raises
    def _start(
        self, trace_id: object, span_id: object, name: str, input_text: object, metadata: dict[str, Any]
    ) -> None:
        root = self._runs.start(self.name, trace_id, span_id, name)
        if root is not None:
            fill(root, input=input_text)
            self._remember(root, metadata)

    @_never_raises
    def log_llm_call(  # noqa: PLR0913, PLR0917 - what applications pass
        self,
        model: str,
        messages: object = None,
        response: object = None,
        usage: object = None,
        trace_id: object = None,
        span_id: object = None,
        parent_span_id: object = None,
        duration_ms: float | None = None,
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> None:
        """Tell of a call of a language model: the messages and the answer, and the tokens if they are known."""
        span = self._add(str(model), "llm", trace_id, span_id, parent_span_id, input=messages, model=str(model))
        if span is not None:
            span.usage = usage_of(usage)
            _close(span, response, duration_ms, attributes)

    @_never_raises
    def log_tool_call(  # noqa: PLR0913, PLR0917 - what applications pass
        self,
        tool_name: str,
        args: object = None,
        result: object = None,
        trace_id: object = None,
        span_id: object = None,
        parent_span_id: object = None,
        duration_ms: float | None = None,
        error: object = None,
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> None:
        """Tell of an execution of a tool; `error` is the exception, or a text, if it failed."""
        span = self._add(str(tool_name), "tool", trace_id, span_id, parent_span_id, input=args)
        if span is not None:
            _fail(span, error)
            _close(span, result, duration_ms, attributes)

    @_never_raises
    def log_agent_config(
        self, trace_id: object = None, span_id: object = None, parent_span_id: object = None, **config: object
    ) -> None:
        """Tell how the agent was set up: its name, model, system prompt, memory and framework."""
        span = self._add("agent.config", "component", trace_id, span_id, parent_span_id, input=config)
        if span is not None:
            _close(span, None)

    @_never_raises
    def log_input_processing(  # noqa: PLR0913, PLR0917 - what applications pass
        self,
        trace_id: object = None,
        span_id: object = None,
        parent_span_id: object = None,
        raw_input: object = None,
        processed_input: object = None,
        message_history: object = None,
        multimodal_content: object = None,
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> None:
        """Tell what was made of the user's input. Of history and media it keeps how much there was."""
        span = self._add("input.processing", "component", trace_id, span_id, parent_span_id, input=raw_input)
        if span is not None:
            counts = {"messages_before": _count(message_history), "media": _count(multimodal_content)}
            _close(span, processed_input, None, {**counts, **attributes})

    @_never_raises
    def log_output_generation(  # noqa: PLR0913, PLR0917 - what applications pass
        self,
        trace_id: object = None,
        span_id: object = None,
        parent_span_id: object = None,
        raw_output: object = None,
        final_output: object = None,
        tool_calls: object = None,
        usage: object = None,
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> None:
        """Tell what was made of the model's answer. The tokens stand with the model's call, to be counted once."""
        span = self._add("output.generation", "component", trace_id, span_id, parent_span_id, input=raw_output)
        if span is not None:
            counts = {"tool_calls": _count(tool_calls), "usage": usage_of(usage)}
            _close(span, final_output, None, {**counts, **attributes})

    @_never_raises
    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to what is known of the current trace: user, conversation, labels, anything.

        A `tool_calls` list in it is told call by call; an `event_type` of `span_start` or `span_end`, with the ids and
        the name of a span, is told as that span.
        """
        given = dict(metadata)
        if given.get("event_type") in ("span_start", "span_end") and given.get("span_id"):
            self._log_span(given)
            return
        trace_id = given.pop("trace_id", None)
        for call in given.pop("tool_calls", None) or ():
            known = {key: call[key] for key in ("args", "result", "duration_ms", "error") if key in call}
            self.log_tool_call(str(call.get("name", "unknown")), trace_id=trace_id, **known)
        span = self._runs.find(self.name, trace_id)
        if span is not None:
            self._remember(cast("OpenSpan | None", span.trace.root) or span, given)

    @_never_raises
    def log_error(self, error: BaseException, context: Mapping[str, Any] | None = None) -> None:
        """Mark the current span as failed, or the run whose `trace_id` the context names."""
        given = dict(context or {})
        trace_id, span_id = given.pop("trace_id", None), given.pop("span_id", None)
        span = self._runs.find(self.name, trace_id, span_id)
        if span is None:
            return
        _fail(span, error)
        annotate(span, given)

    @_never_raises
    def complete_trace(
        self,
        trace_id: object,
        final_output: object = None,
        metadata: Mapping[str, Any] | None = None,
        error: object = None,
    ) -> None:
        """End a run that `start_trace` began by its id; one inside an open trace ends with that."""
        run = self._runs.complete(self.name, trace_id)
        if run is None:
            return
        if final_output is not None:
            run.root.output = final_output
        _fail(run.root, error)
        self._remember(run.root, dict(metadata or {}))
        end(run)

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all that is queued, and return whether all was settled within `timeout` seconds."""
        force = getattr(self.handler, "force_flush", None)
        if force is not None:
            return bool(force(timeout))
        self.handler.flush()
        return True

    def metrics(self) -> dict[str, Any]:
        """Return the account of what was logged, as far as the handler keeps one."""
        metrics = getattr(self.handler, "metrics", None)
        return dict(cast("Mapping[str, Any]", metrics())) if callable(metrics) else {}

    def shutdown(self) -> None:
        """Stop sending; the next trace starts it again."""
        self.handler.close()

    def _add(
        self,
        name: str,
        kind: str,
        trace_id: object,
        span_id: object,
        parent_span_id: object,
        **values: Any,  # noqa: ANN401 - a span's attributes
    ) -> OpenSpan | None:
        return self._runs.add(
            self.name, name, kind, trace_id=trace_id, span_id=span_id, parent_span_id=parent_span_id, **values
        )

    def _log_span(self, given: dict[str, Any]) -> None:
        ids = {key: given.get(key) for key in ("trace_id", "span_id", "parent_span_id")}
        span = self._runs.find(self.name, ids["trace_id"], ids["span_id"]) if ids["trace_id"] else None
        if given["event_type"] == "span_start" or span is None or span.span_id != span_id_of(ids["span_id"]):
            span = self._runs.add(self.name, str(given.get("name", "span")), "span", **ids)
        if span is not None:
            annotate(span, dict(given.get("attributes") or {}))
            if given["event_type"] == "span_end":
                span.end()

    @staticmethod
    def _remember(span: OpenSpan, metadata: dict[str, Any]) -> None:
        """Keep ids of user and conversation with the span, and all else with its trace."""
        before, span.attributes = span.attributes, None
        annotate(span, metadata)
        span.trace.metadata.update(span.attributes or {})
        span.attributes = before


def _close(
    span: OpenSpan, output: object, duration_ms: float | None = None, attributes: Mapping[str, Any] | None = None
) -> None:
    """End a span that is told when it is over, `duration_ms` milliseconds after it began."""
    span.output = output
    annotate(span, dict(attributes or {}))
    if duration_ms is not None:
        span.backdate(max(0.0, float(duration_ms)) / 1000)
    span.end()


def _fail(span: OpenSpan, error: object) -> None:
    if isinstance(error, BaseException):
        span.fail(error)
    elif error:
        span.error = {"type": "Error", "message": str(error), "stacktrace": None}


def _count(value: Any) -> int:  # noqa: ANN401 - whatever an application passes
    return len(value) if hasattr(value, "__len__") else 0
