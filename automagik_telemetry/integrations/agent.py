"""Tracks the runs of any agent class: a decorator for its `run`, and a base class that decorates it for you."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations._agent_run import AgentRun, is_running
from automagik_telemetry.integrations._wrapping import wrap_async_generator, wrap_call, wrap_coroutine, wrap_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from automagik_telemetry.integrations._wrapping import Begin, Call

Function = TypeVar("Function")

_IDS = (("thread_id", "session_id"), ("user_id", "user_id"))


def track_agent(agent_name: str | None = None, framework: str | None = None) -> Callable[[Function], Function]:
    """Track every call of an agent's run: a function or method, sync or async, or a generator of either kind.

    Signature, result, exceptions and the order of what a generator yields stay as they are. Without `agent_name` the
    agent's attribute `name` counts, or the name of its class; without `framework` its `framework_type` or
    `framework`. What is given here is declared, and leaves verbatim. Put it below `classmethod` and `staticmethod`.
    Raises TypeError or ValueError, when it decorates, for a name or function that is none.
    """
    names = [name for name in (agent_name, framework) if name is not None]
    declare(*names)

    def decorate(function: Function) -> Function:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"track_agent decorates an agent's run, a function; this is {_described(function)}")
        begin = functools.partial(_begin, agent_name, framework, _is_method(function))
        return cast("Function", _wrap(function, begin))

    return decorate


class TrackedAgent:
    """Base class whose subclasses' `run` is tracked, wherever in the family it is defined.

    `class MyAgent(TrackedAgent, agent_name="my-agent", framework="agno")` declares both names; without them see
    `track_agent`.
    """

    _tracked_as: tuple[str | None, str | None] = (None, None)

    def __init_subclass__(cls, agent_name: str | None = None, framework: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - the other bases' business
        """Track the `run` that the subclass defines, if it does. Raises TypeError if it is no function."""
        super().__init_subclass__(**kwargs)
        if agent_name is not None or framework is not None:
            cls._tracked_as = (agent_name or cls._tracked_as[0], framework or cls._tracked_as[1])
        track = track_agent(agent_name, framework)
        run = cls.__dict__.get("run")
        if isinstance(run, classmethod | staticmethod):
            cls.run = type(run)(track(run.__func__))  # type: ignore[attr-defined]
        elif run is not None:
            cls.run = track(run)  # type: ignore[attr-defined]


def _begin(
    agent_name: str | None,
    framework: str | None,
    is_method: bool,  # noqa: FBT001 - for `partial`
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> AgentRun | None:
    """Return the run that a call is, begun; None for a call within a run of the same agent."""
    agent = arguments[0] if arguments else None
    if agent is not None and is_running(agent):
        return None
    own_name, own_framework = getattr(agent, "_tracked_as", (None, None))
    kind = agent if isinstance(agent, type) else type(agent)
    framework = (
        own_framework or framework or getattr(agent, "framework_type", None) or getattr(agent, "framework", None)
    )
    run = AgentRun(
        str(own_name or agent_name or getattr(agent, "name", None) or kind.__name__),
        str(getattr(framework, "value", framework) or "unknown"),
        has_multimodal=bool(options.get("multimodal_content")),
        agent=agent,
    )
    run.begin()
    if run.traced is not None:
        run.record(input=_asked(arguments[is_method:], options), **_who(options))
    return run


def _is_method(function: Any) -> bool:  # noqa: ANN401 - any callable
    """Return whether a function's first argument is the agent, and not what it is asked."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and code.co_varnames[:1] in (("self",), ("cls",), ("_self",))


def _asked(arguments: tuple[Any, ...], options: dict[str, Any]) -> object:
    """Return what a run was asked: its one argument without a name, if it has one, else all that it was called with."""
    if len(arguments) == 1:
        return arguments[0]
    return {**{str(number): value for number, value in enumerate(arguments)}, **options} or None


def _who(options: dict[str, Any]) -> dict[str, str]:
    """Return the ids of conversation and user, where they are passed under their usual names."""
    return {name: str(options[key]) for name, key in _IDS if options.get(key) is not None}


def _wrap(function: Call, begin: Begin) -> Call:
    """Return a function of the same kind that tracks each call."""
    if inspect.isasyncgenfunction(function):
        return wrap_async_generator(function, begin)
    if inspect.iscoroutinefunction(function):
        return _asynchronous(function, begin)
    return _generator(function, begin) if inspect.isgeneratorfunction(function) else _plain(function, begin)


def _plain(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own, as below
        run = begin(args, kwargs)
        return function(*args, **kwargs) if run is None else wrap_call(run, lambda: function(*args, **kwargs))

    return plain


def _asynchronous(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        run = begin(args, kwargs)
        coroutine = function(*args, **kwargs)
        return await (coroutine if run is None else wrap_coroutine(run, coroutine))

    return asynchronous


def _generator(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401
        run = begin(args, kwargs)
        steps = function(*args, **kwargs)
        return (yield from (steps if run is None else wrap_generator(run, steps)))

    return generator


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
