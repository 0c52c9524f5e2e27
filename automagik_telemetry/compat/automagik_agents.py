"""The names in Automagik Agents' own `automagik.tracing`, so that it runs unmodified on this package.

The application imports them from `decorators`, `middleware` and `performance`. New applications use
`track_cli_command` and `TelemetryMiddleware` instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry._process import is_same
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations._errors import described
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click._decorator import tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from automagik_telemetry.integrations.asgi._middleware import App

Function = TypeVar("Function")

_OURS = __name__.partition(".")[0]
# The application has never tracked the requests of health probes and of its documentation's readers.
_SKIPPED = ("/", "/health", "/health/workflow-services", "/api/v1/docs", "/api/v1/openapi.json")


class TracingMiddleware(TelemetryMiddleware):
    """`TelemetryMiddleware` that skips the routes of health checks and documentation.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: App) -> None:
        super().__init__(app, skip=_SKIPPED)


def trace_cli_command(
    command_name: str | None = None,
    track_args: bool = True,  # noqa: FBT001, FBT002 - the application's signature
) -> Callable[[Function], Function]:
    """Track a command's function, sync or async, as `track_cli_command` does.

    Args:
        command_name: The name of the command. By default that of the function.
        track_args: No effect. Arguments of a command are never tracked.

    Returns:
        A decorator that returns a function of the same kind.

    Raises:
        TypeError: `command_name` is not a str, or the decorated object is not a function.
        ValueError: `command_name` is not a valid name.
    """
    del track_args
    if callable(command_name):
        raise TypeError(
            f"trace_cli_command needs parentheses: write @trace_cli_command() above {described(command_name)}"
        )
    if command_name is not None:
        declare(command_name)

    def decorate(function: Function) -> Function:
        name: Any = getattr(function, "__name__", None) if command_name is None else command_name
        declare(name)
        return tracked(name, function, sys._getframe(1))  # noqa: SLF001 - CPython's way to find the caller

    return decorate


trace_async_cli_command = trace_cli_command


def stand_in_for(name: str) -> None:
    """Make this package importable as `name`, such as "automagik.tracing", with all its modules.

    The modules are the same objects under a second name, so that nothing is loaded, counted or sent twice. Call it
    before the application imports `name`, or in the module that replaces the application's own package.

    Args:
        name: The name of a module, such as "automagik.tracing".
    """
    if not any(is_same(type(finder), _Finder) and getattr(finder, "name", "") == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(name))
    if name in sys.modules:
        sys.modules[name] = sys.modules[_OURS]


class _Finder(MetaPathFinder):
    """Finds this package's modules under another name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load a module below the name, or None for any other."""
        del path, target
        if fullname != self.name and not fullname.startswith(f"{self.name}."):
            return None
        ours = _OURS + fullname.removeprefix(self.name)
        found = importlib.util.find_spec(ours)
        return None if found is None else ModuleSpec(fullname, _Loader(ours), is_package=True)


class _Loader(Loader):
    """Loads a module of this package under the requested name."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def exec_module(self, module: ModuleType) -> None:
        """Replace the new empty module in `sys.modules`, which the import system permits."""
        sys.modules[module.__name__] = importlib.import_module(self._ours)
