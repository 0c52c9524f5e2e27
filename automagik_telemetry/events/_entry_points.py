"""Registers the events of installed libraries, by their entry points in the group `automagik_telemetry.events`."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from automagik_telemetry._failsafe import attempt, class_name, is_from_signal
from automagik_telemetry._log import warn
from automagik_telemetry._process import kept
from automagik_telemetry.events._registry import is_event_class, register

GROUP: Final = "automagik_telemetry.events"
_SECTION: Final = f"[{GROUP}]".encode()
_METADATA: Final = (".dist-info", ".egg-info")

_loaded: Final = kept("libraries whose events are registered", set[str])


def register_libraries() -> None:
    """Register the events of all installed libraries, once a process. One that can't be loaded logs one warning."""
    if GROUP in _loaded:
        return
    _loaded.add(GROUP)  # before a library is imported, which may call this again
    try:
        found = _entry_points()
    except Exception as error:
        warn("the entry points of %s can't be read: %s", GROUP, _described(error))
        return
    for entry_point in found:
        try:
            value = entry_point.load()
            register([value] if is_event_class(value) else value)
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) and is_from_signal(error):
                raise
            warn(
                "the events of the entry point %s = %s are not sent: %s. Correct or remove it",
                entry_point.name,
                entry_point.value,
                _described(error),
            )


def _entry_points() -> list[Any]:
    """Return the entry points of the group, sorted by name."""
    if not any(map(_may_have_some, sys.path)):
        return []
    from importlib.metadata import entry_points  # takes 40 ms with 150 packages; looking for the group takes 3

    return sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value))


def _may_have_some(path: str) -> bool:
    """Return whether a package in a folder of the path may have an entry point of the group."""
    if os.path.isfile(path):  # noqa: PTH113 - a zip; strings are enough for the thousands of folders here
        return True
    try:
        names = os.listdir(path or ".")  # noqa: PTH208 - as above
    except OSError:
        return False
    return any(_names_group(f"{path or '.'}/{name}/entry_points.txt") for name in names if name.endswith(_METADATA))


def _names_group(file: str) -> bool:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - as above
            return _SECTION in opened.read()
    except OSError:
        return False


def _described(error: BaseException) -> str:
    return f"{class_name(type(error))}: {attempt(str, error, default='')}"
