"""Tracks the runs of any agent class: a decorator for its `run`, and a base class that decorates it for you."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry.integrations.agent_run import AgentRun, is_running
from automagik_telemetry.telemetry.vocabulary import declare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    Call = Callable[..., Any]
    Begin = Callable[[tuple[Any, ...], dict[str, Any]], AgentRun | None]

Function = TypeVar("Function")


def track_agent(agent_name: str | None = None, framework: str | None = None) -> Callable[[Function], Function]:
    """Track every call of an agent's run: a function or method, sync or async, or a generator of either kind.

    Signature, result, exceptions and the order of what a generator yields stay as they are. Without `agent_name` the
    agent's attribute `name` counts, or the name of its class; without `framework` its `framework_type` or
    `framework`. What is given here is declared, and leaves verbatim. Put it below `classmethod` and `staticmethod`.
    Raises TypeError or ValueError, when it decorates, for a name or function that is none.
    """
    names = [name for name in (agent_name, framework) if name is not None]
    declare(*names, *([f"agent.{agent_name}"] if agent_name is not None else []))

    def decorate(function: Function) -> Function:
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"track_agent decorates an agent's run, a function; this is {_described(function)}")
        return cast("Function", _wrap(function, functools.partial(_begin, agent_name, framework)))

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
    agent_name: str | None, framework: str | None, arguments: tuple[Any, ...], options: dict[str, Any]
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
    return run


def _wrap(function: Call, begin: Begin) -> Call:
    """Return a function of the same kind that tracks each call."""
    if inspect.isasyncgenfunction(function):
        return _asynchronous_generator(function, begin)
    if inspect.iscoroutinefunction(function):
        return _asynchronous(function, begin)
    return _generator(function, begin) if inspect.isgeneratorfunction(function) else _plain(function, begin)


def _plain(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - see above
        run = begin(args, kwargs)
        return function(*args, **kwargs) if run is None else _called(run, lambda: function(*args, **kwargs))

    return plain


def _asynchronous(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own
        run = begin(args, kwargs)
        coroutine = function(*args, **kwargs)
        return await (coroutine if run is None else _awaited(run, coroutine))

    return asynchronous


def _generator(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401 - see above
        run = begin(args, kwargs)
        steps = function(*args, **kwargs)
        return (yield from (steps if run is None else _driven(run, steps)))

    return generator


def _asynchronous_generator(function: Call, begin: Begin) -> Call:
    @functools.wraps(function)
    async def asynchronous_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401 - see above
        # Driven by hand, for there is no `yield from` here, and what is bound must not show outside of a step.
        run = begin(args, kwargs)
        steps = function(*args, **kwargs)
        within: Any = contextlib.nullcontext if run is None else run.step
        failure: BaseException | None = None
        step = steps.asend(None)
        try:
            while True:
                with within():
                    item = await step
                try:
                    step = steps.asend((yield item))
                except GeneratorExit:
                    with within():
                        await steps.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - it is the generator's to handle
                    step = steps.athrow(thrown)
        except StopAsyncIteration:
            return
        except GeneratorExit:
            raise
        except BaseException as error:
            failure = error
            raise
        finally:
            if run is not None:
                run.end(failure)

    return asynchronous_generator


def _called(run: AgentRun, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - the function's own
    """Return what a plain function returns; if that is a coroutine, the run goes on until it is awaited."""
    try:
        with run.step():
            result = call()
    except BaseException as error:
        run.end(error)
        raise
    if inspect.iscoroutine(result):
        return _awaited(run, result)
    _finish(run, result)
    return result


async def _awaited(run: AgentRun, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - the function's own
    try:
        with run.step():
            result = await coroutine
    except BaseException as error:
        run.end(error)
        raise
    _finish(run, result)
    return result


def _driven(run: AgentRun, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Yield what a generator yields; what is bound for the run shows in its steps only, never in the caller's code."""
    failure: BaseException | None = None
    step: Callable[[], Any] = functools.partial(next, steps)
    try:
        while True:
            with run.step():
                item = step()
            try:
                step = functools.partial(steps.send, (yield item))
            except GeneratorExit:
                with run.step():
                    steps.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - it is the generator's to handle
                step = functools.partial(steps.throw, thrown)
    except StopIteration as stop:
        return stop.value
    except GeneratorExit:
        raise
    except BaseException as error:
        failure = error
        raise
    finally:
        run.end(failure)


def _finish(run: AgentRun, result: object) -> None:
    run.token_count = _tokens(result)
    run.end()


def _tokens(result: object) -> int | None:
    """Return how many tokens a result says that it took."""
    try:
        tokens = getattr(result, "total_tokens", None)
    except Exception:  # noqa: BLE001 - a property of the application's may do anything
        return None
    return tokens if type(tokens) is int else None


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
