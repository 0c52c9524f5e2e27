"""Tracks the runs and tools of a pydantic-ai agent: `instrument(agent)`."""

from __future__ import annotations

import contextlib
import time
from asyncio import CancelledError
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

try:
    from pydantic import ValidationError
    from pydantic_ai import Agent, exceptions
    from pydantic_ai.agent import WrapperAgent
    from pydantic_ai.capabilities import AbstractCapability, CombinedCapability
    from pydantic_ai.messages import ToolReturn, is_multi_modal_content
    from pydantic_ai.models.fallback import FallbackModel
except ImportError as error:
    from automagik_telemetry.integrations._errors import unusable

    distributions = "pydantic-ai-slim", "pydantic-ai"
    raise unusable("automagik_telemetry.integrations.pydantic_ai", "pydantic-ai", distributions, error) from error

from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import Block, attempt, class_name
from automagik_telemetry._process import is_instance, kept
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events._names import declare_later
from automagik_telemetry.events.catalogue import ToolExecutionEvent
from automagik_telemetry.integrations._agent_run import AgentRun, Step
from automagik_telemetry.integrations._content import first
from automagik_telemetry.integrations._errors import described, exception_names
from automagik_telemetry.integrations._runtime import begin
from automagik_telemetry.integrations._wrapping import wrap_coroutine
from automagik_telemetry.integrations.pydantic_ai._details import (
    DEFINITIONS,
    cost_of,
    of_request,
    of_response,
    open_failed_attempts,
)
from automagik_telemetry.integrations.pydantic_ai._messages import chat, prompt, request
from automagik_telemetry.tracing._propagation import join_application_trace

try:
    from pydantic_ai._instrumentation import model_response_span_capture
except ImportError:  # it is what their own instrumentation uses, and may move

    def model_response_span_capture(_request: Any, _capture: Any, /) -> Any:  # type: ignore[misc]
        """Capture nothing."""
        return contextlib.nullcontext()


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pydantic_ai import RunContext
    from pydantic_ai.capabilities import (
        ValidatedToolArgs,
        WrapModelRequestHandler,
        WrapOutputProcessHandler,
        WrapOutputValidateHandler,
        WrapRunHandler,
        WrapToolExecuteHandler,
        WrapToolValidateHandler,
    )
    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.output import OutputContext
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import ToolDefinition

AnyAgent = TypeVar("AnyAgent", bound="Agent[Any, Any] | WrapperAgent[Any, Any]")

# A tool that waits for an approval, or for external execution, has not been executed.
_DEFERRALS = (exceptions.CallDeferred, exceptions.ApprovalRequired)

_INVALID = (ValidationError, exceptions.ModelRetry)
_STAGE = "pydantic_ai.tool.failure_stage"
_RETRIES = ("retry-prompt", "retry-feedback")
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}
"""The counts, and pydantic-ai's names for them."""
_CALL_ID = "gen_ai.tool.call.id"

_run: ContextVar[_Run | None] = kept(
    "pydantic_ai_run", lambda: ContextVar("automagik_telemetry_pydantic_ai_run", default=None)
)


def instrument(agent: AnyAgent) -> AnyAgent:
    """Track every run of this agent, however it is started, and every tool that it executes.

    The agent gets one more capability, which is pydantic-ai's own way to observe it. A second call changes nothing.
    The names of the agent and its tools are declared if this precedes the first event or request; later ones are sent
    as hashes, unless they are declared otherwise.

    Args:
        agent: A `pydantic_ai.Agent`, or a `WrapperAgent` around one.

    Returns:
        The same agent.

    Raises:
        TypeError: The object is not an agent of pydantic-ai.
    """
    inner = _innermost(agent)
    if not _trackers(inner):
        declare(*exception_names(exceptions))
        declare_later(inner, _names)
        # The agent itself adds the listeners of `on_event` in this way. The root's content stays as it is.
        tracker = _Tracker(inner.root_capability)
        tracker.after = CombinedCapability([tracker, tracker.before])
        _set_root(inner, tracker.after)
    return agent


def _names(agent: Agent[Any, Any]) -> list[Any]:
    """Return the names of an agent and its tools, as far as the code gives them: not those of a server."""
    tools = [getattr(toolset, "tools", None) for toolset in agent.toolsets]
    return [agent.name, *(name for each in tools if isinstance(each, dict) for name in each)]


def uninstrument(agent: AnyAgent) -> AnyAgent:
    """Undo `instrument`, if it was done.

    Args:
        agent: A `pydantic_ai.Agent`, or a `WrapperAgent` around one.

    Returns:
        The same agent.

    Raises:
        TypeError: The object is not an agent of pydantic-ai.
    """
    inner = _innermost(agent)
    trackers = _trackers(inner)
    if len(trackers) == 1 and inner.root_capability is trackers[0].after:
        _set_root(inner, trackers[0].before)
    elif trackers:  # the application has added capabilities since
        rest = inner.root_capability.visit_and_replace(lambda one: None if one in trackers else one)
        _set_root(inner, rest if isinstance(rest, CombinedCapability) else CombinedCapability([]))
    return agent


def _set_root(agent: Agent[Any, Any], root: CombinedCapability[Any]) -> None:
    agent._root_capability = root  # noqa: SLF001 - there is no public way after construction


class _Run(AgentRun):
    """A run, with its result."""

    def __init__(self, ctx: RunContext[Any]) -> None:
        name = attempt(lambda: ctx.agent.name if ctx.agent is not None else None)
        super().__init__(
            (name is not None and text_of(name)) or "agent",
            "pydantic_ai",
            has_multimodal=attempt(_is_multimodal, ctx.prompt, default=True),
        )

        self.partial: str | None = None
        """The text that a reader has received of a stream; None if nothing is streamed."""
        self.definitions: str | None = None
        """The definitions of tools that the last request has sent."""

    def end(self, error: BaseException | None = None) -> None:
        """End the run. It did not fail if its reader has stopped reading the stream, which cancels it."""
        if self.partial is not None and issubclass(type(error), CancelledError):
            error = None
            if self.traced is not None and self.traced.output is None:
                self.traced.output = self.partial or None
        super().end(error)

    def ask(self, ctx: RunContext[Any]) -> None:
        """Record the run's input, user and conversation."""
        # Without a prompt, the run continues the history.
        self.record(input=attempt(prompt, ctx.prompt) if ctx.prompt is not None else attempt(_history, ctx))
        said = plain_dict(ctx.metadata, text_of)
        more = {key: value for key, value in said.items() if key not in ("session_id", "thread_id", "user_id")}
        self.record(metadata=more or None)
        self.record(
            thread_id=said.get("session_id") or said.get("thread_id") or ctx.conversation_id,
            user_id=said.get("user_id"),
        )

    def observe(self, value: object) -> bool:
        """Record the result."""
        if self.traced is not None:
            self.traced.output = getattr(value, "output", None)
        return False


class _Tracker(AbstractCapability[Any]):
    """Observes runs, tools and the models' answers, and passes everything on unchanged."""

    def __init__(self, before: CombinedCapability[Any]) -> None:
        self.before = before
        """The agent's root capability without this one."""
        self.after: AbstractCapability[Any] | None = None
        """The agent's root capability with this one."""

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Track a run, including the events logged inside it."""
        run: _Run | None = begin(_begin, ctx)
        if run is None:
            return await handler()
        token = _run.set(run)
        try:
            return await wrap_coroutine(run, handler())
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _run.reset(token)

    async def wrap_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, handler: WrapModelRequestHandler
    ) -> ModelResponse:
        """Track a request to a model."""
        del ctx
        request: _Request | None = attempt(_begin_request, request_context)
        if request is None:
            return await handler(request_context)
        with Block(partial(model_response_span_capture, request_context, request.take_stream)):
            response: ModelResponse = await wrap_coroutine(request, handler(request_context))
        return response

    async def after_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, response: ModelResponse
    ) -> ModelResponse:
        """Count the tokens of an answer: here, because `ctx.usage` may be shared with other agents' runs."""
        del ctx, request_context
        attempt(_count_tokens, response)
        return response

    async def wrap_tool_validate(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: Any,
        handler: WrapToolValidateHandler,
    ) -> ValidatedToolArgs:
        """Record arguments that are not valid, as a tool that failed. It is not executed."""
        del ctx, tool_def
        try:
            return await handler(args)
        except _INVALID as error:
            attempt(_log_invalid, call.tool_name, "tool", args, call.tool_call_id, error)
            raise

    async def wrap_output_validate(
        self, ctx: RunContext[Any], *, output_context: OutputContext, output: Any, handler: WrapOutputValidateHandler
    ) -> Any:
        """Record an output that is not valid."""
        return await _validated(ctx, output_context, output, handler)

    async def wrap_output_process(
        self, ctx: RunContext[Any], *, output_context: OutputContext, output: Any, handler: WrapOutputProcessHandler
    ) -> Any:
        """Track an output function, and record an output that a validator rejects."""
        if output_context.has_function and not ctx.partial_output:
            function: _Function | None = attempt(_begin_function, output_context, output)
            return await (handler(output) if function is None else wrap_coroutine(function, handler(output)))
        return await _validated(ctx, output_context, output, handler)

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: ValidatedToolArgs,
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """Track an execution. If it asks the model to try again, it failed."""
        del tool_def
        tool: _Tool | None = attempt(_begin_tool, ctx, call, args)
        return await (handler(args) if tool is None else wrap_coroutine(tool, handler(args)))


def _begin(ctx: RunContext[Any]) -> _Run:
    """Return a run that has begun."""
    run = _Run(ctx)
    with join_application_trace():
        run.begin()
    if run.traced is not None:
        attempt(run.ask, ctx)
    return run


def _begin_request(context: ModelRequestContext) -> _Request | None:
    """Count a request in its run, and return it, begun; None outside of a run that is traced."""
    run = _run.get()
    if run is None or run.ended:
        return None
    if getattr(context, "streaming", False):
        run.partial = ""
    attempt(lambda: run.count_request(context.model.model_name))
    attempt(lambda: run.count_retries(_retries(context.messages)))
    attempt(_log_unknown, context)
    return _Request(run, context)


def _begin_tool(ctx: RunContext[Any], call: ToolCallPart, arguments: ValidatedToolArgs) -> _Tool | None:
    """Return an execution that has begun; None outside of a run."""
    run = _run.get()
    return None if run is None else _Tool(run, call, ctx.retry, arguments)


def _history(ctx: RunContext[Any]) -> Any:
    """Return the last request in the history of a run, as chat messages."""
    last = next((message for message in reversed(ctx.messages) if message.kind == "request"), None)
    return None if last is None else chat(last)


def _log_invalid(name: str, kind: str, value: object, call_id: str | None, error: Exception) -> None:
    """Record something of the model's that is not valid, as a span that failed."""
    if (run := _run.get()) is not None:
        given = {"input": value, "attributes": {_CALL_ID: call_id, _STAGE: "validation"} if call_id else {}}
        Step(run, name, kind, lambda: given).end(error)


def _log_unknown(context: ModelRequestContext) -> None:
    """Record calls of tools that do not exist, for which pydantic-ai calls no hook, only asks again."""
    parts: Any = context.messages[-1].parts if context.messages else ()
    for part in parts:
        if getattr(getattr(part, "retry", None), "cause", None) == "unknown_tool":
            _log_invalid(part.tool_name, "tool", None, part.tool_call_id, LookupError(text_of(part.content)))


def _output_of(context: OutputContext) -> tuple[str, str]:
    """Return the name and the type of the span of an output that is not valid."""
    return (context.tool_call.tool_name if context.tool_call is not None else "output"), "guardrail"


def _begin_function(context: OutputContext, output: object) -> _Function | None:
    """Return a call of an output function that has begun; None outside of a run."""
    run = _run.get()
    name = context.function_name or (context.tool_call.tool_name if context.tool_call is not None else "output")
    return None if run is None else _Function(run, name, "tool", lambda: {"input": output})


def _count_tokens(response: ModelResponse) -> None:
    """Count the tokens of an answer, and of those before it that a fallback has rejected."""
    if (run := _run.get()) is not None:
        rejected = [one.usage for one in getattr(response, "failed_attempts", None) or ()]
        for usage in (response.usage, *filter(None, rejected)):
            run.event.token_count = (run.event.token_count or 0) + usage.total_tokens
            run.count_tokens(usage.input_tokens, usage.output_tokens)


class _Request(Step):
    """A request to a model."""

    def __init__(self, run: _Run, context: ModelRequestContext) -> None:
        model = context.model
        self._of = run
        self._streamed: ModelResponse | None = None
        self._started = time.time()
        super().__init__(run, run.event.model or "model", "llm", lambda: {"input": request(context)})
        # A FallbackModel has no provider of its own; the response has that of the model that has answered.
        provider = None if isinstance(model, FallbackModel) else model.system
        self.record(lambda: {"model": model.model_name, "provider": provider})
        self.record(lambda: self._new_of(of_request(context)))
        self._models = attempt(getattr, model, "models", (), default=())

    def _new_of(self, found: dict[str, Any]) -> dict[str, Any]:
        """Leave the definitions of the tools out if the last request of the run had the same."""
        before, self._of.definitions = self._of.definitions, found.get(DEFINITIONS)
        return {key: value for key, value in found.items() if key != DEFINITIONS or value != before}

    def observe(self, value: object) -> bool:
        """Record the model's answer."""
        if self._of.partial is not None and self.traced is not None:
            self._of.partial = attempt(lambda: cast("ModelResponse", value).text) or ""
        self.record(lambda: self._about(cast("ModelResponse", value)))
        if self.traced is not None:
            with Block(self.step):
                attempt(open_failed_attempts, getattr(value, "failed_attempts", None), self._models)
        return False

    def take_stream(self, response: ModelResponse | None, seconds: float | None) -> None:
        """Record the answer of a stream, as far as it was read, and the seconds to its first part."""
        self._streamed = response
        if seconds is not None:
            self.record(lambda: {"first_token_at": self._started + seconds})

    def end(self, error: BaseException | None = None) -> None:
        """End the request. One that another capability has answered did not fail, nor one that is no longer read."""
        is_left = self._of.partial is not None and issubclass(type(error), CancelledError)
        if is_left and self._streamed is not None:
            self.observe(self._streamed)
            attempt(_count_tokens, self._streamed)
        super().end(None if is_left or issubclass(type(error), exceptions.SkipModelRequest) else error)

    def _about(self, response: ModelResponse) -> dict[str, Any]:
        usage = response.usage
        counts = {name: getattr(usage, of, 0) for name, of in _COUNTS.items()}
        counts["reasoning_tokens"] = counts["reasoning_tokens"] or usage.details.get("reasoning_tokens", 0)
        return {
            "output": chat(response),
            "model": response.model_name,
            "provider": response.provider_name,
            "usage": {name: count for name, count in counts.items() if count},
            **attempt(of_response, response, default={}),
            **cost_of(response, [response.provider_url] if response.provider_url else []),
        }


class _Function(Step):
    """A call of an output function."""

    def observe(self, value: object) -> bool:
        """Record its result."""
        self.record(lambda: {"output": value})
        return False


class _Tool(Step):
    """An execution of a tool."""

    def __init__(self, run: _Run, call: ToolCallPart, retry: int, arguments: ValidatedToolArgs) -> None:
        super().__init__(
            run, call.tool_name, "tool", lambda: {"input": arguments, "attributes": {_CALL_ID: call.tool_call_id}}
        )
        self.run = run
        self._event = ToolExecutionEvent(call.tool_name, retry_count=retry or None)
        self._started = time.perf_counter()

    def observe(self, value: object) -> bool:
        """Record the tool's result."""
        self.record(lambda: {"output": value.return_value if isinstance(value, ToolReturn) else value})
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the execution. A skipped one succeeded, and a deferred one is not an execution."""
        kind = type(error)
        if issubclass(kind, (*_DEFERRALS, exceptions.SkipToolExecution)):
            super().end()
        else:
            super().end(error)
        if issubclass(kind, _DEFERRALS):
            return
        failed = error is not None and not issubclass(kind, exceptions.SkipToolExecution)
        self._event.success = not failed
        self._event.error_type = class_name(kind) if failed else None
        self._event.duration_ms = (time.perf_counter() - self._started) * 1000
        self.run.log_tool(self._event)


def _retries(messages: Sequence[ModelMessage]) -> int:
    """Return the number of retries that the last message asks for."""
    parts = messages[-1].parts if messages else ()
    return sum(part.part_kind in _RETRIES or getattr(part, "retry", None) is not None for part in parts)


def _innermost(agent: object) -> Agent[Any, Any]:
    """Return the agent that does the work, inside of its wrappers."""
    inner = agent
    while isinstance(inner, WrapperAgent):
        inner = inner.wrapped
    if not isinstance(inner, Agent):
        raise TypeError(f"instrument takes a pydantic_ai.Agent; this is {described(agent)}")
    return inner


def _trackers(agent: Agent[Any, Any]) -> list[_Tracker]:
    return [one for one in agent.root_capability.capabilities if is_instance(one, _Tracker)]


async def _validated(
    ctx: RunContext[Any], of: OutputContext, output: Any, handler: Callable[[Any], Awaitable[Any]]
) -> Any:
    """Return a handler's result. Record an output that is not valid, which a part of a streamed one need not be."""
    try:
        return await handler(output)
    except _INVALID as error:
        if not ctx.partial_output:
            attempt(_log_invalid, *_output_of(of), output, None, error)
        raise


def _is_multimodal(prompt: object) -> bool:
    """Return whether a prompt holds more than text."""
    return isinstance(prompt, list | tuple) and any(map(is_multi_modal_content, first(prompt)))
