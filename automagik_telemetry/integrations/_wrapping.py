"""Runs the wrapped code: calls, awaits or iterates it in the run's context, and passes everything on unchanged.

A generator that a call returns is replaced by one of the same kind and name. Any other iterator, and a context manager,
stays the same object: until its end it has a lookalike subclass of its class, which reports to the run.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from asyncio import CancelledError
from collections import abc
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry import _process as process
from automagik_telemetry._failsafe import Block, attempt
from automagik_telemetry.integrations._patch import is_patched, patch_instance, unpatch_instance
from automagik_telemetry.integrations._runtime import record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
    from contextlib import AbstractContextManager

    Call = Callable[..., Any]
    Begin = Callable[[tuple[Any, ...], dict[str, Any]], "Run | None"]

Result = TypeVar("Result")


class Run:
    """The run of a wrapped call. This base class records nothing."""

    def step(self) -> AbstractContextManager[Any]:
        """Return a block for the run's code; the caller's code never runs in it."""
        return contextlib.nullcontext()

    def observe(self, value: object) -> bool:
        """Record a result, or an item of a stream. Return True to hide it from the caller, who did not ask for it."""
        del value
        return False

    def conclude(self, result: object, idle: float) -> None:
        """Record a returned object that was followed, just before the end; it was last used `idle` seconds ago."""

    def end(self, error: BaseException | None = None) -> None:
        """End the run."""

    def leave(self) -> None:
        """End the run, because its stream is no longer read: by `close`, or because the reader was cancelled."""
        self.end()


def wrap_call(run: Run, call: Callable[[], Any], *, follows_streams: bool = True) -> Any:
    """Return the function's result. A returned coroutine, stream or context manager continues the run."""
    try:
        with Block(run.step):
            result = call()
    except BaseException as error:
        _end(run, error)
        raise
    if type(result) is CoroutineType:
        return _named_as(result, wrap_coroutine(run, result, follows_streams=follows_streams))
    return follow(run, result) if follows_streams else _seen(run, result)


def follow(run: Run, result: Any) -> Any:
    """Return a result. A generator, another iterator or a context manager continues the run to its end."""
    followed = _continued(run, result)
    return _seen(run, result) if followed is None else followed


def _continued(run: Run, result: Any) -> Any:
    """Return the stream or context manager that continues the run; None if the result is anything else."""
    # By the type itself, because `isinstance` calls the object, which can raise or return anything.
    kind = type(result)
    if kind is GeneratorType:
        return _named_as(result, wrap_generator(run, result))
    if kind is AsyncGeneratorType:
        return _named_as(result, wrap_async_generator(lambda: result, lambda *_: run)())
    return result if attempt(_attach, run, result, default=False) else None


def _named_as(original: Any, wrapper: Any) -> Any:
    """Return the wrapper with the name of the original, which warnings and debuggers show."""
    wrapper.__name__, wrapper.__qualname__ = original.__name__, original.__qualname__
    return wrapper


async def wrap_coroutine(run: Run, coroutine: Awaitable[Result], *, follows_streams: bool = True) -> Result:
    """Return the coroutine's result. A returned stream or context manager continues the run."""
    try:
        with Block(run.step):
            result = await coroutine
    except BaseException as error:
        _end(run, error)
        raise
    followed: Result = follow(run, result) if follows_streams else _seen(run, result)
    return followed


def wrap_generator(run: Run, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Yield the generator's items, and pass on sent values and exceptions."""
    ending: BaseException | None = None
    step: Callable[[], Any] = functools.partial(next, steps)
    try:
        while True:
            with Block(run.step):
                item = step()
                hidden = attempt(run.observe, item)
            if hidden:
                step = functools.partial(next, steps)
                continue
            try:
                step = functools.partial(steps.send, (yield item))
            except BaseException as thrown:  # it is the generator's to handle, and so is its end
                step = functools.partial(steps.throw, thrown)
    except StopIteration as stop:
        return stop.value
    except BaseException as error:
        ending = error
        raise
    finally:
        _end(run, ending, is_stream=True)
        del ending  # its traceback refers to this frame


def wrap_async_generator(function: Call, begin: Begin) -> Call:
    """Return an asynchronous generator function that does the same for each generator that `function` makes.

    This is a function because an asynchronous generator has no `yield from` with which a decorator's wrapper could
    delegate. The run begins with the first step, as the generator itself does.
    """

    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begin(args, kwargs) or Run()
        steps = function(*args, **kwargs)
        ending: BaseException | None = None
        step = _first_step(steps)
        try:
            while True:
                with Block(run.step):
                    item = await step
                    hidden = attempt(run.observe, item)
                if hidden:
                    step = steps.asend(None)
                    continue
                try:
                    step = steps.asend((yield item))
                except BaseException as thrown:  # it is the generator's to handle, and so is its end
                    if _is_closed_by_another(steps, thrown):
                        raise
                    step = steps.athrow(thrown)
        except StopAsyncIteration:
            return
        except BaseException as error:
            ending = error
            raise
        finally:
            _end(run, ending, is_stream=True)
            del ending  # as above

    return asynchronous


def _first_step(steps: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Return the first step of an async generator that ours alone drives.

    The event loop must not register it, because the loop would close both at its end, in any order. It closes ours,
    which closes the other one.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, hooks.finalizer and _leave)
    try:
        return steps.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave(_steps: AsyncGenerator[Any, Any]) -> None:
    """Leave an async generator as it is, because the loop that could close it has ended."""


def _is_closed_by_another(steps: AsyncGeneratorType[Any, Any], thrown: BaseException) -> bool:
    """Return whether an exception can't reach a generator, which had begun before it was returned."""
    # Of a generator that has ended, `athrow` returns None instead of raising.
    return steps.ag_frame is None or (steps.ag_running and issubclass(type(thrown), GeneratorExit))


def _seen(run: Run, result: Result) -> Result:
    with Block(run.step):
        attempt(run.observe, result)
    _end(run, None)
    return result


def _end(run: Run, error: BaseException | None, *, is_stream: bool = False) -> None:
    """End the run. A stream whose reader stops reading, or is cancelled as by a closed browser, has not failed."""
    if is_stream and issubclass(type(error), GeneratorExit | CancelledError):
        record(run.leave)
    else:
        record(run.end, error)


_open: dict[int, _Followed] = process.kept("followed", dict)
"""The objects that are followed, by identity."""
_UNUSED_SECONDS = 10.0
"""After this time, an object that was neither read nor entered does not continue its run."""


class _Followed:
    """The state of an object in which a run continues until its iteration ends, its block is left, or it is freed."""

    __slots__ = ("is_begun", "is_busy", "run", "used")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.is_begun = False
        """True if it was read or entered."""
        self.is_busy = False
        """True while one of its methods runs, whose calls of the others are its own."""
        self.used = time.perf_counter()


class _Use(Run):
    """The run, as it is used by a method of the object that it continues in."""

    def __init__(self, followed: _Followed, of: object) -> None:
        self.followed = followed
        self.of = of

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block of the run."""
        followed = self.followed
        followed.is_begun = followed.is_busy = True
        try:
            with Block(followed.run.step):
                yield
        finally:
            followed.is_busy = False
            followed.used = time.perf_counter()

    def observe(self, value: object) -> bool:
        """Record an item."""
        return self.followed.run.observe(value)

    def end(self, error: BaseException | None = None) -> None:
        """End the run, and restore the object's class."""
        _release(self.of, error)


class _Closing(_Use):
    """The end of an object, which is closed."""

    def observe(self, value: object) -> bool:
        """Hide nothing: the result of `close` is not the run's."""
        del value
        return False


class _Iteration(_Use):
    """One iteration over an object; another one may continue after it."""

    def leave(self) -> None:
        """Do nothing: the object may be read further, and ends the run when it is freed."""


class _Inside(_Iteration):
    """A stream inside of a block, whose end is not that of the run."""

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing."""


def _attach(run: Run, of: Any) -> bool:
    """Let the run continue in an object; return False if it is not an iterator or a context manager."""
    wraps = _wraps(cast("Any", type(of)))
    if wraps is None or is_patched(of):
        return False
    _end_unused()
    patch_instance(of, wraps)
    _open[id(of)] = _Followed(run)
    return True


def _release(of: Any, error: BaseException | None, *, freed: bool = False) -> None:
    """End the run of an object, once."""
    followed = _open.pop(id(of), None)
    if followed is not None:
        attempt(unpatch_instance, of)
        attempt(followed.run.conclude, of, time.perf_counter() - followed.used if freed else 0.0)
        record(followed.run.end, error)


def _end_unused() -> None:
    """End the runs of objects that were kept, but not read or entered, as those of a history of responses."""
    before = time.perf_counter() - _UNUSED_SECONDS
    for key, followed in list(_open.items()):
        if not followed.is_begun and followed.used < before and _open.pop(key, None) is not None:
            attempt(followed.run.conclude, None, time.perf_counter() - followed.used)
            record(followed.run.end)


def _release_all() -> None:
    """End the runs of objects that are left when the process ends."""
    for key in list(_open):
        if (followed := _open.pop(key, None)) is not None:
            attempt(followed.run.conclude, None, time.perf_counter() - followed.used)
            record(followed.run.end)


def _use(of: object) -> _Use | None:
    """Return the run of an object; None if it has ended, or if the object calls itself."""
    followed = _open.get(id(of))
    return None if followed is None or followed.is_busy else _Use(followed, of)


class _Piece:
    """A `with` block around one call of a followed object's method. An exception ends the run."""

    __slots__ = ("_block", "_last", "_use")

    def __init__(self, use: _Use, last: type[Exception] | None = None) -> None:
        """`last` is the exception by which an iterator ends."""
        self._use = use
        self._last = last
        self._block = Block(use.step)

    def __enter__(self) -> None:
        """Enter the run's block."""
        self._block.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Leave the run's block, and end the run if the call raised."""
        self._block.__exit__()
        if kind is not None and self._last is not None and issubclass(kind, self._last):
            record(self._use.end)
        elif kind is not None:
            _end(self._use, error, is_stream=True)


def _tracked(around: Callable[[_Use, Callable[[], Any], tuple[Any, ...]], Any]) -> Callable[[Call], Call]:
    """Return a wrapper of methods. While the object is followed, `around` calls the method."""

    def wrap(plain: Call) -> Call:
        @functools.wraps(plain)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            use = _use(self)
            call = functools.partial(plain, self, *args, **kwargs)
            return call() if use is None else around(use, call, args)

        return method

    return wrap


def _step(use: _Use, call: Callable[[], Any], _args: tuple[Any, ...]) -> Any:
    """Track `__next__`, or another step of an iterator."""
    with _Piece(use, StopIteration):
        item = call()
        attempt(use.observe, item)
    return item


async def _async_step(use: _Use, call: Callable[[], Awaitable[Any]], _args: tuple[Any, ...]) -> Any:
    """Track `__anext__`, or another step of an asynchronous iterator."""
    with _Piece(use, StopAsyncIteration):
        item = await call()
        attempt(use.observe, item)
    return item


def _iterate(use: _Use, call: Callable[[], Any], _args: tuple[Any, ...]) -> Any:
    """Track `__iter__` and `__aiter__`, which may return another iterator."""
    result = call()
    followed = None if result is use.of else _continued(_Iteration(use.followed, use.of), result)
    return result if followed is None else followed


def _enter(use: _Use, call: Callable[[], Any], _args: tuple[Any, ...]) -> Any:
    """Track `__enter__`."""
    with _Piece(use):
        value = call()
    return _entered(use, value)


async def _async_enter(use: _Use, call: Callable[[], Awaitable[Any]], _args: tuple[Any, ...]) -> Any:
    """Track `__aenter__`."""
    with _Piece(use):
        value = await call()
    return _entered(use, value)


def _entered(use: _Use, value: Any) -> Any:
    """Return the value of a block, whose items or else itself are recorded."""
    if value is None or value is use.of:
        return value
    followed = _continued(_Inside(use.followed, use.of), value)
    if followed is None:
        attempt(use.observe, value)
        return value
    return followed


def _exit(use: _Use, call: Callable[[], Any], args: tuple[Any, ...]) -> Any:
    """Track `__exit__`."""
    with _Piece(use):
        suppresses = call()
    return _left(use, suppresses, args)


async def _async_exit(use: _Use, call: Callable[[], Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    """Track `__aexit__`."""
    with _Piece(use):
        suppresses = await call()
    return _left(use, suppresses, args)


def _left(use: _Use, suppresses: Any, args: tuple[Any, ...]) -> Any:
    """End the run of a block, and return the result of `__exit__`, which may be called without an exception."""
    error = args[1] if len(args) > 1 else None
    _end(use, None if attempt(bool, suppresses) else error, is_stream=True)
    return suppresses


def _close(use: _Use, call: Callable[[], Any], _args: tuple[Any, ...]) -> Any:
    """Track `close` and `aclose`, which may return a coroutine."""
    return wrap_call(_Closing(use.followed, use.of), call, follows_streams=False)


def _freeing(plain: Call | None) -> Call:
    """Track `__del__`, which the class may not have."""

    def free(self: Any) -> None:
        _release(self, None, freed=True)
        if plain is not None:
            plain(self)

    return free


_ITERATION, _CLOSE = _tracked(_iterate), _tracked(_close)
_STEP, _ASYNC_STEP = _tracked(_step), _tracked(_async_step)
_STEPS = {"__iter__": _ITERATION, "__next__": _STEP}
_ASYNC_STEPS = {"__aiter__": _ITERATION, "__anext__": _ASYNC_STEP}
_BLOCK = {"__enter__": _tracked(_enter), "__exit__": _tracked(_exit)}
_ASYNC_BLOCK = {"__aenter__": _tracked(_async_enter), "__aexit__": _tracked(_async_exit)}
_CLOSING = {"close": _CLOSE, "aclose": _CLOSE}
_SENDING = {"send": _STEP, "throw": _STEP}
_ASYNC_SENDING = {"asend": _ASYNC_STEP, "athrow": _ASYNC_STEP}


@functools.lru_cache(1_000)
def _wraps(kind: Any) -> dict[str, Callable[[Any], Call]] | None:
    """Return the functions that track the methods of a class, by name; None if it is not to be followed."""
    if not _is_extensible(kind):
        return None
    found: dict[str, Callable[[Any], Call]] = {}
    for methods in (_STEPS, _ASYNC_STEPS, _BLOCK, _ASYNC_BLOCK):
        if all(getattr(kind, name, None) is not None for name in methods):
            found |= methods
    if not found:
        return None
    if issubclass(kind, abc.Generator):
        found |= _SENDING
    if issubclass(kind, abc.AsyncGenerator):
        found |= _ASYNC_SENDING
    closing = {name: wrap for name, wrap in _CLOSING.items() if callable(getattr(kind, name, None))}
    return {**found, **closing, "__del__": _freeing}


_IMMUTABLE = 1 << 8
"""Flag of a class of C code, whose instances can't get another class."""
_NOT_EXTENSIBLE = ("__init_subclass__", "__dataclass_fields__", "__attrs_attrs__")
"""Attributes of a class whose subclass would call code of the application, or not be equal to it."""


def _is_extensible(kind: Any) -> bool:
    """Return whether an object may get a subclass as its class for a time. A mock may not."""
    if type(kind).__module__ not in ("builtins", "abc", "typing") or kind.__flags__ & _IMMUTABLE:
        return False
    bases = [base for base in kind.__mro__ if base.__module__ not in ("builtins", "typing")]
    return not any(
        not vars(base).keys().isdisjoint(_NOT_EXTENSIBLE) or base.__module__ == "unittest.mock" for base in bases
    )


process.at_exit(__name__, _release_all)
process.at_fork(__name__, after_in_child=_open.clear)
