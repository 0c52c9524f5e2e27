"""One run of a command, from its begin to its end: what is measured, and what is part of what."""

from __future__ import annotations

import contextlib
import errno
import inspect
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from automagik_telemetry.events.catalogue import CLICommandEvent
from automagik_telemetry.integrations._runtime import telemetry_of_command
from automagik_telemetry.tracing._propagation import SpanContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from automagik_telemetry.events.client import TelemetryClient

_current: ContextVar[CommandRun | None] = ContextVar("automagik_telemetry_command", default=None)


def current() -> CommandRun | None:
    """Return the run that the current code is part of."""
    return _current.get()


class CommandRun:
    """Runs a call as the command `name`, which may still be changed while it runs.

    A run inside another is a part of it: an event of its own, in the same trace, whose parent is the outer one's. An
    exception is a crash where it leaves the outermost.
    """

    def __init__(self, name: str, telemetry: TelemetryClient) -> None:
        self.name = name
        self.context: Any = None
        """The context of the command tree that the run is of, if it is."""
        self.claim: object = None
        """What marks the function that may give the run its name."""
        self.is_counted = True
        self._telemetry = telemetry
        self._outer = _current.get()
        self._span = SpanContext()
        self.started = time.perf_counter()

    def wrap_call(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 - the function's own
        """Return what the call returns; if that is a coroutine, the run goes on until it is awaited."""
        token = _current.set(self)
        try:
            with self._span.within():
                result = function()
        except BaseException as error:
            self.end(error)
            raise
        finally:
            _current.reset(token)
        if inspect.iscoroutine(result):
            return self.wrap_coroutine(result)
        self.end(result=result)
        return result

    async def wrap_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - the function's own
        """Return what the coroutine returns."""
        token = _current.set(self)
        try:
            with self._span.within():
                result = await coroutine
        except BaseException as error:
            self.end(error)
            raise
        finally:
            _current.reset(token)
        self.end(result=result)
        return result

    def end(self, error: BaseException | None = None, result: object = None) -> None:
        """End the run and log it."""
        duration_ms = (time.perf_counter() - self.started) * 1000
        if not self.is_counted:
            return
        try:
            if self._outer is None and is_crash(error):
                with self._span.within():
                    self._telemetry.track_error(type(error).__name__, "cli", unhandled=True)
            code = exit_code(error)
            event = CLICommandEvent(self.name, code == 0, duration_ms, _count(self.name, result), code)
            self._telemetry.track_event(event, ids=self._span.ids)
        except Exception:  # noqa: BLE001, S110 - nothing of ours shows in the application
            pass


def begin(name: str | Callable[[], str]) -> CommandRun | None:
    """Return a run, begun; None while nothing is to be tracked, and then `name` is not called either."""
    with contextlib.suppress(Exception):
        telemetry = telemetry_of_command()
        if telemetry is not None:
            return CommandRun(name if isinstance(name, str) else name(), telemetry)
    return None


def _count(name: str, result: object) -> int | None:
    """Return how many items a command that lists returned."""
    if name.rpartition(" ")[2] != "list" or not isinstance(result, list | tuple | dict):
        return None
    return len(result)


_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT, as shells report it."""
_PACKAGES = ("click", "typer", "asyncclick", "rich_click")
_ENDINGS = ("ClickException", "Exit", "Abort")


def exit_code(error: BaseException | None) -> int:
    """Return the exit code (0 to 255) that a command's exception, or None for its return, ends the process with."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        code = error.code
        return code & 0xFF if isinstance(code, int) else 0 if code is None else 1
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    code = getattr(error, "exit_code", 1) if _is_ending(error) else 1
    return code & 0xFF if isinstance(code, int) else 1


def is_crash(error: BaseException | None) -> bool:
    """Return whether a command failed by a mistake, and not by its own word, the user's, or the end of a pipe."""
    if not isinstance(error, Exception) or _is_ending(error) or isinstance(error, EOFError):
        return False
    return not (isinstance(error, OSError) and error.errno == errno.EPIPE)


def _is_ending(error: BaseException) -> bool:
    """Return whether the exception is one by which click, or Typer with its own copy of click, ends a command."""
    return any(
        kind.__name__ in _ENDINGS and kind.__module__.partition(".")[0] in _PACKAGES for kind in type(error).__mro__
    )
