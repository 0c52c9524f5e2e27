"""The commands by which a user controls an application: its own ones if it has mounted them, else ours."""

from __future__ import annotations

import os
import sys
from typing import Final

from automagik_telemetry._process import kept

_MAX_COMMAND = 80  # characters
_OURS: Final = "automagik-telemetry"
_kept: Final[dict[str, str]] = kept("mounted commands", dict[str, str])


def program() -> str:
    """Return the command that runs this process, without directories and arguments.

    It is empty for a script that is not a command on PATH, because its name may hold anything.
    """
    # Only a process that writes a record or shows a command needs these.
    import shlex
    import shutil

    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # which it is in a zip file
        found = f"python -m {spec.name.removesuffix('.__main__')}"
        quoted = found
    else:
        script = sys.argv[0] if getattr(sys, "argv", None) else ""
        found = os.path.basename(script)
        place = shutil.which(found) if found else None
        if place is None or os.path.realpath(place) != os.path.realpath(script):
            return ""
        quoted = shlex.quote(found)
    return quoted if quoted.isprintable() and len(quoted) <= _MAX_COMMAND else ""


def mount(group: str) -> None:
    """Record that the application has our commands, in a group of this name."""
    _kept["group"] = group


def is_called() -> bool:
    """Return whether the command line of this process names the mounted group, or has its name as an argument."""
    return "group" in _kept and _kept["group"].rpartition(" ")[2] in sys.argv[1:]


def run_as(path: str) -> None:
    """Record the command path by which the group was called, such as "bookshop telemetry"."""
    _kept["path"] = path


def forget() -> None:
    """Forget that commands were mounted. For tests."""
    _kept.clear()


def own(*words: str) -> str | None:
    """Return a command of the application's own, such as "bookshop telemetry off"; None if it has none."""
    if "group" not in _kept:
        return None
    path = _kept.get("path") or (f"{ran} {_kept['group']}" if (ran := program()) else "")
    return f"{path} {' '.join(words)}" if path else None


def command(*words: str, application: str | None = None) -> str:
    """Return a command about an application as the user can run it: the application's own, else ours."""
    # Only a process that shows a command needs this.
    import shlex

    return own(*words) or shlex.join([_OURS, *words, *([application] if application else [])])
