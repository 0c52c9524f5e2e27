"""The names by which Automagik Agents knows its own `automagik.tracing`, so that it runs unmodified on this package.

The application imports them from `decorators`, `middleware` and `performance` (a sampling decision), which hold nothing
else. Applications that are written anew use what stands behind them: `track_cli_command` and `TelemetryMiddleware`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click._decorator import tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from automagik_telemetry.integrations.asgi._middleware import App

Function = TypeVar("Function")

_OURS = __name__.partition(".")[0]
# The application has always left out what its operators' probes and its documentation's readers ask for.
_SKIPPED = ("/", "/health", "/health/workflow-services", "/api/v1/docs", "/api/v1/openapi.json")


class TracingMiddleware(TelemetryMiddleware):
    """`TelemetryMiddleware` without the routes of health and documentation."""

    def __init__(self, app: App) -> None:
        super().__init__(app, skip=_SKIPPED)


def trace_cli_command(
    command_name: str | None = None,
    track_args: bool = True,  # noqa: FBT001, FBT002 - the application's signature
) -> Callable[[Function], Function]:
    """Track a command's function, sync or async, as `track_cli_command` does, by default under its own name.

    `track_args` is taken and changes nothing: no argument of a command is ever tracked. Raises TypeError or
    ValueError, when it decorates, for a name or function that is none.
    """
    del track_args
    if command_name is not None:
        declare(command_name)

    def decorate(function: Function) -> Function:
        name: Any = getattr(function, "__name__", None) if command_name is None else command_name
        declare(name)
        return tracked(name, function, sys._getframe(1))  # noqa: SLF001 - CPython's way to see what surrounds a call

    return decorate


trace_async_cli_command = trace_cli_command


def stand_in_for(name: str) -> None:
    """Let the module `name`, such as "automagik.tracing", and all below it be this package and its modules.

    They are the same modules under a second name, so that nothing is loaded, counted or sent twice. It is called before
    the application imports `name`, or by the one file that stands where its package was.
    """
    if not any(isinstance(finder, _Finder) and finder.name == name for finder in sys.meta_path):
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
    """Puts a module of this package where the import system looks for the one that was asked for."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty module that was made, which the import system allows for."""
        sys.modules[module.__name__] = importlib.import_module(self._ours)
