"""Tracks a Typer application, which builds its command tree again for each call."""

from __future__ import annotations

import importlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.events._names import declare_later
from automagik_telemetry.integrations.click._tree import names_below, tracked_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

AppT = TypeVar("AppT")


def instrument_typer(app: AppT) -> AppT:
    """Track every command of a Typer app, as `instrument_click` does for a group.

    More commands and apps may be added afterwards, but the first one must exist before.

    Args:
        app: A `typer.Typer` that has its commands.

    Returns:
        The same app.

    Raises:
        TypeError: The object is not a Typer app.
        ValueError: The app has no commands yet.
    """
    typer: Any = app
    if not _is_app(typer):
        raise TypeError(f"instrument_typer takes a Typer app, not {type(app).__name__}")
    if not (typer.registered_commands or typer.registered_groups or typer.registered_callback):
        raise ValueError("instrument_typer comes after the app's commands, and this app has none")
    core = importlib.import_module("typer.core")
    given = typer.registered_callback
    for info in (typer.info, *([given] if given is not None and isinstance(given.cls, type) else [])):
        _replace_class(typer, info, tracked_class(info.cls if isinstance(info.cls, type) else core.TyperGroup))
    for info in typer.registered_commands:
        _replace_class(typer, info, tracked_class(info.cls or core.TyperCommand))
    declare_later(app, partial(names_below, members=_registered))
    return app


def _registered(app: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the names of an app's commands, as Typer makes them, and its groups."""
    if app is None:  # of a command
        return
    for info in app.registered_commands:
        yield info.name or info.callback.__name__.lower().replace("_", "-"), None
    for info in app.registered_groups:
        inner = info.typer_instance
        yield (info.name if type(info.name) is str or inner is None else inner.info.name), inner


def uninstrument_typer(app: AppT) -> AppT:
    """Undo `instrument_typer`, and return the app. Raises TypeError if the object is not a Typer app."""
    if not _is_app(app):
        raise TypeError(f"uninstrument takes a Typer app, not {type(app).__name__}")
    for info, before in _replaced.pop(app, ()):
        info.cls = before
    return app


instrument, uninstrument = instrument_typer, uninstrument_typer

_replaced: weakref.WeakKeyDictionary[Any, list[tuple[Any, Any]]] = weakref.WeakKeyDictionary()
"""For each Typer app, the objects whose class was replaced, and the original class."""


def _replace_class(app: Any, info: Any, tracked: Any) -> None:
    if info.cls is not tracked:
        _replaced.setdefault(app, []).append((info, info.cls))
        info.cls = tracked


def replace_registered(function: Callable[..., Any], tracked: Callable[..., Any], frame: FrameType) -> None:
    """Let the Typer app that has just registered `function` call `tracked` instead.

    Typer's decorators return the function itself, so a decorator above them comes too late unless it finds the app.
    The app is searched for among the names at the place of decoration, `frame`.
    """
    for value in (*frame.f_locals.values(), *frame.f_globals.values()):
        if attempt(_is_app, value):  # it may be anything
            for info in _last_registered(value):
                if info.callback is function:
                    info.callback = tracked


def _last_registered(app: Any) -> Iterable[Any]:
    return (*app.registered_commands[-1:], *([app.registered_callback] if app.registered_callback else []))


def _is_app(value: object) -> bool:
    return any(kind.__name__ == "Typer" and kind.__module__.startswith("typer.") for kind in type(value).__mro__)
