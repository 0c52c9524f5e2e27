"""Tracks a Typer application, which makes its tree of commands anew for each call."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry.integrations.click._tree import tracked_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

AppT = TypeVar("AppT")


def instrument_typer(app: AppT) -> AppT:
    """Track every command of a Typer app, as `instrument_click` does for a group, and return the app.

    Commands and apps may still be added to it, but for the first. Raises TypeError for what is no Typer app, and
    ValueError for one that has no commands yet.
    """
    typer: Any = app
    if not _is_app(typer):
        raise TypeError(f"instrument_typer takes a Typer app, not {type(app).__name__}")
    if not (typer.registered_commands or typer.registered_groups or typer.registered_callback):
        raise ValueError("instrument_typer comes after the app's commands, and this app has none")
    core = importlib.import_module("typer.core")
    given = typer.registered_callback
    for info in (typer.info, *([given] if given is not None and isinstance(given.cls, type) else [])):
        info.cls = tracked_class(info.cls if isinstance(info.cls, type) else core.TyperGroup)
    for info in typer.registered_commands:
        info.cls = tracked_class(info.cls or core.TyperCommand)
    return app


def replace_registered(function: Callable[..., Any], tracked: Callable[..., Any], frame: FrameType) -> None:
    """Let the Typer app that has just registered `function` call `tracked` instead.

    Typer's decorators return the function itself, so that a decorator above them comes too late, unless it finds the
    app: it is looked for among the names at the place of decoration, `frame`.
    """
    for value in (*frame.f_locals.values(), *frame.f_globals.values()):
        if _is_app(value):
            for info in _last_registered(value):
                if info.callback is function:
                    info.callback = tracked


def _last_registered(app: Any) -> Iterable[Any]:  # noqa: ANN401 - Typer is no dependency
    return (*app.registered_commands[-1:], *([app.registered_callback] if app.registered_callback else []))


def _is_app(value: object) -> bool:
    return any(kind.__name__ == "Typer" and kind.__module__.startswith("typer.") for kind in type(value).__mro__)
