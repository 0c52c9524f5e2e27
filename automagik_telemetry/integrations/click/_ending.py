"""How a command ended: the exit code of an exception, and whether it is a crash."""

from __future__ import annotations

import errno

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
