"""Tracks the runs and tools of an agno agent: `instrument(agent)`."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

try:
    from agno import exceptions
    from agno.agent import Agent
    from agno.run import team as of_team
    from agno.run.agent import (
        RunCancelledEvent,
        RunContentEvent,
        RunErrorEvent,
        RunOutput,
        ToolCallCompletedEvent,
        ToolCallErrorEvent,
    )
    from agno.run.base import RunStatus
    from agno.team import Team
except ImportError as error:
    from automagik_telemetry.integrations._errors import unusable

    raise unusable("automagik_telemetry.integrations.agno", "agno", ("agno",), error) from error

from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import Block, attempt
from automagik_telemetry._process import kept
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events._names import declare_later
from automagik_telemetry.events.catalogue import ToolExecutionEvent
from automagik_telemetry.integrations._agent_run import AgentRun, current_run
from automagik_telemetry.integrations._errors import described, exception_names
from automagik_telemetry.integrations._patch import is_patched, patch_instance, unpatch_instance
from automagik_telemetry.integrations._runtime import begin, observability
from automagik_telemetry.integrations._wrapping import wrap_call
from automagik_telemetry.integrations.agno._messages import prompt
from automagik_telemetry.integrations.agno._model import Request, each_model, track_model
from automagik_telemetry.tracing import _cost as cost
from automagik_telemetry.tracing._propagation import join_application_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from agno.models.response import ToolExecution

    from automagik_telemetry.tracing.spans import OpenSpan

Method = TypeVar("Method", bound="Callable[..., Any]")
AnyAgent = TypeVar("AnyAgent", bound=Agent | Team)

_METHODS = ("run", "arun", "continue_run", "acontinue_run")
_OUTPUTS = (RunOutput, of_team.TeamRunOutput)
_CONTENTS = (RunContentEvent, of_team.RunContentEvent)
_ERRORS = (RunErrorEvent, of_team.RunErrorEvent)
_CANCELLATIONS = (RunCancelledEvent, of_team.RunCancelledEvent)
_TOOLS = (ToolCallCompletedEvent, ToolCallErrorEvent, of_team.ToolCallCompletedEvent, of_team.ToolCallErrorEvent)
_DELEGATIONS = ("delegate_task_to_member", "delegate_task_to_members")
"""agno's tools of a team's leader."""
_MEDIA = ("audio", "images", "videos", "files")
# The error of a run that agno ended without the class: when it doesn't stream, it keeps only the text.
_UNNAMED = "AgentRunError"
_MAX_PAUSED = 1_000
_paused: dict[str, tuple[str, str]] = kept("agno_paused", dict)
"""Trace ID and span ID of runs that wait for a decision, by their ID, the oldest first."""
_MAX_PIECES = 10_000
"""Maximum number of pieces of a stream that are kept for the trace."""


def instrument(agent: AnyAgent) -> AnyAgent:
    """Track every run of this agent or team, of its members, and every tool that they execute.

    It gets a subclass of its own class, of the same name, which tracks `run`, `arun`, `continue_run` and
    `acontinue_run`; no class changes. So do the members of a team. agno's hooks would appear in its streams, and
    replace those of its tools. A second call changes nothing. The names of the agent and its tools are declared if this
    precedes the first event or request; later ones are sent as hashes, unless they are declared otherwise.

    Args:
        agent: An `agno.agent.Agent` or `agno.team.Team`.

    Returns:
        The same agent.

    Raises:
        TypeError: The object is neither.
    """
    _check(agent)
    attempt(track_agent, agent)
    return agent


def track_agent(agent: Agent | Team) -> None:
    """Track an agent or a team and its members, unless it is tracked already."""
    if is_patched(agent):
        return
    declare(*exception_names(exceptions), *_DELEGATIONS)
    declare_later(agent, _names)
    if observability() is not None:
        cost.prepare()
    initialize = "initialize_team" if isinstance(agent, Team) else "initialize_agent"
    wraps = {**dict.fromkeys(_METHODS, _tracked), initialize: _initialized, "background_executor": _executor}
    patch_instance(agent, wraps)
    for member in _members(agent):
        attempt(track_agent, member)


def _members(agent: Agent | Team) -> list[Any]:
    """Return the members of a team, as far as they are given as objects."""
    members: Any = agent.members if isinstance(agent, Team) else ()  # a list, or what the application set
    return [member for member in members if isinstance(member, Agent | Team)] if type(members) is list else []


def _names(agent: Agent | Team) -> list[Any]:
    """Return the names of an agent or a team and its tools, as far as the code gives them."""
    tools = agent.tools if isinstance(agent.tools, list) else []
    return [agent.name, *(name for tool in tools for name in _names_of(tool))]


def _names_of(tool: Any) -> list[Any]:
    """Return the names of a tool: a function, a `Function`, or a `Toolkit` with several of them."""
    functions = getattr(tool, "functions", None)
    if isinstance(functions, dict):
        return [*functions, *getattr(tool, "async_functions", ())]
    return [getattr(tool, "name", None) or getattr(tool, "__name__", None)]


def uninstrument(agent: AnyAgent) -> AnyAgent:
    """Undo `instrument`, if it was done, for the members of a team too.

    Args:
        agent: An `agno.agent.Agent` or `agno.team.Team`.

    Returns:
        The same agent.

    Raises:
        TypeError: The object is neither.
    """
    _check(agent)
    unpatch_instance(agent)
    attempt(each_model, agent, unpatch_instance)
    for member in _members(agent):
        uninstrument(member)
    return agent


def _check(agent: object) -> None:
    if not isinstance(agent, Agent | Team):
        raise TypeError(f"instrument takes an agno.agent.Agent or agno.team.Team; this is {described(agent)}")


class _Run(AgentRun):
    """A run with agno's reports: the tools, and the outcome, because agno seldom raises."""

    def __init__(self, agent: Agent | Team, options: dict[str, Any], *, earlier: Any) -> None:
        name = attempt(getattr, agent, "name", None)
        super().__init__(
            (name is not None and text_of(name)) or "agent",
            "agno",
            has_multimodal=attempt(lambda: any(options.get(kind) for kind in _MEDIA), default=True),
        )
        self.requests: list[Request] = []
        self.streams = False
        self._ran = agent
        self._hides = not options.get("yield_run_output")
        self._since = time.time()
        self._tools = {_key(tool) for tool in (earlier.tools if earlier else None) or () if _was_executed(tool)}
        self._failure: BaseException | None = None
        self._texts: list[str] = []

    def ask(self, asked: object, options: dict[str, Any]) -> None:
        """Record the run's input, user and conversation."""
        self.record(
            input=attempt(prompt, asked, options),
            thread_id=options.get("session_id") or self._ran.session_id,
            user_id=options.get("user_id") or self._ran.user_id,
        )

    def end(self, error: BaseException | None = None) -> None:
        """End the run, as a failed one if agno reported a failure."""
        for request in self.requests:
            request.complete()
        # agno's sum includes those of the run that this one continues, and counts each provider's in its own way.
        attempt(self._count_own_tokens)
        if self.traced is not None and self.traced.output is None and self._texts:  # of a stream that was left early
            self.traced.output = "".join(self._texts)
        super().end(self._failure if error is None else error)

    def observe(self, value: object) -> bool:
        """Record the output of the run, or an event of it. The output is hidden if only we asked for it.

        A tool may stream the events of another agent, which are not part of this run.
        """
        if not attempt(self._is_own, value, default=True):
            return False
        attempt(self._take, value)
        return self._hides and issubclass(type(value), _OUTPUTS)

    def _is_own(self, value: object) -> bool:
        own = "team_id" if isinstance(self._ran, Team) else "agent_id"
        return bool(getattr(value, own, None) == self._ran.id)

    def _take(self, value: object) -> None:
        if isinstance(value, _OUTPUTS):
            self._take_output(value)
            for tool in value.tools or ():
                self._see_tool(tool)
            if value.status == RunStatus.error:
                self._failure = self._failure or failure(_UNNAMED, value.content)
            elif value.status == RunStatus.cancelled:
                self._failure = self._failure or asyncio.CancelledError(value.content)
        elif isinstance(value, _CONTENTS):
            if self.traced is not None and isinstance(value.content, str) and len(self._texts) < _MAX_PIECES:
                self._texts.append(value.content)
        elif isinstance(value, _ERRORS):
            self._failure = failure(value.error_type or _UNNAMED, value.content)
        elif isinstance(value, _CANCELLATIONS):
            self._failure = asyncio.CancelledError(value.reason or "")
        elif isinstance(value, _TOOLS) and value.tool is not None:
            self._see_tool(value.tool)

    def _count_own_tokens(self) -> None:
        """Record the sums of the tokens of all requests so far."""
        known = [tokens for request in self.requests if (tokens := attempt(request.tokens)) is not None]
        if known:
            self.event.input_tokens, self.event.output_tokens = map(sum, zip(*known, strict=True))
            self.event.token_count = self.event.input_tokens + self.event.output_tokens

    def _take_output(self, output: Any) -> None:
        if self.traced is not None:
            if output.status == RunStatus.paused:
                keep_paused(output, self.traced)
            self.traced.output = output.content
            self.traced.thread_id = self.traced.thread_id or output.session_id

    def _see_tool(self, tool: ToolExecution) -> None:
        """Log a tool that was executed in this run, once: both an event and the output may report it."""
        metrics = tool.metrics
        if not _was_executed(tool) or _key(tool) in self._tools or _key(tool)[1] < self._since:
            return
        self._tools.add(_key(tool))
        success = not tool.tool_call_error
        duration_ms = None if metrics is None or metrics.duration is None else metrics.duration * 1000
        self.log_tool(ToolExecutionEvent(tool.tool_name or "", success=success, duration_ms=duration_ms))


def keep_paused(output: Any, span: OpenSpan) -> None:
    """Keep the span of a run that waits for a decision."""
    if output.run_id is not None:
        _paused[output.run_id] = span.trace.trace_id, span.span_id
        while len(_paused) > _MAX_PAUSED:
            del _paused[next(iter(_paused))]


def link_to_paused(span: OpenSpan, run_id: Any) -> None:
    """Link the root of a trace to the run with this ID, if that has paused."""
    if run_id is not None and span.is_root and span.trace.link is None:
        span.trace.link = _paused.pop(run_id, None)


def _was_executed(tool: ToolExecution) -> bool:
    is_rejected = tool.confirmed is False
    return tool.tool_call_error is not None and not tool.is_paused and not is_rejected


def _key(tool: ToolExecution) -> tuple[str | None, float]:
    """Return the identity of an execution: its call, and its begin, which is unknown for a confirmed one."""
    begin = tool.metrics.start_time if tool.metrics is not None else None
    return tool.tool_call_id, math.inf if begin is None else begin


def _tracked(method: Method) -> Method:
    """Return a method that tracks the given one, with the same result."""
    continues = "continue" in method.__name__

    @functools.wraps(method)
    def tracked(self: Agent | Team, *args: Any, **kwargs: Any) -> Any:
        run: _Run | None = begin(_begin, self, args, kwargs, continues)
        if run is None:
            return method(self, *args, **kwargs)
        options = {**kwargs, "yield_run_output": True} if run.streams else kwargs
        return wrap_call(run, lambda: method(self, *args, **options))

    return cast("Method", tracked)


def _begin(agent: Agent | Team, args: tuple[Any, ...], kwargs: dict[str, Any], continues: bool) -> _Run | None:  # noqa: FBT001 - for `begin`
    """Return a run that has begun; None for one in the background, of which agno reports nothing."""
    streams = bool(agent.stream if kwargs.get("stream") is None else kwargs["stream"])
    if kwargs.get("background") and not streams:
        return None
    earlier = kwargs.get("run_response", args[0] if args else None)
    run = _Run(agent, kwargs, earlier=earlier if isinstance(earlier, _OUTPUTS) else None)
    run.streams = streams
    with join_application_trace():
        run.begin()
    if run.traced is not None:
        link_to_paused(run.traced, kwargs.get("run_id") or getattr(earlier, "run_id", None))
        attempt(run.ask, None if continues else kwargs.get("input", args[0] if args else None), kwargs)
    return run


def _initialized(method: Method) -> Method:
    """Return a method that begins a run, and tracks the models and members that the run has by then."""

    @functools.wraps(method)
    def tracked(self: Agent | Team, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        attempt(each_model, self, track_model)
        for member in attempt(_members, self, default=()):
            attempt(track_agent, member)
        return result

    return cast("Method", tracked)


def _executor(plain: Any) -> Any:
    """Return the property of the executor whose threads update memories: what they do is part of the run."""

    def executor(agent: Any) -> Any:
        own = plain.__get__(agent)
        return own if current_run() is None else _Executor(own)

    return property(executor)


class _Executor:
    """An executor whose jobs are part of the run that submits them."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit a job."""
        run = current_run()
        if run is None:
            return self._executor.submit(function, *args, **kwargs)

        def job() -> Any:
            with Block(run.step):
                return function(*args, **kwargs)

        return self._executor.submit(job)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the executor."""
        return getattr(self._executor, name)


def failure(error_type: str, message: object = None) -> Exception:
    """Return an exception with that name, because agno gives only a slug or the class name for its own."""
    name = "".join(part.title() for part in error_type.split("_")) if error_type.islower() else error_type
    kind: type[Exception] = type(name, (Exception,), {})
    return kind() if message is None else kind(text_of(message))
