"""One run of a command, from begin to end: its measurements and its parts."""

from __future__ import annotations

import contextlib
import errno
import sys
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
        if attempt(_is_help, error):
            return
        code = attempt(exit_code, error, self._result, default=1)
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
"""The exit code of a program, or a Typer app, that Ctrl-C ended: 128 + SIGINT, as shells report it."""
_ABORTED = 1
"""The exit code of a click command that Ctrl-C ended."""
_MODULES = ("click", "typer._click.globals", "asyncclick")
"""Modules that know the context of the command that is running."""
_PACKAGES = ("click", "typer", "asyncclick", "rich_click")
_ENDINGS = ("ClickException", "Exit", "Abort")


is_standalone: ContextVar[bool] = kept("standalone", lambda: ContextVar("automagik_telemetry_standalone", default=True))
"""True if click ends the process after the command, and ignores its result."""


def exit_code(error: BaseException | None, result: object = None) -> int:
    """Return the exit code (0 to 255) of the process for a command's exception or result.

    An int result is one too, as in `sys.exit(main())`, unless it is a bool, or click or Typer ignores it.
    """
    kind = type(error)
    if error is None:
        is_code = issubclass(type(result), int) and type(result) is not bool
        return _byte(result) if is_code and (_context() is None or not is_standalone.get()) else 0
    if issubclass(kind, SystemExit):
        code = cast("SystemExit", error).code
        return _byte(code) if code is not None else 0
    if issubclass(kind, KeyboardInterrupt):
        return _ABORTED if _is_of_click(_context()) else _INTERRUPTED
    return _byte(getattr(error, "exit_code", 1)) if _is_ending(kind) else 1


def _byte(code: object) -> int:
    return int.__and__(cast("int", code), 0xFF) if issubclass(type(code), int) else 1


def _context() -> Any:
    """Return the current context of click or of Typer's own copy of it; None outside of their commands."""
    for name in _MODULES:
        context = attempt(lambda name=name: sys.modules[name].get_current_context(silent=True))
        if context is not None:
            return context
    return None


def _is_of_click(context: Any) -> bool:
    """Return whether a context belongs to a command line of click. Typer's has exit codes of its own."""
    kinds = () if context is None else type(context.find_root().command).__mro__
    return bool(kinds) and not any(kind.__module__.partition(".")[0] == "typer" for kind in kinds)


def _is_help(error: BaseException | None) -> bool:
    """Return whether argparse has ended the program after it printed its help or version."""
    argparse = sys.modules.get("argparse")
    if argparse is None or not issubclass(type(error), SystemExit):
        return False
    actions = [action.__call__.__code__ for action in (argparse._HelpAction, argparse._VersionAction)]  # noqa: SLF001 - it has no other sign
    place = cast("SystemExit", error).__traceback__
    while place is not None and place.tb_frame.f_code not in actions:
        place = place.tb_next
    return place is not None


def is_crash(error: BaseException | None) -> bool:
    """Return whether a command failed unexpectedly, not by its own exit, the user's interrupt, or a closed pipe."""
    kind = type(error)
    if not issubclass(kind, Exception) or issubclass(kind, EOFError) or _is_ending(kind):
        return False
    return not (issubclass(kind, OSError) and cast("OSError", error).errno == errno.EPIPE)


def _is_ending(kind: type) -> bool:
    """Return whether click, or Typer's own copy of click, ends a command with this exception."""
    return any(base.__name__ in _ENDINGS and base.__module__.partition(".")[0] in _PACKAGES for base in kind.__mro__)
