"""Tracks the runs and tools of a pydantic-ai agent: `instrument(agent)`."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

try:
    from pydantic_ai import Agent, exceptions
    from pydantic_ai.agent import WrapperAgent
    from pydantic_ai.capabilities import AbstractCapability, CombinedCapability
    from pydantic_ai.messages import ToolReturn, is_multi_modal_content
except ImportError as error:
    raise ImportError(
        "automagik_telemetry.integrations.pydantic_ai needs pydantic-ai: pip install 'automagik-telemetry[pydantic-ai]'"
    ) from error

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events.catalogue import ToolExecutionEvent
from automagik_telemetry.integrations._agent_run import AgentRun, Step, allow_public_models
from automagik_telemetry.integrations._runtime import observability, telemetry
from automagik_telemetry.integrations._wrapping import wrap_coroutine
from automagik_telemetry.integrations.pydantic_ai._messages import Conversation, prompt
from automagik_telemetry.tracing._propagation import join_application_trace

try:
    from pydantic_ai._instrumentation import model_response_span_capture
except ImportError:  # it is what their own instrumentation uses, and may move

    def model_response_span_capture(_request: Any, _capture: Any, /) -> Any:  # type: ignore[misc]  # noqa: ANN401 - as theirs
        """Capture nothing."""
        return contextlib.nullcontext()


if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_ai import RunContext
    from pydantic_ai.capabilities import (
        ValidatedToolArgs,
        WrapModelRequestHandler,
        WrapRunHandler,
        WrapToolExecuteHandler,
    )
    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import ToolDefinition

AnyAgent = TypeVar("AnyAgent", bound="Agent[Any, Any] | WrapperAgent[Any, Any]")

# A tool that waits for an approval, or for somebody else to run it, has not been executed.
_DEFERRALS = (exceptions.CallDeferred, exceptions.ApprovalRequired)

_RETRIES = ("retry-prompt", "retry-feedback")
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_CALL_ID = "gen_ai.tool.call.id"

_run: ContextVar[_Run | None] = ContextVar("automagik_telemetry_pydantic_ai_run", default=None)


def instrument(agent: AnyAgent) -> AnyAgent:
    """Track every run of this agent, however it is started, and every tool that it executes; return the agent.

    The agent gets one capability more, pydantic-ai's own way of looking on; doing it twice changes nothing. Its name
    and its tools' names leave as hashes unless they are declared. Raises TypeError for what is no agent.
    """
    inner = _innermost(agent)
    if not _trackers(inner):
        declare(*_exception_names())
        allow_public_models()
        # As the agent itself adds the listeners of `on_event`: whatever the root holds stays as it is.
        inner._root_capability = CombinedCapability([_Tracker(), inner._root_capability])  # noqa: SLF001 - there is no public way after construction
    return agent


def uninstrument(agent: AnyAgent) -> AnyAgent:
    """Undo `instrument`, if it was done; return the agent. Raises TypeError for what is no agent."""
    inner = _innermost(agent)
    if trackers := _trackers(inner):
        rest = inner.root_capability.visit_and_replace(lambda one: None if one in trackers else one)
        inner._root_capability = rest if isinstance(rest, CombinedCapability) else CombinedCapability([])  # noqa: SLF001 - see `instrument`
    return agent


class _Run(AgentRun):
    """A run, with the conversation that it leads."""

    def __init__(self, ctx: RunContext[Any]) -> None:
        name = (ctx.agent.name if ctx.agent is not None else None) or "agent"
        super().__init__(name, "pydantic_ai", has_multimodal=_is_multimodal(ctx.prompt))
        self.conversation = Conversation()

    def ask(self, ctx: RunContext[Any]) -> None:
        """Take in what the run was asked, by whom, and in which conversation."""
        with contextlib.suppress(Exception):
            said = ctx.metadata or {}
            self.record(
                input=prompt(ctx.prompt),
                thread_id=said.get("session_id") or said.get("thread_id") or ctx.conversation_id,
                user_id=said.get("user_id"),
            )

    def observe(self, value: object) -> bool:
        """Take in the result."""
        if self.traced is not None:
            self.traced.output = getattr(value, "output", None)
        return False


class _Tracker(AbstractCapability[Any]):
    """Looks on at runs, tools and the models' answers, and hands everything on as it is."""

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Track a run, with what is logged inside it as its part."""
        if telemetry() is None and observability() is None:
            return await handler()
        run = _Run(ctx)
        with join_application_trace():
            run.begin()
        if run.traced is not None:
            run.ask(ctx)
        token = _run.set(run)
        try:
            return await wrap_coroutine(run, handler())
        finally:
            _run.reset(token)

    async def wrap_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, handler: WrapModelRequestHandler
    ) -> ModelResponse:
        """Track a request to a model."""
        del ctx
        run = _run.get()
        if run is None:
            return await handler(request_context)
        with contextlib.suppress(Exception):  # a property of the application's own model
            run.count_request(request_context.model.model_name)
            run.count_retries(_retries(request_context.messages))
        if run.traced is None:
            return await handler(request_context)
        request = _Request(run, request_context)
        with model_response_span_capture(request_context, request.take_first_token):
            response: ModelResponse = await wrap_coroutine(request, handler(request_context))
        return response

    async def after_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, response: ModelResponse
    ) -> ModelResponse:
        """Count the tokens of an answer: here, for `ctx.usage` may be shared with other agents' runs."""
        del ctx, request_context
        if (run := _run.get()) is not None:
            run.event.token_count = (run.event.token_count or 0) + response.usage.total_tokens
            run.count_tokens(response.usage.input_tokens, response.usage.output_tokens)
        return response

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: ValidatedToolArgs,
        handler: WrapToolExecuteHandler,
    ) -> Any:  # noqa: ANN401 - the tool's own
        """Track an execution; one that asks the model to try again is a failed one."""
        del tool_def
        run = _run.get()
        if run is None:
            return await handler(args)
        tool = _Tool(run, call, ctx.retry, args)
        return await wrap_coroutine(tool, handler(args))


class _Request(Step):
    """A request to a model."""

    def __init__(self, run: _Run, context: ModelRequestContext) -> None:
        model = context.model
        self._conversation = run.conversation
        self._started = time.time()
        super().__init__(run, run.event.model or "model", "llm", lambda: {"input": run.conversation.request(context)})
        self.record(lambda: {"model": model.model_name, "provider": model.system})

    def observe(self, value: object) -> bool:
        """Take in the model's answer."""
        self.record(lambda: self._about(cast("ModelResponse", value)))
        return False

    def take_first_token(self, _response: object, seconds: float | None) -> None:
        """Take in how long a stream's first part took, in seconds from the request on."""
        if seconds is not None:
            self.record(lambda: {"first_token_at": self._started + seconds})

    def end(self, error: BaseException | None = None) -> None:
        """End it; one that another capability has answered instead is no failed one."""
        super().end(None if isinstance(error, exceptions.SkipModelRequest) else error)

    def _about(self, response: ModelResponse) -> dict[str, Any]:
        usage = response.usage
        counts = {name: getattr(usage, name, 0) for name in _COUNTS}
        counts["reasoning_tokens"] = usage.details.get("reasoning_tokens", 0)
        return {
            "output": self._conversation.response(response),
            "model": response.model_name,
            "provider": response.provider_name,
            "usage": {name: count for name, count in counts.items() if count},
            **_cost(response),
        }


class _Tool(Step):
    """An execution of a tool."""

    def __init__(self, run: _Run, call: ToolCallPart, retry: int, arguments: ValidatedToolArgs) -> None:
        super().__init__(
            run, call.tool_name, "tool", lambda: {"input": arguments, "attributes": {_CALL_ID: call.tool_call_id}}
        )
        self._event = ToolExecutionEvent(call.tool_name, retry_count=retry or None)
        self._started = time.perf_counter()

    def observe(self, value: object) -> bool:
        """Take in what the tool gave."""
        self.record(lambda: {"output": value.return_value if isinstance(value, ToolReturn) else value})
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End it; one that was skipped was a success, and one that was put off was no execution."""
        if isinstance(error, (*_DEFERRALS, exceptions.SkipToolExecution)):
            super().end()
        else:
            super().end(error)
        if isinstance(error, _DEFERRALS):
            return
        failed = error is not None and not isinstance(error, exceptions.SkipToolExecution)
        self._event.success = not failed
        self._event.error_type = type(error).__name__ if failed else None
        self._event.duration_ms = (time.perf_counter() - self._started) * 1000
        self.run.log_tool(self._event)


def _retries(messages: Sequence[ModelMessage]) -> int:
    """Return how many things the last message says were not good, and have to be tried again."""
    parts = messages[-1].parts if messages else ()
    return sum(part.part_kind in _RETRIES or getattr(part, "retry", None) is not None for part in parts)


def _cost(response: ModelResponse) -> dict[str, Any]:
    """Return what an answer cost: what its provider reported, else pydantic-ai's estimate."""
    cost = getattr(response.usage, "cost", None)
    if cost is None:
        return {}
    try:
        estimated = response.cost().total_price == cost
    except Exception:  # noqa: BLE001 - the price is not known, so it can't be an estimate
        estimated = False
    return {"cost": float(cost), "cost_estimated": estimated}


def _innermost(agent: object) -> Agent[Any, Any]:
    """Return the agent that does the work, inside of those that wrap it."""
    inner = agent
    while isinstance(inner, WrapperAgent):
        inner = inner.wrapped
    if not isinstance(inner, Agent):
        described = f"the class {agent.__name__}" if isinstance(agent, type) else f"a {type(agent).__name__}"
        raise TypeError(f"instrument takes a pydantic_ai.Agent; this is {described}")
    return inner


def _trackers(agent: Agent[Any, Any]) -> list[AbstractCapability[Any]]:
    return [one for one in agent.root_capability.capabilities if isinstance(one, _Tracker)]


def _is_multimodal(prompt: object) -> bool:
    """Return whether a prompt holds more than text."""
    return isinstance(prompt, list | tuple) and any(map(is_multi_modal_content, prompt))


def _exception_names() -> list[str]:
    """Return the names of the framework's own exceptions, which are nobody's secret."""
    return [name for name, one in vars(exceptions).items() if isinstance(one, type) and issubclass(one, BaseException)]
