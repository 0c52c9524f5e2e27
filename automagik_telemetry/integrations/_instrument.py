"""One function for all integrations: `instrument(target)` tracks an agent, a command line or a web application."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Final, TypeVar

from automagik_telemetry.integrations._errors import described, type_name

Target = TypeVar("Target")

_ALLOWED: Final = (
    "an agent of pydantic-ai or agno, a team or workflow of agno, a click command or group, a Typer app, or an ASGI "
    "application such as one of FastAPI or Starlette"
)
_FRAMEWORKS: Final = {
    ("pydantic_ai", "Agent"): "pydantic_ai",
    ("pydantic_ai", "WrapperAgent"): "pydantic_ai",
    ("agno", "Agent"): "agno",
    ("agno", "Team"): "agno",
    ("agno", "Workflow"): "agno",
    ("click", "Command"): "click._tree",
    ("typer", "Command"): "click._tree",
    ("typer", "Typer"): "click._typer",
    ("starlette", "Starlette"): "asgi._in_place",
}
"""The integration of each class, by the package that defines the class and its name."""

_ASGI_ARGUMENTS: Final = 3
_WSGI_ARGUMENTS: Final = 2


def instrument(target: Target, /) -> Target:
    """Track an agent, a command line or a web application, and return the object to use from now on.

    The object is recognized by its type, without importing a framework. Its behaviour stays the same: results,
    exceptions, output and streams. Instrumenting it twice changes nothing, and `uninstrument` undoes it.

    Args:
        target: An agent of pydantic-ai or agno; a team or workflow of agno; a click command or group; a Typer app that
            has its commands; or an ASGI application: one of FastAPI or Starlette, or any callable that takes
            `scope, receive, send`.

    Returns:
        The same object, which is now tracked. Of an ASGI application that is not a Starlette one, a
        `TelemetryMiddleware` around it: serve that one.

    Raises:
        TypeError: The object is anything else, among them a WSGI application, which is not supported yet. The message
            names the type and what is allowed.
        ValueError: The Typer app has no commands yet.
        ImportError: The framework is older than the version that this package needs.
    """
    tracked: Target = _integration(target).instrument(target)
    return tracked


def uninstrument(target: Target, /) -> Target:
    """Undo `instrument`: restore exactly what was there before, and return the object to use from now on.

    Args:
        target: What `instrument` returned, or took. An object that is not instrumented stays as it is.

    Returns:
        The same object, no longer tracked. Of a `TelemetryMiddleware`, the application inside.

    Raises:
        TypeError: The object is not one that `instrument` accepts.
        ImportError: The framework is older than the version that this package needs.
    """
    plain: Target = _integration(target).uninstrument(target)
    return plain


def _integration(target: object) -> Any:
    """Return the module whose `instrument` and `uninstrument` accept the object. Raises TypeError if there is none."""
    if issubclass(type(target), type):
        raise TypeError(f"instrument takes {_ALLOWED}; this is {described(target)}, pass an instance")
    for kind in type(target).__mro__:
        key = kind.__module__.partition(".")[0], kind.__name__
        if key in _FRAMEWORKS:
            return _module(_FRAMEWORKS[key])
    if _takes(target, "scope", _ASGI_ARGUMENTS):
        return _module("asgi._in_place")
    if _is_wsgi(target):
        raise TypeError(
            f"instrument does not support a WSGI application yet ({type_name(target)}); serve it as ASGI with an "
            "adapter such as a2wsgi.WSGIMiddleware, and instrument the adapter"
        )
    raise TypeError(f"instrument takes {_ALLOWED}; this is {described(target)}")


def _module(name: str) -> Any:
    return importlib.import_module(f"automagik_telemetry.integrations.{name}")


def _is_wsgi(target: object) -> bool:
    """Return whether the object is a WSGI application: one of Flask, or a callable of PEP 3333."""
    return hasattr(type(target), "wsgi_app") or any(
        _takes(target, name, _WSGI_ARGUMENTS) for name in ("environ", "env")
    )


def _takes(target: object, first: str, number: int) -> bool:
    """Return whether a callable takes just this number of positional arguments, the first of that name."""
    if not callable(target):
        return False
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except Exception:  # a callable of C, or one whose attributes raise
        return False
    needed = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    positional = all(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in needed)
    return positional and len(needed) == number and needed[0].name.strip("_") == first
