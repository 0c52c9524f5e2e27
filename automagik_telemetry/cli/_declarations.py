"""The declared events that a command reports: of libraries, of logging.yaml and of an application's module."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING

from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.events._entry_points import register_libraries
from automagik_telemetry.events._registry import declared_events, is_event_class, register
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from automagik_telemetry.events._event import Event


def load(module: str | None = None) -> list[type[Event]]:
    """Return all declared events: built-in ones, and those of logging.yaml, libraries and a module.

    The module's are the events that it gives to `configure` when it is imported, and the event classes in it.

    Raises:
        Failure: The configuration has a mistake, the module can't be imported, or an event can't be declared.
    """
    try:
        builder = dictconfig.builder_of(None, Settings.from_environ())
        with contextlib.closing(builder):
            for sink in builder.sinks():
                sink.check()  # which builds its chain, and so declares the events of the file
    except (TypeError, ValueError) as error:
        raise Failure(str(error)) from error
    register_libraries()
    if module is not None:
        _import(module)
    return declared_events()


def _import(module: str) -> None:
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise Failure(f"{module} can't be imported: {type(error).__name__}: {error}.") from error
    classes = [value for value in vars(imported).values() if is_event_class(value) and hasattr(value, "name")]
    try:
        register(classes)
    except (TypeError, ValueError) as error:
        raise Failure(str(error)) from error
