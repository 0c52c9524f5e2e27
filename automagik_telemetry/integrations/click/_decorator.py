"""Tracks the commands of a command line: name, outcome and duration, never an argument."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations._errors import described
from automagik_telemetry.integrations._wrapping import wrap_call, wrap_coroutine
from automagik_telemetry.integrations.click import _run as command_run
from automagik_telemetry.integrations.click._tree import instrument_click, is_command
from automagik_telemetry.integrations.click._typer import instrument_typer, replace_registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["instrument_click", "instrument_typer", "track_cli_command"]

Function = TypeVar("Function")


def track_cli_command(name: str) -> Callable[[Function], Function]:
    """Track a command's function, sync or async.

    The decorator may stand below or above click's and Typer's; signature, result and exceptions stay as they are. If
    the name ends in "list" and the function returns a list, tuple or dict, the number of items is recorded.

    Args:
        name: The name of the command, such as "agent list". It is declared, so that it is sent as it is.

    Returns:
        A decorator that returns a function of the same kind.

    Raises:
        TypeError: The name is not a str, or the decorated object is not a function.
        ValueError: The name can't be declared.
    """
    if callable(name):
        raise TypeError(
            f"track_cli_command needs a name: write @track_cli_command('agent list') above {described(name)}"
        )
    declare(name)

    def decorate(function: Function) -> Function:
        return tracked(name, function, sys._getframe(1))  # noqa: SLF001 - CPython's way to see what surrounds a call

    return decorate


def tracked(name: str, function: Function, frame: FrameType) -> Function:
    """Return the function, tracked under the declared `name`; `frame` is the place of decoration. Raises TypeError."""
    target: Any = function
    if is_command(target):
        if target.callback is None:
            raise TypeError(f"track_cli_command({name!r}) tracks a command's function, and this command has none")
        target.callback = _wrap(name, target.callback)
        return function
    if issubclass(type(target), staticmethod | classmethod):
        return cast("Function", type(target)(_wrap(name, target.__func__)))
    if not callable(target) or issubclass(type(target), type):
        kind = f"the class {target.__name__}" if issubclass(type(target), type) else type(target).__name__
        raise TypeError(f"track_cli_command({name!r}) decorates a function, not {kind}")
    wrapped = attempt(_wrap, name, target, default=target)
    attempt(replace_registered, target, wrapped, frame)
    return cast("Function", wrapped)


def _wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the same kind that tracks each call."""
    mark = object()

    def begin() -> command_run.CommandRun | None:
        outer = command_run.current()
        if outer is not None and outer.claim is mark:
            # The tree already counts this command; the explicit name is the better one.
            outer.claim = None
            outer.name = name
            return None
        return command_run.begin(name)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            run = begin()
            coroutine = function(*args, **kwargs)
            return await (coroutine if run is None else wrap_coroutine(run, coroutine))

        tracked: Any = asynchronous
    else:

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            run = begin()
            if run is None:
                return function(*args, **kwargs)
            return wrap_call(run, lambda: function(*args, **kwargs), follows_streams=False)

        tracked = plain
    tracked.__automagik_mark__ = mark  # which `functools.wraps` copies to the decorators above
    return cast("Callable[..., Any]", tracked)
