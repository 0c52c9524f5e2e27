"""Tracks the runs of an agno workflow and its steps: `instrument(workflow)`."""

from __future__ import annotations

import functools
import time
from asyncio import CancelledError
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from agno.agent import Agent
from agno.run.base import RunStatus
from agno.run.workflow import (
    BaseWorkflowRunOutputEvent,
    WorkflowCancelledEvent,
    WorkflowErrorEvent,
    WorkflowRunOutput,
)
from agno.team import Team
from agno.workflow import Condition, Loop, Parallel, Router, Step, Steps, Workflow
from agno.workflow.workflow import STEP_TYPE_MAPPING

from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import attempt, class_name
from automagik_telemetry._process import kept
from automagik_telemetry.events._names import declare_later
from automagik_telemetry.events.catalogue import WorkflowCompletedEvent, WorkflowStartedEvent
from automagik_telemetry.integrations._agent_run import Step as Span
from automagik_telemetry.integrations._errors import described
from automagik_telemetry.integrations._patch import is_patched, patch_instance, plain_class, unpatch_instance
from automagik_telemetry.integrations._runtime import begin, observability, record, telemetry
from automagik_telemetry.integrations._wrapping import Run, wrap_call
from automagik_telemetry.integrations.agno import _agent as agno_agent
from automagik_telemetry.tracing import _cost as cost
from automagik_telemetry.tracing._propagation import SpanContext, join_application_trace
from automagik_telemetry.tracing.spans import OpenSpan, fill, open_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Call = Callable[..., Any]

AnyWorkflow = TypeVar("AnyWorkflow", bound=Workflow)

_RUNS = ("run", "arun", "continue_run", "acontinue_run")
_EXECUTIONS = ("execute", "aexecute", "execute_stream", "aexecute_stream")
_PREPARE = "_prepare_steps"
"""The method that makes steps of functions, agents and teams."""
_CONTAINERS = (Condition, Loop, Parallel, Router, Steps)
_UNNAMED = "WorkflowRunError"

_current: ContextVar[_Run | None] = kept(
    "agno_workflow", lambda: ContextVar("automagik_telemetry_agno_workflow", default=None)
)


def instrument(workflow: AnyWorkflow) -> AnyWorkflow:
    """Track every run of this workflow, its steps, and the agents and teams in them.

    It gets a subclass of its own class, of the same name, and so do its steps; no class changes. A second call changes
    nothing. The names of the workflow and its agents are declared if this precedes the first event or request.

    Args:
        workflow: An `agno.workflow.Workflow`.

    Returns:
        The same workflow.

    Raises:
        TypeError: The object is not a workflow of agno.
    """
    _check(workflow)
    attempt(_track, workflow)
    return workflow


def uninstrument(workflow: AnyWorkflow) -> AnyWorkflow:
    """Undo `instrument`, if it was done, for the steps, agents and teams too.

    Args:
        workflow: An `agno.workflow.Workflow`.

    Returns:
        The same workflow.

    Raises:
        TypeError: The object is not a workflow of agno.
    """
    _check(workflow)
    unpatch_instance(workflow)
    for part in _parts(workflow):
        if isinstance(part, Agent | Team):
            agno_agent.uninstrument(part)
        elif isinstance(part, Workflow):
            uninstrument(part)
        else:
            unpatch_instance(part)
    return workflow


def _check(workflow: object) -> None:
    if not isinstance(workflow, Workflow):
        raise TypeError(f"instrument takes an agno.workflow.Workflow; this is {described(workflow)}")


def _track(workflow: Workflow) -> None:
    if is_patched(workflow):
        return
    declare_later(workflow, lambda of: [of.name])
    if observability() is not None:
        cost.prepare()
    wraps: dict[str, Call] = {name: _tracked for name in _RUNS if hasattr(workflow, name)}
    patch_instance(workflow, {**wraps, _PREPARE: _prepared})
    _track_parts(workflow)


def _track_parts(of: Any) -> None:
    for part in attempt(lambda: list(_parts(of)), default=()):
        attempt(_track_part, part)


def _track_part(part: Any) -> None:
    if isinstance(part, Agent | Team):
        agno_agent.track_agent(part)
    elif isinstance(part, Workflow):
        _track(part)
    else:
        wraps: dict[str, Call] = {name: _step for name in _EXECUTIONS if hasattr(part, name)}
        patch_instance(part, {**wraps, _PREPARE: _prepared} if hasattr(part, _PREPARE) else wraps)
        # agno looks up the class itself, not its bases.
        STEP_TYPE_MAPPING.setdefault(type(part), STEP_TYPE_MAPPING[plain_class(part)])


def _parts(of: Any, depth: int = 10) -> Iterator[Any]:
    """Yield the steps below a workflow or a step, with their agents, teams and workflows."""
    for name in ("steps", "choices", "else_steps", "agent", "team", "workflow"):
        value = getattr(of, name, None)
        for part in value if type(value) is list else value.steps if isinstance(value, Steps) else [value]:
            if isinstance(part, (Step, Agent, Team, Workflow, *_CONTAINERS)):
                yield part
            if isinstance(part, (Step, *_CONTAINERS)) and depth:
                yield from _parts(part, depth - 1)


def _prepared(method: Call) -> Call:
    """Return a method that prepares steps, and tracks them."""

    @functools.wraps(method)
    def tracked(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        attempt(_track_parts, self)
        return result

    return tracked


class _Run(Run):
    """A run of a workflow."""

    def __init__(self, workflow: Workflow) -> None:
        name = attempt(getattr, workflow, "name", None)
        self.workflow = workflow
        self.steps = 0
        self.traced: OpenSpan | None = None
        self._name = (name is not None and text_of(name)) or "workflow"
        self._span = SpanContext()
        self._failure: BaseException | None = None
        self._started = time.perf_counter()

    def begin(self, asked: object, continued: object, options: dict[str, Any]) -> None:
        """Begin the run, as a new one or the rest of one that has paused."""
        if observability() is not None:
            self.traced = open_span(self._name, "workflow", span=self._span)
            thread = options.get("session_id") or self.workflow.session_id
            user = options.get("user_id") or self.workflow.user_id
            fill(self.traced, input=asked, thread_id=thread, user_id=user)
            agno_agent.link_to_paused(self.traced, continued)
        self._log(WorkflowStartedEvent(self._name))

    def step(self) -> AbstractContextManager[Any]:
        """Return a block that is part of the run."""
        return _Within(self)

    def within(self) -> AbstractContextManager[Any]:
        """Return a block in which new spans and events are children of the run's."""
        return (self.traced or self._span).within()

    def observe(self, value: object) -> bool:
        """Record the output. Nothing is hidden."""
        if getattr(value, "workflow_id", None) != self.workflow.id:
            return False
        if isinstance(value, WorkflowRunOutput):
            if value.status == RunStatus.error:
                self._failure = self._failure or agno_agent.failure(_UNNAMED, value.content)
            elif value.status == RunStatus.cancelled:
                self._failure = CancelledError(value.content)
        elif isinstance(value, WorkflowErrorEvent):
            self._failure = agno_agent.failure(_UNNAMED, value.error)
        elif isinstance(value, WorkflowCancelledEvent):
            self._failure = CancelledError(value.reason or "")
        if self.traced is not None and _is_paused(value):
            agno_agent.keep_paused(value, self.traced)
        content = getattr(value, "content", None)
        if self.traced is not None and content is not None:
            self.traced.output = content
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the run and log it."""
        error = self._failure if error is None else error
        duration_ms = (time.perf_counter() - self._started) * 1000
        event = WorkflowCompletedEvent(self._name, error is None, duration_ms, self.steps)
        record(self._log, event, self._span.span_id)
        if self.traced is not None:
            self.traced.end(error)

    def _log(self, event: WorkflowStartedEvent | WorkflowCompletedEvent, span_id: str | None = None) -> None:
        if (client := telemetry()) is not None:
            with self.within():
                client.track_event(event, span_id=span_id)


def _is_paused(value: object) -> bool:
    """Return whether a value of a workflow's run shows that it waits for a decision."""
    if isinstance(value, BaseWorkflowRunOutputEvent):  # at first only a step's event shows it
        return value.event.endswith("Paused")
    return isinstance(value, WorkflowRunOutput) and value.status == RunStatus.paused


class _Within:
    """A `with` block that is part of a workflow's run."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._block = run.within()

    def __enter__(self) -> None:
        """Enter it."""
        self._token = _current.set(self._run)
        self._block.__enter__()

    def __exit__(self, *error: object) -> None:
        """Leave it, perhaps in another context than it was entered in."""
        attempt(_current.reset, self._token)
        self._block.__exit__(None, None, None)


class _Step(Span):
    """An execution of a step."""

    def observe(self, value: object) -> bool:
        """Record the output of the step, which its stream yields last. Nothing is hidden."""
        if type(value).__name__ == "StepOutput":
            self.record(lambda: {"output": getattr(value, "content", None)})
            if getattr(value, "success", True) is False and self.traced is not None:
                message = text_of(getattr(value, "error", None) or "")
                self.traced.error = {"type": "StepError", "message": message, "stacktrace": None}
        return False


def _tracked(method: Call) -> Call:
    """Return a method that tracks a run of the workflow."""
    continues = "continue" in method.__name__

    @functools.wraps(method)
    def tracked(self: Workflow, *args: Any, **kwargs: Any) -> Any:
        given = kwargs.get("run_response" if continues else "input", args[0] if args else None)
        run: _Run | None = None if kwargs.get("background") else begin(_begin, self, given, kwargs, continues)
        return method(self, *args, **kwargs) if run is None else wrap_call(run, lambda: method(self, *args, **kwargs))

    return tracked


def _begin(workflow: Workflow, given: object, options: dict[str, Any], continues: bool) -> _Run:  # noqa: FBT001 - for `begin`
    run = _Run(workflow)
    continued = options.get("run_id") or getattr(given, "run_id", None) if continues else None
    with join_application_trace():
        run.begin(None if continues else given, continued, options)
    return run


def _step(method: Call) -> Call:
    """Return a method that tracks an execution of a step."""

    @functools.wraps(method)
    def tracked(self: Any, *args: Any, **kwargs: Any) -> Any:
        step = attempt(_begin_step, self, kwargs.get("step_input", args[0] if args else None))
        return method(self, *args, **kwargs) if step is None else wrap_call(step, lambda: method(self, *args, **kwargs))

    return tracked


def _begin_step(of: Any, asked: Any) -> _Step | None:
    """Return an execution that has begun; None outside of a tracked run."""
    run = _current.get()
    if run is None:
        return None
    is_step = isinstance(of, Step)
    run.steps += is_step
    kind = "task" if is_step else "chain"
    name = of.name or class_name(type(of))
    return _Step(run, text_of(name), kind, lambda: {"input": getattr(asked, "input", None)})
