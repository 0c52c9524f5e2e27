"""One run of a command, from begin to end: its measurements and its parts."""

from __future__ import annotations

import contextlib
import errno
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from automagik_telemetry._failsafe import attempt, class_name
from automagik_telemetry._process import kept
from automagik_telemetry.events.catalogue import CLICommandEvent
from automagik_telemetry.integrations._runtime import record, telemetry_of_command
from automagik_telemetry.integrations._wrapping import Run
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing._scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from automagik_telemetry.events.client import TelemetryClient

_current: ContextVar[CommandRun | None] = kept(
    "command", lambda: ContextVar("automagik_telemetry_command", default=None)
)


def current() -> CommandRun | None:
    """Return the run that the current code is part of."""
    return _current.get()


class CommandRun(Run):
    """One run of the command `name`, which may still be changed while it runs.

    A run inside another is a part of it: an event of its own, in the same trace, whose parent is the outer one's. An
    exception is a crash where it leaves the outermost.
    """

    def __init__(self, name: str, telemetry: TelemetryClient) -> None:
        self._name = name
        self.context: Any = None
        """The context of the run in the command tree, if any."""
        self.claim: object = None
        """The marker of the function that may name the run."""
        self.is_counted = True
        self._telemetry = telemetry
        self._result: object = None
        self._outer = _current.get()
        self._span = SpanContext()
        self._scope = Scope(self._span, is_unit=False)
        self.started = time.perf_counter()
        self._discard: Callable[[], None] | None = None
        self._keep()

    @property
    def name(self) -> str:
        """The command's name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if name != self._name:
            self._name = name
            self._keep()

    def _keep(self) -> None:
        """Keep the event that the next process sends if this one dies before the command ends."""
        self._forget()
        event = CLICommandEvent(self._name, success=False, duration_ms=0.0, abandoned=True)
        self._discard = attempt(self._telemetry.keep_event, event, self._span.ids)

    def _forget(self) -> None:
        if self._discard is not None:
            attempt(self._discard)
            self._discard = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block that is part of the run."""
        token = _current.set(self)
        try:
            with self._span.within(), self._scope.within():
                yield
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _current.reset(token)

    def observe(self, value: object) -> bool:
        """Record the result. Nothing is hidden."""
        self._result = value
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the run and log it."""
        duration_ms = (time.perf_counter() - self.started) * 1000
        self._scope.end()
        try:
            if self.is_counted:
                self._log(error, duration_ms)
        finally:
            self._forget()

    def _log(self, error: BaseException | None, duration_ms: float) -> None:
        if self._outer is None and attempt(is_crash, error, default=True):
            with self._span.within():
                self._telemetry.track_error(class_name(type(error)), "cli", unhandled=True)
        code = attempt(exit_code, error, default=1)
        event = CLICommandEvent(self.name, code == 0, duration_ms, attempt(_count, self.name, self._result), code)
        self._telemetry.track_event(event, ids=self._span.ids)


def begin(name: str | Callable[[], str]) -> CommandRun | None:
    """Return a run, begun. None means that nothing is tracked; then `name` is not called either."""
    return cast("CommandRun | None", record(_begin, name))


def _begin(name: str | Callable[[], str]) -> CommandRun | None:
    telemetry = telemetry_of_command()
    return None if telemetry is None else CommandRun(name if isinstance(name, str) else name(), telemetry)


def _count(name: str, result: object) -> int | None:
    """Return the number of items that a list command returned."""
    if name.rpartition(" ")[2] != "list" or not issubclass(type(result), list | tuple | dict):
        return None
    return len(cast("Sized", result))


_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 + SIGINT, as shells report it."""
_PACKAGES = ("click", "typer", "asyncclick", "rich_click")
_ENDINGS = ("ClickException", "Exit", "Abort")


def exit_code(error: BaseException | None) -> int:
    """Return the exit code (0 to 255) of the process for a command's exception, or for its return (None)."""
    kind = type(error)
    if error is None:
        return 0
    if issubclass(kind, SystemExit):
        code = cast("SystemExit", error).code
        return _byte(code) if code is not None else 0
    if issubclass(kind, KeyboardInterrupt):
        return _INTERRUPTED
    return _byte(getattr(error, "exit_code", 1)) if _is_ending(kind) else 1


def _byte(code: object) -> int:
    return int.__and__(cast("int", code), 0xFF) if issubclass(type(code), int) else 1


def is_crash(error: BaseException | None) -> bool:
    """Return whether a command failed unexpectedly, not by its own exit, the user's interrupt, or a closed pipe."""
    kind = type(error)
    if not issubclass(kind, Exception) or issubclass(kind, EOFError) or _is_ending(kind):
        return False
    return not (issubclass(kind, OSError) and cast("OSError", error).errno == errno.EPIPE)


def _is_ending(kind: type) -> bool:
    """Return whether click, or Typer's own copy of click, ends a command with this exception."""
    return any(base.__name__ in _ENDINGS and base.__module__.partition(".")[0] in _PACKAGES for base in kind.__mro__)
