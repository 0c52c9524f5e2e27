"""Tracks the runs and tools of an agno agent: `instrument(agent)`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast

try:
    from agno import exceptions
    from agno.agent import Agent
    from agno.run.agent import RunCancelledEvent, RunErrorEvent, RunOutput, ToolCallCompletedEvent, ToolCallErrorEvent
    from agno.run.base import RunStatus
except ImportError as error:
    raise ImportError(
        "automagik_telemetry.integrations.agno needs agno: pip install 'automagik-telemetry[agno]'"
    ) from error

from automagik_telemetry.host_trace import joined
from automagik_telemetry.integrations.agent_run import AgentRun
from automagik_telemetry.integrations.current import telemetry
from automagik_telemetry.integrations.driving import called
from automagik_telemetry.telemetry.events import ToolExecutionEvent
from automagik_telemetry.telemetry.vocabulary import declare

if TYPE_CHECKING:
    from collections.abc import Callable

    from agno.models.response import ToolExecution

Method = TypeVar("Method", bound="Callable[..., Any]")
AnyAgent = TypeVar("AnyAgent", bound=Agent)

_METHODS = ("run", "arun", "continue_run", "acontinue_run")
_MEDIA = ("audio", "images", "videos", "files")
_PLAIN = "_automagik_telemetry_plain_class"
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
    if _PLAIN not in type(agent).__dict__:
        declare(*_exception_names())
        agent.__class__ = cast("type[AnyAgent]", _tracked_class(cast("Any", type(agent))))
    return agent


def uninstrument(agent: AnyAgent) -> AnyAgent:
    """Undo `instrument`, if it was done; return the agent. Raises TypeError for what is no agent."""
    _check(agent)
    agent.__class__ = type(agent).__dict__.get(_PLAIN, type(agent))
    return agent


def _check(agent: object) -> None:
    if not isinstance(agent, Agent):
        described = f"the class {agent.__name__}" if isinstance(agent, type) else f"a {type(agent).__name__}"
        raise TypeError(f"instrument takes an agno.agent.Agent; this is {described}")


@functools.cache
def _tracked_class(kind: Any) -> Any:  # noqa: ANN401 - any class of agents
    """Return the subclass whose runs are tracked."""
    members = {name: _tracked(getattr(kind, name)) for name in _METHODS}
    looks = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind)(kind.__name__, (kind,), {**members, **looks, "__reduce_ex__": _reduce, _PLAIN: kind})


def _reduce(agent: Agent, protocol: SupportsIndex) -> Any:  # noqa: ANN401 - as pickle has it
    """Pickle and copy as an agent that nothing was done to; agno's own `deep_copy` gives a tracked one."""
    kind: Any = type(agent)
    reduced: Any = super(kind, agent).__reduce_ex__(protocol)
    function, arguments, *state = reduced
    return (function, tuple(getattr(kind, _PLAIN) if one is kind else one for one in arguments), *state)


class _Run(AgentRun):
    """A run, with what agno tells about it: the tools, and how it ended, for agno seldom raises."""

    def __init__(self, agent: Agent, options: dict[str, Any], *, continues: bool, earlier: RunOutput | None) -> None:
        super().__init__(agent.name or "agent", "agno", has_multimodal=any(options.get(kind) for kind in _MEDIA))
        self._ran = agent
        self._hides = not options.get("yield_run_output")
        # One that continues an earlier run, of which agno has the account and we don't, tells of both as one.
        self._counts = earlier is not None or not continues
        self._since = time.time()
        self._earlier_tokens = _tokens(earlier)
        self._tools = {_key(tool) for tool in (earlier.tools if earlier else None) or () if _was_executed(tool)}
        self._failure: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        """End the run; as a failed one too if agno said so."""
        super().end(error or self._failure)

    def see(self, told: object) -> bool:
        """Take in the output of the run, or an event of it; the output is hidden if only we asked for it.

        A tool may stream what another agent does: that is not of this run.
        """
        if getattr(told, "agent_id", None) != self._ran.id:
            return False
        with contextlib.suppress(Exception):
            self._take(told)
        return self._hides and isinstance(told, RunOutput)

    def _take(self, told: object) -> None:
        if isinstance(told, RunOutput):
            self.token_count = _tokens(told) - self._earlier_tokens if self._counts else None
            for tool in told.tools or ():
                self._see_tool(tool)
            if told.status == RunStatus.error:
                self._failure = self._failure or _named(_UNNAMED)
            elif told.status == RunStatus.cancelled:
                self._failure = asyncio.CancelledError()
        elif isinstance(told, RunErrorEvent):
            self._failure = _named(told.error_type or _UNNAMED)
        elif isinstance(told, RunCancelledEvent):
            self._failure = asyncio.CancelledError()
        elif isinstance(told, ToolCallCompletedEvent | ToolCallErrorEvent) and told.tool is not None:
            self._see_tool(told.tool)

    def _see_tool(self, tool: ToolExecution) -> None:
        """Log a tool that was executed in this run, once: an event may tell of it, and the output again."""
        collector, metrics = telemetry(), tool.metrics
        if collector is None or not _was_executed(tool) or _key(tool) in self._tools or _key(tool)[1] < self._since:
            return
        self._tools.add(_key(tool))
        success = not tool.tool_call_error
        duration_ms = None if metrics is None or metrics.duration is None else metrics.duration * 1000
        collector.track_event(ToolExecutionEvent(tool.tool_name or "", self.agent_name, success, duration_ms))


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
        if telemetry() is None or (kwargs.get("background") and not stream):
            return method(self, *args, **kwargs)  # agno tells nothing of what it does in the background
        earlier = kwargs.get("run_response", args[0] if args else None)
        run = _Run(self, kwargs, continues=continues, earlier=earlier if isinstance(earlier, RunOutput) else None)
        with joined():
            run.begin()
        options = {**kwargs, "yield_run_output": True} if stream else kwargs
        return called(run, lambda: method(self, *args, **options))

    return cast("Method", tracked)


def _tokens(output: RunOutput | None) -> int:
    return output.metrics.total_tokens if output is not None and output.metrics is not None else 0


def _named(error_type: str) -> Exception:
    """Return an exception of that name, for of its own agno gives a slug or the name of the class, and no more."""
    name = "".join(part.title() for part in error_type.split("_")) if error_type.islower() else error_type
    kind: type[Exception] = type(name, (Exception,), {})
    return kind()


def _exception_names() -> list[str]:
    """Return the names of the framework's own exceptions, which are nobody's secret."""
    return [name for name, one in vars(exceptions).items() if isinstance(one, type) and issubclass(one, BaseException)]
