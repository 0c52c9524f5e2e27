"""Tracks the runs and tools of a pydantic-ai agent: `instrument(agent)`."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

try:
    from pydantic_ai import Agent, exceptions
    from pydantic_ai.agent import WrapperAgent
    from pydantic_ai.capabilities import AbstractCapability, CombinedCapability
    from pydantic_ai.messages import is_multi_modal_content
except ImportError as error:
    raise ImportError(
        "automagik_telemetry.integrations.pydantic_ai needs pydantic-ai: pip install 'automagik-telemetry[pydantic-ai]'"
    ) from error

from automagik_telemetry.host_trace import joined
from automagik_telemetry.integrations.agent_run import AgentRun
from automagik_telemetry.integrations.current import telemetry
from automagik_telemetry.telemetry.events import ToolExecutionEvent
from automagik_telemetry.telemetry.vocabulary import declare

if TYPE_CHECKING:
    from pydantic_ai import RunContext
    from pydantic_ai.capabilities import ValidatedToolArgs, WrapRunHandler, WrapToolExecuteHandler
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import ToolDefinition

AnyAgent = TypeVar("AnyAgent", bound="Agent[Any, Any] | WrapperAgent[Any, Any]")

# A tool that waits for an approval, or for somebody else to run it, has not been executed.
_DEFERRALS = (exceptions.CallDeferred, exceptions.ApprovalRequired)

_run: ContextVar[AgentRun | None] = ContextVar("automagik_telemetry_pydantic_ai_run", default=None)


def instrument(agent: AnyAgent) -> AnyAgent:
    """Track every run of this agent, however it is started, and every tool that it executes; return the agent.

    The agent gets one capability more, pydantic-ai's own way of looking on; doing it twice changes nothing. Its name
    and its tools' names leave as hashes unless they are declared. Raises TypeError for what is no agent.
    """
    inner = _innermost(agent)
    if not _trackers(inner):
        declare(*_exception_names())
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


class _Tracker(AbstractCapability[Any]):
    """Looks on at runs, tools and the models' answers, and hands everything on as it is."""

    async def wrap_run(self, ctx: RunContext[Any], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Track a run, with what is logged inside it as its part."""
        if telemetry() is None:
            return await handler()
        name = (ctx.agent.name if ctx.agent is not None else None) or "agent"
        run = AgentRun(name, "pydantic_ai", has_multimodal=_is_multimodal(ctx.prompt))
        with joined():
            run.begin()
        token = _run.set(run)
        try:
            with run.step():
                result = await handler()
        except BaseException as error:
            run.end(error)
            raise
        else:
            run.end()
            return result
        finally:
            _run.reset(token)

    async def after_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, response: ModelResponse
    ) -> ModelResponse:
        """Count the tokens of an answer: here, for `ctx.usage` may be shared with other agents' runs."""
        del ctx, request_context
        if (run := _run.get()) is not None:
            run.token_count = (run.token_count or 0) + response.usage.total_tokens
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
        del ctx, tool_def
        run = _run.get()
        if run is None:
            return await handler(args)
        started = time.perf_counter()
        success = False
        deferred = False
        try:
            result = await handler(args)
            success = True
        except exceptions.SkipToolExecution:
            success = True
            raise
        except _DEFERRALS:
            deferred = True
            raise
        finally:
            if not deferred:
                duration_ms = (time.perf_counter() - started) * 1000
                _log_tool(ToolExecutionEvent(call.tool_name, run.agent_name, success, duration_ms))
        return result


def _log_tool(event: ToolExecutionEvent) -> None:
    collector = telemetry()
    if collector is not None:
        collector.track_event(event)


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
