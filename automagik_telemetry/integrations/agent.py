"""Tracks the runs of any agent class: a decorator for its `run`, and a base class that decorates it for you."""

from __future__ import annotations

import functools
import inspect
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import attempt, class_name
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations import _runtime as runtime
from automagik_telemetry.integrations._agent_run import AgentRun, PartOfRun
from automagik_telemetry.integrations._errors import described
from automagik_telemetry.integrations._wrapping import wrap_async_generator, wrap_call, wrap_coroutine, wrap_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from automagik_telemetry.integrations._wrapping import Begin, Call

Function = TypeVar("Function")

_PLAIN = frozenset({str, bytes, int, float, bool, type(None), dict, list, tuple})
"""Types of inputs; none of them is an agent."""
_IDS = (("thread_id", "session_id"), ("user_id", "user_id"))


def track_agent(agent_name: str | None = None, framework: str | None = None) -> Callable[[Function], Function]:
    """Track every call of an agent's run: a function or method, sync or async, or a generator of either kind.

    Signature, result, exceptions and the order of a generator's items stay the same. Put the decorator below
    `classmethod` and `staticmethod`, and write its parentheses.

    Args:
        agent_name: The name of the agent, which is declared. By default the agent's attribute `name`, or the name of
            its class.
        framework: The framework that it runs on, which is declared. By default the agent's attribute `framework_type`
            or `framework`.

    Returns:
        A decorator that returns a function of the same kind.

    Raises:
        TypeError: A name is not a str, the decorated object is not a function, or the parentheses are missing.
        ValueError: A name can't be declared.
    """
    if callable(agent_name):
        raise TypeError(
            f"track_agent needs parentheses: write @track_agent() or @track_agent('name') above {described(agent_name)}"
        )
    names = [name for name in (agent_name, framework) if name is not None]
    declare(*names)

    def decorate(function: Function) -> Function:
        if not callable(function) or issubclass(type(function), type):
            raise TypeError(f"track_agent decorates an agent's run, a function; this is {described(function)}")
        return cast("Function", attempt(_tracked, agent_name, framework, function, default=function))

    return decorate


class TrackedAgent:
    """Base class whose subclasses' `run` is tracked, whichever class of the hierarchy defines it.

    `class MyAgent(TrackedAgent, agent_name="my-agent", framework="agno")` declares both names. For the defaults, see
    `track_agent`.
    """

    _tracked_as: tuple[str | None, str | None] = (None, None)

    def __init_subclass__(cls, agent_name: str | None = None, framework: str | None = None, **kwargs: Any) -> None:
        """Track the `run` that the subclass defines, if any. Raises TypeError if it is not a function."""
        super().__init_subclass__(**kwargs)
        if agent_name is not None or framework is not None:
            cls._tracked_as = (agent_name or cls._tracked_as[0], framework or cls._tracked_as[1])
        track = track_agent(agent_name, framework)
        run: Any = cls.__dict__.get("run")
        if issubclass(type(run), classmethod | staticmethod):
            cls.run = type(run)(track(run.__func__))  # type: ignore[attr-defined]
        elif run is not None:
            cls.run = track(run)  # type: ignore[attr-defined]


def _tracked(agent_name: str | None, framework: str | None, function: Call) -> Call:
    """Return a function of the same kind that tracks each call."""
    begin = functools.partial(runtime.begin, _begin, (agent_name, framework), function, _is_method(function))
    if inspect.isasyncgenfunction(function):
        return wrap_async_generator(function, begin)
    if inspect.iscoroutinefunction(function):
        return _asynchronous(function, begin)
    return _generator(function, begin) if inspect.isgeneratorfunction(function) else _plain(function, begin)


def _begin(
    names: tuple[str | None, str | None],
    function: Call,
    is_method: bool,  # noqa: FBT001 - for `partial`
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> AgentRun | PartOfRun:
    """Return the run of a call, begun, or the call as a part of the agent's current run."""
    agent = arguments[0] if arguments else None
    if type(agent) not in _PLAIN and (part := PartOfRun.of(agent, function)) is not None:
        return part
    agent_name, framework = names
    kind: Any = agent if issubclass(type(agent), type) else type(agent)
    own_name, own_framework = kind._tracked_as if issubclass(kind, TrackedAgent) else (None, None)  # noqa: SLF001 - of the class above
    framework = own_framework or framework or _text(agent, "framework_type") or _text(agent, "framework")
    run = AgentRun(
        own_name or agent_name or _text(agent, "name") or class_name(kind),
        framework or "unknown",
        has_multimodal=attempt(bool, options.get("multimodal_content"), default=True),
        agent=agent,
        function=function,
    )
    run.begin()
    if run.traced is not None:
        run.record(input=_asked(arguments[is_method:], options), **_who(options))
    return run


def _text(agent: object, attribute: str) -> str:
    """Return an agent's attribute if it is a text, or a member of an Enum with a text."""
    value = attempt(getattr, agent, attribute, None)
    if issubclass(type(value), Enum):
        value = value._value_
    return str.__str__(value) if issubclass(type(value), str) else ""


def _is_method(function: Any) -> bool:
    """Return whether a function's first argument is the agent instead of its input."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and code.co_varnames[:1] in (("self",), ("cls",), ("_self",))


def _asked(arguments: tuple[Any, ...], options: dict[str, Any]) -> object:
    """Return the input of a run: its positional argument if there is exactly one, else all arguments."""
    if len(arguments) == 1:
        return arguments[0]
    return {**{str(number): value for number, value in enumerate(arguments)}, **options} or None


def _who(options: dict[str, Any]) -> dict[str, str]:
    """Return the ids of conversation and user, if they are passed under their usual names."""
    return {name: text_of(options[key]) for name, key in _IDS if options.get(key) is not None}


def _plain(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        run = begin(args, kwargs)
        return function(*args, **kwargs) if run is None else wrap_call(run, lambda: function(*args, **kwargs))

    return plain


def _asynchronous(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        run = begin(args, kwargs)
        coroutine = function(*args, **kwargs)
        return await (coroutine if run is None else wrap_coroutine(run, coroutine))

    return asynchronous


def _generator(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begin(args, kwargs)
        steps = function(*args, **kwargs)
        return (yield from (steps if run is None else wrap_generator(run, steps)))

    return generator
