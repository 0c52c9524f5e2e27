"""Does a run's work: calls, awaits or steps through it in the run's context, and hands on everything as it is."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from contextlib import AbstractContextManager

    Call = Callable[..., Any]
    Begin = Callable[[tuple[Any, ...], dict[str, Any]], "Run | None"]

Result = TypeVar("Result")


class Run(Protocol):
    """What is driven."""

    def step(self) -> AbstractContextManager[None]:
        """Return a block in which the run's code runs; the caller's never does."""
        raise NotImplementedError

    def observe(self, value: object) -> bool:
        """Take in a result, or an item of a stream; return whether the caller, who did not ask for it, is spared it."""
        raise NotImplementedError

    def end(self, error: BaseException | None = None) -> None:
        """End the run."""


def wrap_call(run: Run, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - here and below, the function's own
    """Return what a plain function returns; a coroutine or generator that is returned goes on with the run."""
    try:
        with run.step():
            result = call()
    except BaseException as error:
        run.end(error)
        raise
    if inspect.iscoroutine(result):
        return wrap_coroutine(run, result)
    if inspect.isgenerator(result):
        return wrap_generator(run, result)
    if inspect.isasyncgen(result):
        return wrap_async_generator(lambda: result, lambda *_: run)()
    return _seen(run, result)


async def wrap_coroutine(run: Run, coroutine: Awaitable[Result]) -> Result:
    """Return what a coroutine returns."""
    try:
        with run.step():
            result = await coroutine
    except BaseException as error:
        run.end(error)
        raise
    return _seen(run, result)


def wrap_generator(run: Run, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Yield what a generator yields, and hand to it what is sent or thrown."""
    failure: BaseException | None = None
    step: Callable[[], Any] = functools.partial(next, steps)
    try:
        while True:
            with run.step():
                item = step()
                hidden = run.observe(item)
            step = functools.partial(next, steps)
            if hidden:
                continue
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


def wrap_async_generator(function: Call, begin: Begin) -> Call:
    """Return an asynchronous generator function that does the same for each generator that `function` makes.

    A function, for there is no `yield from` here by which the wrapper that a decorator needs could leave the work to
    another; and begun with the first step, as the generator itself is.
    """

    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
        run = begin(args, kwargs) or _NoRun()
        steps = function(*args, **kwargs)
        failure: BaseException | None = None
        step = steps.asend(None)
        try:
            while True:
                with run.step():
                    item = await step
                    hidden = run.observe(item)
                if hidden:
                    step = steps.asend(None)
                    continue
                try:
                    step = steps.asend((yield item))
                except GeneratorExit:
                    with run.step():
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
            run.end(failure)

    return asynchronous


def _seen(run: Run, result: Result) -> Result:
    with run.step():
        run.observe(result)
    run.end()
    return result


class _NoRun:
    """A call that is part of a run already, and so none of its own."""

    def step(self) -> AbstractContextManager[None]:
        """See `Run`, as below."""
        return contextlib.nullcontext()

    def observe(self, value: object) -> bool:
        """Hide nothing."""
        del value
        return False

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing."""
