"""Tracks the runs and tools of an agno agent: `instrument(agent)`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

try:
    from agno import exceptions
    from agno.agent import Agent
    from agno.run.agent import RunCancelledEvent, RunErrorEvent, RunOutput, ToolCallCompletedEvent, ToolCallErrorEvent
    from agno.run.base import RunStatus
except ImportError as error:
    raise ImportError(
        "automagik_telemetry.integrations.agno needs agno: pip install 'automagik-telemetry[agno]'"
    ) from error

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events.catalogue import ToolExecutionEvent
from automagik_telemetry.integrations._agent_run import AgentRun, allow_public_models
from automagik_telemetry.integrations._patch import patch_instance, unpatch_instance
from automagik_telemetry.integrations._runtime import observability, telemetry
from automagik_telemetry.integrations._wrapping import wrap_call
from automagik_telemetry.integrations.agno._messages import prompt
from automagik_telemetry.integrations.agno._model import Request, track_model
from automagik_telemetry.tracing import _cost as cost
from automagik_telemetry.tracing._propagation import join_application_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from agno.models.response import ToolExecution

Method = TypeVar("Method", bound="Callable[..., Any]")
AnyAgent = TypeVar("AnyAgent", bound=Agent)

_METHODS = ("run", "arun", "continue_run", "acontinue_run")
_MEDIA = ("audio", "images", "videos", "files")
# The error of a run that agno ended in one without saying which: when it doesn't stream, it keeps the text alone.
_UNNAMED = "AgentRunError"


def instrument(agent: AnyAgent) -> AnyAgent:
    """Track every run of this agent, and every tool that it executes; return the agent.

    The agent gets a subclass of its own class, of the same name, which tracks `run`, `arun`, `continue_run` and
    `acontinue_run`; no class changes. agno's hooks would show in what it streams, and replace those of its tools.
    Doing it twice changes nothing. The names of the agent and its tools leave as hashes unless they are declared.
    Raises TypeError for what is no agent.
    """
    _check(agent)
    declare(*_exception_names())
    allow_public_models()
    if observability() is not None:
        cost.prepare()
    patch_instance(agent, dict.fromkeys(_METHODS, _tracked))
    return agent


def uninstrument(agent: AnyAgent) -> AnyAgent:
    """Undo `instrument`, if it was done; return the agent. Raises TypeError for what is no agent."""
    _check(agent)
    unpatch_instance(agent)
    unpatch_instance(agent.model)
    return agent


def _check(agent: object) -> None:
    if not isinstance(agent, Agent):
        described = f"the class {agent.__name__}" if isinstance(agent, type) else f"a {type(agent).__name__}"
        raise TypeError(f"instrument takes an agno.agent.Agent; this is {described}")


class _Run(AgentRun):
    """A run, with what agno tells about it: the tools, and how it ended, for agno seldom raises."""

    def __init__(self, agent: Agent, options: dict[str, Any], *, continues: bool, earlier: RunOutput | None) -> None:
        super().__init__(agent.name or "agent", "agno", has_multimodal=any(options.get(kind) for kind in _MEDIA))
        self.requests: list[Request] = []
        self._ran = agent
        self._hides = not options.get("yield_run_output")
        # One that continues an earlier run, of which agno has the account and we don't, tells of both as one.
        self._counts = earlier is not None or not continues
        self._since = time.time()
        self._earlier = _tokens(earlier)
        self._tools = {_key(tool) for tool in (earlier.tools if earlier else None) or () if _was_executed(tool)}
        self._failure: BaseException | None = None

    def ask(self, asked: object, options: dict[str, Any]) -> None:
        """Take in what the run was asked, by whom, and in which conversation."""
        with contextlib.suppress(Exception):
            self.record(
                input=prompt(asked, options),
                thread_id=options.get("session_id") or self._ran.session_id,
                user_id=options.get("user_id") or self._ran.user_id,
            )

    def end(self, error: BaseException | None = None) -> None:
        """End the run; as a failed one too if agno said so."""
        for request in self.requests:
            request.complete()
        super().end(error or self._failure)

    def observe(self, value: object) -> bool:
        """Take in the output of the run, or an event of it; the output is hidden if only we asked for it.

        A tool may stream what another agent does: that is not of this run.
        """
        if getattr(value, "agent_id", None) != self._ran.id:
            return False
        with contextlib.suppress(Exception):
            self._take(value)
        return self._hides and isinstance(value, RunOutput)

    def _take(self, value: object) -> None:
        if isinstance(value, RunOutput):
            self._take_output(value)
            for tool in value.tools or ():
                self._see_tool(tool)
            if value.status == RunStatus.error:
                self._failure = self._failure or _named(_UNNAMED)
            elif value.status == RunStatus.cancelled:
                self._failure = asyncio.CancelledError()
        elif isinstance(value, RunErrorEvent):
            self._failure = _named(value.error_type or _UNNAMED)
        elif isinstance(value, RunCancelledEvent):
            self._failure = asyncio.CancelledError()
        elif isinstance(value, ToolCallCompletedEvent | ToolCallErrorEvent) and value.tool is not None:
            self._see_tool(value.tool)

    def _take_output(self, output: RunOutput) -> None:
        event = self.event
        if self._counts:
            event.token_count, event.input_tokens, event.output_tokens = (
                now - before for now, before in zip(_tokens(output), self._earlier, strict=True)
            )
        if self.traced is not None:
            self.traced.output = output.content
            self.traced.thread_id = self.traced.thread_id or output.session_id

    def _see_tool(self, tool: ToolExecution) -> None:
        """Log a tool that was executed in this run, once: an event may tell of it, and the output again."""
        metrics = tool.metrics
        if not _was_executed(tool) or _key(tool) in self._tools or _key(tool)[1] < self._since:
            return
        self._tools.add(_key(tool))
        success = not tool.tool_call_error
        duration_ms = None if metrics is None or metrics.duration is None else metrics.duration * 1000
        self.log_tool(ToolExecutionEvent(tool.tool_name or "", success=success, duration_ms=duration_ms))


def _was_executed(tool: ToolExecution) -> bool:
    return tool.tool_call_error is not None and not tool.is_paused


def _key(tool: ToolExecution) -> tuple[str | None, float]:
    """Return what tells an execution from the others: its call, and its begin, unknown of one that was confirmed."""
    begin = tool.metrics.start_time if tool.metrics is not None else None
    return tool.tool_call_id, math.inf if begin is None else begin


def _tracked(method: Method) -> Method:
    """Return a method that tracks what the given one does, with the same result."""
    continues = "continue" in method.__name__

    @functools.wraps(method)
    def tracked(self: Agent, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the method's own
        stream = self.stream if kwargs.get("stream") is None else kwargs["stream"]
        off = telemetry() is None and observability() is None
        if off or (kwargs.get("background") and not stream):
            return method(self, *args, **kwargs)  # agno tells nothing of what it does in the background
        earlier = kwargs.get("run_response", args[0] if args else None)
        run = _Run(self, kwargs, continues=continues, earlier=earlier if isinstance(earlier, RunOutput) else None)
        track_model(self.model)
        with join_application_trace():
            run.begin()
        if run.traced is not None:
            run.ask(None if continues else kwargs.get("input", args[0] if args else None), kwargs)
        options = {**kwargs, "yield_run_output": True} if stream else kwargs
        return wrap_call(run, lambda: method(self, *args, **options))

    return cast("Method", tracked)


def _tokens(output: RunOutput | None) -> tuple[int, int, int]:
    """Return the tokens in all, those read and those written."""
    metrics = output.metrics if output is not None else None
    return (0, 0, 0) if metrics is None else (metrics.total_tokens, metrics.input_tokens, metrics.output_tokens)


def _named(error_type: str) -> Exception:
    """Return an exception of that name, for of its own agno gives a slug or the name of the class, and no more."""
    name = "".join(part.title() for part in error_type.split("_")) if error_type.islower() else error_type
    kind: type[Exception] = type(name, (Exception,), {})
    return kind()


def _exception_names() -> list[str]:
    """Return the names of the framework's own exceptions, which are nobody's secret."""
    return [name for name, one in vars(exceptions).items() if isinstance(one, type) and issubclass(one, BaseException)]
