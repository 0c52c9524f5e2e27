"""Anonymous usage telemetry for AI-agent applications, as structured logging.

An application calls `configure()` once, or `get_tracing_manager()` where it needs the facade, and logs events with a
standard logger; `logging.yaml` says what goes where. The rest of the names are what that file is made of.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing
from automagik_telemetry._version import __version__
from automagik_telemetry.handlers._dictconfig import ConfigurationError
from automagik_telemetry.manager import TracingManager, configure, get_tracing_manager

if TYPE_CHECKING:
    from automagik_telemetry.events._allowlist import declare
    from automagik_telemetry.handlers.formatter import ChainFormatter
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.integrations.structlog import emit_event
    from automagik_telemetry.sinks.langwatch.handler import langwatch_handler
    from automagik_telemetry.sinks.langwatch.trace import LangWatchTrace
    from automagik_telemetry.sinks.processors import anonymize, otlp, sample
    from automagik_telemetry.sinks.telemetry import telemetry_handler

__all__ = [
    "BatchQueueHandler",
    "ChainFormatter",
    "ConfigurationError",
    "LangWatchTrace",
    "TracingManager",
    "__version__",
    "anonymize",
    "configure",
    "declare",
    "emit_event",
    "get_tracing_manager",
    "langwatch_handler",
    "otlp",
    "sample",
    "telemetry_handler",
]

_MODULES = {
    "BatchQueueHandler": "handlers.handler",
    "ChainFormatter": "handlers.formatter",
    "LangWatchTrace": "sinks.langwatch.trace",
    "anonymize": "sinks.processors",
    "declare": "events._allowlist",
    "emit_event": "integrations.structlog",
    "langwatch_handler": "sinks.langwatch.handler",
    "otlp": "sinks.processors",
    "sample": "sinks.processors",
    "telemetry_handler": "sinks.telemetry",
}
"""Where the names are that an application may never need: a module is imported when its name is first asked for."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
