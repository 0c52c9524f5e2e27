"""Tracks the commands of a command line: name, outcome and duration, never an argument."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations.click import _run as command_run
from automagik_telemetry.integrations.click._tree import instrument_click, is_command
from automagik_telemetry.integrations.click._typer import instrument_typer, replace_registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["instrument_click", "instrument_typer", "track_cli_command"]

Function = TypeVar("Function")


def track_cli_command(name: str) -> Callable[[Function], Function]:
    """Track a command's function, sync or async, as `name`, such as "agent list".

    It may stand below or above click's and Typer's decorators; signature, result and exceptions stay as they are. A
    command whose name ends in "list" and that returns a list, tuple or dict tells how many items it has. `name` is
    declared: it leaves verbatim. Raises TypeError or ValueError, when it decorates, for a name or function that is
    none.
    """
    declare(name)

    def decorate(function: Function) -> Function:
        return tracked(name, function, sys._getframe(1))  # noqa: SLF001 - CPython's way to see what surrounds a call

    return decorate


def tracked(name: str, function: Function, frame: FrameType) -> Function:
    """Return the function, tracked as the declared `name`; `frame` is where it is decorated. Raises TypeError."""
    target: Any = function
    if is_command(target):
        if target.callback is None:
            raise TypeError(f"track_cli_command({name!r}) tracks a command's function, and this command has none")
        target.callback = _wrap(name, target.callback)
        return function
    if isinstance(target, staticmethod | classmethod):
        return cast("Function", type(target)(_wrap(name, target.__func__)))
    if not callable(target) or isinstance(target, type):
        kind = f"the class {target.__name__}" if isinstance(target, type) else type(target).__name__
        raise TypeError(f"track_cli_command({name!r}) decorates a function, not {kind}")
    wrapped = _wrap(name, target)
    replace_registered(target, wrapped, frame)
    return cast("Function", wrapped)


def _wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same kind that tracks each call."""
    mark = object()

    def begin() -> command_run.CommandRun | None:
        outer = command_run.current()
        if outer is not None and outer.claim is mark:
            # The tree counts this very command already; the name that was given by hand is the better one.
            outer.claim = None
            outer.name = name
            return None
        return command_run.begin(name)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own
            run = begin()
            coroutine = function(*args, **kwargs)
            return await (coroutine if run is None else run.wrap_coroutine(coroutine))

        tracked: Any = asynchronous
    else:

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own
            run = begin()
            return function(*args, **kwargs) if run is None else run.wrap_call(lambda: function(*args, **kwargs))

        tracked = plain
    tracked.__automagik_mark__ = mark  # which `functools.wraps` hands on to the decorators above
    return cast("Callable[..., Any]", tracked)
