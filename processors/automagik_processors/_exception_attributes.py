"""The attributes of an exception, by OpenTelemetry's semantic conventions."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from automagik_processors._otlp_values import text_of, type_name


def exception_attributes(exc_info: Any) -> dict[str, object]:  # noqa: ANN401  # from the application
    """Return `exception.type`, `exception.message` and `exception.stacktrace`; {} if there is no exception.

    Args:
        exc_info: An exception, a tuple as `sys.exc_info()` returns it, or True for the exception being handled.
    """
    error: Any
    if type(exc_info) is tuple:
        error = exc_info[1] if len(exc_info) == 3 else None  # noqa: PLR2004  # class, exception, traceback
    elif type(exc_info) in {bool, int}:
        error = sys.exc_info()[1] if exc_info else None
    else:
        error = exc_info
    if not issubclass(type(error), BaseException):
        return {}
    attributes: dict[str, object] = {"exception.type": _type_of(error), "exception.message": text_of(error)}
    try:
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  # the exception's own methods may raise anything
        return attributes
    return attributes


def _type_of(error: BaseException) -> str:
    """Return the name of a class with its module, which OpenTelemetry's SDK leaves out for built-in ones."""
    module = type.__dict__["__dict__"].__get__(type(error)).get("__module__")
    if type(module) is not str or module == "builtins":
        return type_name(error)
    return f"{module}.{type_name(error)}"
