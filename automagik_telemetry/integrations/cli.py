"""Tracks the commands of a command line: name, outcome and duration, never an argument."""

from __future__ import annotations

import functools
import inspect
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import click

from automagik_telemetry import notice
from automagik_telemetry.manager import get_tracing_manager
from automagik_telemetry.settings import Settings
from automagik_telemetry.telemetry.events import CLICommandEvent
from automagik_telemetry.telemetry.vocabulary import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
R = TypeVar("R")

_ENDINGS = (click.ClickException, click.exceptions.Exit, click.Abort)
"""Exceptions by which a command says how it ended; any other is a crash."""
_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT, as shells report it."""


def track_cli_command(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Track a command's function, sync or async, as `name`, such as "agent list".

    Put it below click's or Typer's decorators, next to the function, whose signature, result and exceptions stay as
    they are. `name` is declared: it leaves verbatim. Raises TypeError or ValueError, when it decorates, for a name or
    function that is none.
    """
    declare(name)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not callable(function):
            raise TypeError(f"track_cli_command({name!r}) decorates a function, not {type(function).__name__}")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def tracked_async(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - the function's result
                with _tracked(name):
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", tracked_async)

        @functools.wraps(function)
        def tracked(*args: P.args, **kwargs: P.kwargs) -> R:
            with _tracked(name):
                return function(*args, **kwargs)

        return tracked

    return decorate


@contextmanager
def _tracked(name: str) -> Iterator[None]:
    manager = get_tracing_manager()
    if manager.telemetry is not None and (rule := notice.holds_back(Settings.from_environ())):
        manager.hold_back(rule)
    telemetry = manager.telemetry
    if telemetry is None:
        yield
        return
    telemetry.resume()
    started = time.perf_counter()
    exit_code = 0
    try:
        yield
    except BaseException as error:
        exit_code = _exit_code(error)
        if isinstance(error, Exception) and not isinstance(error, _ENDINGS):
            telemetry.track_error(type(error).__name__, "cli", unhandled=True)
        raise
    finally:
        duration_ms = (time.perf_counter() - started) * 1000
        telemetry.track_event(CLICommandEvent(name, exit_code == 0, duration_ms, exit_code=exit_code))


def _exit_code(error: BaseException) -> int:
    """Return the exit code that the exception will end the process with."""
    if isinstance(error, SystemExit):
        code = error.code
        return code & 0xFF if isinstance(code, int) else 0 if code is None else 1
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    code = getattr(error, "exit_code", 1) if isinstance(error, _ENDINGS) else 1
    return code if isinstance(code, int) else 1
