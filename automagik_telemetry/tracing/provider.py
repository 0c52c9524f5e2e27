"""The methods of a provider: blocks that are traces, and calls that report a run after the fact.

No call raises. A call with invalid arguments is counted as `bad_call`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of
from automagik_processors._scalars import milliseconds_of, real_of
from automagik_telemetry._failsafe import attempt
from automagik_telemetry.tracing._arguments import model_of, span_id_of, usage_of
from automagik_telemetry.tracing._cost import estimate
from automagik_telemetry.tracing._reported_runs import ReportedRuns, end
from automagik_telemetry.tracing.context import TraceContext, annotate
from automagik_telemetry.tracing.spans import INVALID, fill

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from automagik_telemetry.tracing._recorder import Recorder
    from automagik_telemetry.tracing.spans import OpenSpan

Method = TypeVar("Method")

_COSTS = ("cost", "cost_usd", "total_cost", "total_cost_usd")
"""Names of a cost in USD among attributes."""
_MAX_AHEAD = 86_400.0
"""Seconds by which the time of an event may lie in the future."""
_MAX_CALLS = 1_000
"""Tool calls of one `log_metadata` that are taken."""


def _never_raises(method: Method) -> Method:
    """Wrap a method so that an exception is counted as `bad_call`."""

    @functools.wraps(cast("Callable[..., Any]", method))
    def call(self: TraceProvider, *args: Any, **kwargs: Any) -> None:
        try:
            cast("Callable[..., Any]", method)(self, *args, **kwargs)
        except Exception:  # nothing of ours reaches the application as an exception
            self._recorder.count("bad_call")

    return cast("Method", call)


class TraceProvider:
    """A destination of traces. Every trace is sent to every provider, no matter which of them it was reported to.

    No call raises; a call with wrong arguments is counted as `bad_call`. IDs may be of any form.

    Args:
        name: Name of the provider.
        handler: The logging handler that sends the traces.
        recorder: Keeps open traces.
        runs: The runs that are reported by ID.
    """

    def __init__(self, name: str, handler: logging.Handler, recorder: Recorder, runs: ReportedRuns) -> None:
        self.name = name
        self.handler = handler
        self._recorder = recorder
        self._runs = runs

    def start_trace(  # noqa: PLR0913 - the arguments that applications pass
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
        """Return a block that is a trace, or a span of the open one.

        Args:
            name: Name of the span. The default is "trace".
            kind: Type of the span, see `SPAN_TYPES`; other kinds are an agent or a plain span. The default is
                "agent_run".
            attributes: Attributes of the span. `session_id`, `thread_id` and `user_id` are recognized.
            trace_id: ID of a run, which begins at once. Calls of the other methods with this ID become part of it, and
                `complete_trace` ends it.
            span_id: ID of the first span of that run.
            input_text: Input of the run.
            metadata: Metadata of the trace.
            traceparent: W3C header of the span of another process that this is part of.

        Returns:
            A `with` block. An exception inside marks the span as failed and propagates.
        """
        given, more = _plain(attributes), _plain(metadata)
        context = TraceContext(name, kind, given, input=input_text, caller=traceparent)
        if trace_id is not None:
            self._start(trace_id, span_id, name, input_text, {**given, **more})
        else:
            context.attributes.update(more)
        return context

    @_never_raises
    def _start(
        self, trace_id: object, span_id: object, name: str, input_text: object, metadata: dict[str, Any]
    ) -> None:
        root, _ = self._runs.start(self.name, trace_id, span_id, name)
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
        **attributes: Any,
    ) -> None:
        """Report a call of a language model.

        Args:
            model: Name of the model, such as "gpt-4o" or, with its provider, "openai:gpt-4o".
            messages: Messages of the request.
            response: Response of the model.
            usage: Counts of tokens, as a mapping or an object with attributes.
            trace_id: ID of the run, as given to `start_trace`. Without one, the current trace.
            span_id: ID of this span, by which others refer to it.
            parent_span_id: ID of the enclosing span; by default the first span of the run.
            duration_ms: Duration in milliseconds.
            **attributes: Further attributes of the span. `provider` is that of the model, and `cost` in USD; by default
                it is estimated, if the price of the model is known and `genai_prices` has been imported.
        """
        name, provider = model_of(text_of(model), attributes.pop("provider", None))
        cost = attributes.pop("cost", None)
        span = self._add(name, "llm", trace_id, span_id, parent_span_id, input=messages, model=name)
        if span is not None:
            span.usage = usage_of(usage, self._count_invalid)
            estimated = estimate(name, provider, span.usage) if cost is None else None
            fill(
                span,
                provider=provider,
                cost=cost if estimated is None else estimated,
                cost_estimated=estimated is not None,
            )
            self._close(span, response, duration_ms, attributes)

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
        **attributes: Any,
    ) -> None:
        """Report a tool call.

        Args:
            tool_name: Name of the tool.
            args: Arguments of the call.
            result: Result of the call.
            trace_id: ID of the run, as given to `start_trace`. Without one, the current trace.
            span_id: ID of this span, by which others refer to it.
            parent_span_id: ID of the enclosing span; by default the first span of the run.
            duration_ms: Duration in milliseconds.
            error: The exception, or a string, if the call failed.
            **attributes: Further attributes of the span.
        """
        span = self._add(text_of(tool_name), "tool", trace_id, span_id, parent_span_id, input=args)
        if span is not None:
            _fail(span, error)
            self._close(span, result, duration_ms, attributes)

    @_never_raises
    def log_agent_config(
        self, trace_id: object = None, span_id: object = None, parent_span_id: object = None, **config: object
    ) -> None:
        """Report the configuration of the agent.

        Args:
            trace_id: ID of the run, as given to `start_trace`. Without one, the current trace.
            span_id: ID of this span, by which others refer to it.
            parent_span_id: ID of the enclosing span; by default the first span of the run.
            **config: The configuration, such as name, model, system prompt, memory and framework.
        """
        span = self._add("agent.config", "component", trace_id, span_id, parent_span_id, input=config)
        if span is not None:
            self._close(span, None)

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
        **attributes: Any,
    ) -> None:
        """Report the processing of the user's input.

        Args:
            trace_id: ID of the run, as given to `start_trace`. Without one, the current trace.
            span_id: ID of this span, by which others refer to it.
            parent_span_id: ID of the enclosing span; by default the first span of the run.
            raw_input: The input as received.
            processed_input: The input as passed to the model.
            message_history: Earlier messages, of which only the number is kept.
            multimodal_content: Media, of which only the number is kept.
            **attributes: Further attributes of the span.
        """
        span = self._add("input.processing", "component", trace_id, span_id, parent_span_id, input=raw_input)
        if span is not None:
            counts = {"messages_before": _count(message_history), "media": _count(multimodal_content)}
            self._close(span, processed_input, None, {**counts, **attributes})

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
        **attributes: Any,
    ) -> None:
        """Report the processing of the model's output.

        Args:
            trace_id: ID of the run, as given to `start_trace`. Without one, the current trace.
            span_id: ID of this span, by which others refer to it.
            parent_span_id: ID of the enclosing span; by default the first span of the run.
            raw_output: The output of the model.
            final_output: The output as returned to the user.
            tool_calls: Tool calls, of which only the number is kept.
            usage: Counts of tokens, kept as an attribute: only the span of the model call counts them.
            **attributes: Further attributes of the span.
        """
        span = self._add("output.generation", "component", trace_id, span_id, parent_span_id, input=raw_output)
        if span is not None:
            counts = {"tool_calls": _count(tool_calls), "usage": usage_of(usage, self._count_invalid)}
            self._close(span, final_output, None, {**counts, **attributes})

    @_never_raises
    def log_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add metadata to the current trace, such as user, conversation or labels.

        Args:
            metadata: The metadata. A `trace_id` selects a run. A `tool_calls` list is reported call by call. An
                `event_type` of `trace_start`, `span_start`, `span_end` or `trace_end` reports a run as a tree: with
                `trace_id`, `span_id`, `parent_span_id`, `name`, `attributes` and `timestamp`, which is ISO 8601, in UTC
                unless it names an offset, or a Unix time in seconds. Attributes `input`, `output`, `error`, `model`,
                `provider`, `cost` and counts of tokens are those of the span.
        """
        if not issubclass(type(metadata), Mapping):
            raise TypeError("metadata must be a mapping")  # counted as `bad_call`
        given = _plain(metadata)
        kind = given.get("event_type")
        if kind in ("trace_start", "trace_end") and given.get("trace_id"):
            self._log_end_of_trace(given) if kind == "trace_end" else self._log_start_of_trace(given)
            return
        if kind in ("span_start", "span_end") and given.get("span_id"):
            self._log_span(given)
            return
        trace_id = given.pop("trace_id", None)
        for call in islice(given.pop("tool_calls", None) or (), _MAX_CALLS):
            known = {key: call[key] for key in ("args", "result", "duration_ms", "error") if key in call}
            self.log_tool_call(str(call.get("name", "unknown")), trace_id=trace_id, **known)
        span = self._runs.find(self.name, trace_id)
        if span is not None:
            self._remember(cast("OpenSpan | None", span.trace.root) or span, given)

    @_never_raises
    def log_error(self, error: BaseException, context: Mapping[str, Any] | None = None) -> None:
        """Mark the current span, or a span of a run, as failed.

        Args:
            error: The exception.
            context: Attributes of the span. A `trace_id` selects a run, and a `span_id` one of its spans.
        """
        given = _plain(context)
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
        """End a run that `start_trace` began. A run inside an open trace ends with that trace.

        Args:
            trace_id: ID of the run.
            final_output: Output of the run.
            metadata: Metadata of the trace.
            error: The exception, or a string, if the run failed.
        """
        run = self._runs.complete(self.name, trace_id)
        if run is None:
            return
        if final_output is not None:
            run.root.output = final_output
        _fail(run.root, error)
        self._remember(run.root, _plain(metadata))
        end(run)

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all queued traces of this provider, and retry until they are sent.

        Args:
            timeout: Maximum number of seconds. The default is 30.

        Returns:
            Whether all traces were accepted, or dropped and counted, in this time, or the handler can't tell.
        """
        return bool(attempt(self._flush, timeout, default=False))  # the handler may be another distribution's

    def _flush(self, timeout: float) -> bool:
        force = getattr(self.handler, "force_flush", None)
        if force is not None:
            return bool(force(timeout))
        self.handler.flush()
        return True

    def metrics(self) -> dict[str, Any]:
        """Return the delivery stats of the handler.

        Returns:
            The stats, as of `BatchQueueHandler.metrics`. An empty dict if the handler has none.
        """
        metrics = getattr(self.handler, "metrics", None)
        return dict(cast("Mapping[str, Any]", metrics())) if callable(metrics) else {}

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send queued traces, and stop. The next trace restarts it.

        Args:
            timeout: Maximum number of seconds. The default is 5. It returns at once if the endpoint refuses.

        Returns:
            Whether all traces were accepted, or dropped and counted, in this time, or the handler can't tell.
        """
        return bool(attempt(self._shutdown, timeout, default=False))  # as above

    def _shutdown(self, timeout: float) -> bool:
        shutdown = getattr(self.handler, "shutdown", None)
        if shutdown is not None:
            return bool(shutdown(timeout))
        self.handler.close()
        return True

    def _add(
        self,
        name: str,
        kind: str,
        trace_id: object,
        span_id: object,
        parent_span_id: object,
        **values: Any,
    ) -> OpenSpan | None:
        return self._runs.add(
            self.name, name, kind, trace_id=trace_id, span_id=span_id, parent_span_id=parent_span_id, **values
        )

    def _log_span(self, given: dict[str, Any]) -> None:
        ids = {key: given.get(key) for key in ("trace_id", "span_id", "parent_span_id")}
        span = self._runs.find(self.name, ids["trace_id"], ids["span_id"]) if ids["trace_id"] else None
        is_end = given["event_type"] == "span_end"
        late = self._seconds_since(given)
        if span is None or span.span_id != span_id_of(ids["span_id"]):
            span = self._runs.add(self.name, text_of(given.get("name", "span")), "span", **ids)
            if span is not None:
                span.backdate(late)
        if span is not None:
            self._fill(span, given)
            if is_end:
                span.shorten(late)
                span.end()

    def _log_start_of_trace(self, given: dict[str, Any]) -> None:
        name = text_of(given.get("name") or "trace")
        root, is_new = self._runs.start(self.name, given["trace_id"], given.get("span_id"), name)
        if root is not None:
            if is_new:
                root.backdate(self._seconds_since(given))
            self._fill(root, given)
            self._remember(root, root.attributes or {})

    def _log_end_of_trace(self, given: dict[str, Any]) -> None:
        run = self._runs.complete(self.name, given["trace_id"])
        if run is None:
            return
        self._fill(run.root, given)
        self._remember(run.root, run.root.attributes or {})
        if run.own:
            run.root.shorten(self._seconds_since(given))
        end(run)

    def _fill(self, span: OpenSpan, given: dict[str, Any]) -> None:
        """Set the fields of a span that an application has reported by its attributes."""
        attributes = _plain(given.get("attributes"))
        _fail(span, attributes.pop("error", None))
        model = attributes.pop("model", None)
        if model is not None:
            span.type = "llm" if span.type == "span" else span.type
            span.model, attributes["provider"] = model_of(text_of(model), attributes.get("provider"))
        fields: dict[str, Any] = {
            name: attributes.pop(name) for name in ("input", "output", "provider") if name in attributes
        }
        provider = fields.get("provider") or span.provider
        usage = usage_of(attributes, self._count_invalid)
        cost = next((attributes.pop(name) for name in _COSTS if attributes.get(name) is not None), None)
        if cost is None and span.model is not None:
            cost = estimate(span.model, provider, usage)
            fields["cost_estimated"] = cost is not None
        fill(span, usage=usage, cost=cost, **fields)
        annotate(span, attributes)

    def _seconds_since(self, given: dict[str, Any]) -> float:
        """Return how long ago an event took place; 0 if its time is missing, not valid, or in the future.

        A time more than a day ahead is not valid, such as one in milliseconds.
        """
        timestamp = given.get("timestamp")
        if timestamp is None:
            return 0.0
        moment: float | None = attempt(_unix_time, timestamp)
        if moment is None or moment > time.time() + _MAX_AHEAD:
            self._count_invalid("timestamp")
            return 0.0
        return max(0.0, time.time() - moment)

    def _close(
        self,
        span: OpenSpan,
        output: object,
        duration_ms: object = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """End a span that is reported after the fact and lasted `duration_ms` milliseconds."""
        span.output = output
        annotate(span, _plain(attributes))
        if duration_ms is not None:
            milliseconds = milliseconds_of(duration_ms)
            if milliseconds is not None and 0.0 <= milliseconds < span.start * 1_000:
                span.backdate(milliseconds / 1_000)
            else:
                self._count_invalid("duration_ms")
        span.end()

    def _count_invalid(self, name: str) -> None:
        self._recorder.count(INVALID + name)

    @staticmethod
    def _remember(span: OpenSpan, metadata: dict[str, Any]) -> None:
        """Set IDs of user and conversation on the span, and other metadata on its trace."""
        before, span.attributes = span.attributes, None
        annotate(span, metadata)
        span.trace.metadata.update(span.attributes or {})
        span.attributes = before


def _plain(mapping: object) -> dict[str, Any]:
    """Return a mapping that an application passed as a new dict; empty if it can't be read."""
    return dict(plain_dict(mapping, text_of))


def _fail(span: OpenSpan, error: object) -> None:
    if isinstance(error, BaseException):
        span.fail(error)
    elif error:
        span.error = {"type": "Error", "message": str(error), "stacktrace": None}


def _unix_time(timestamp: object) -> float | None:
    """Return a time in seconds since 1970, of a number of them or a text. A text without an offset is in UTC."""
    if not isinstance(timestamp, str | datetime):
        return real_of(timestamp)
    moment = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else timestamp
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _count(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 0
