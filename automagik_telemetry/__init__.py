"""Anonymous usage telemetry for AI-agent applications, as structured logging.

An application calls `configure()` once, or `get_tracing_manager()` where it needs the facade, and logs events with a
standard logger. `logging.yaml` configures the destinations, and the other names are its building blocks.

PYTEST_DONT_REWRITE: pytest rewrites the assertions of distributions with a plugin, and warns if it can't.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing
from automagik_telemetry._version import __version__
from automagik_telemetry.handlers._configuration import ConfigurationError
from automagik_telemetry.manager import TracingManager, configure, emit_event, get_tracing_manager

if TYPE_CHECKING:
    from automagik_processors import Scrub
    from automagik_telemetry.cli._mounted import telemetry_commands, telemetry_typer
    from automagik_telemetry.events._allowlist import declare
    from automagik_telemetry.export.metrics import Metrics
    from automagik_telemetry.handlers.formatter import ChainFormatter
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.integrations._instrument import instrument, uninstrument
    from automagik_telemetry.sinks.langwatch.handler import langwatch_handler
    from automagik_telemetry.sinks.langwatch.trace import LangWatchTrace
    from automagik_telemetry.sinks.processors import OTLP, Anonymize, Sample
    from automagik_telemetry.sinks.telemetry import telemetry_handler
    from automagik_telemetry.tracing._log_filter import TraceContextFilter
    from automagik_telemetry.tracing._propagation import carry_context

__all__ = [
    "OTLP",
    "Anonymize",
    "BatchQueueHandler",
    "ChainFormatter",
    "ConfigurationError",
    "LangWatchTrace",
    "Metrics",
    "Sample",
    "Scrub",
    "TraceContextFilter",
    "TracingManager",
    "__version__",
    "carry_context",
    "configure",
    "declare",
    "emit_event",
    "get_tracing_manager",
    "instrument",
    "langwatch_handler",
    "telemetry_commands",
    "telemetry_handler",
    "telemetry_typer",
    "uninstrument",
]

_MODULES = {
    "Anonymize": ".sinks.processors",
    "BatchQueueHandler": ".handlers.handler",
    "ChainFormatter": ".handlers.formatter",
    "LangWatchTrace": ".sinks.langwatch.trace",
    "Metrics": ".export.metrics",
    "OTLP": ".sinks.processors",
    "Sample": ".sinks.processors",
    "Scrub": "automagik_processors",
    "TraceContextFilter": ".tracing._log_filter",
    "carry_context": ".tracing._propagation",
    "declare": ".events._allowlist",
    "instrument": ".integrations._instrument",
    "langwatch_handler": ".sinks.langwatch.handler",
    "telemetry_commands": ".cli._mounted",
    "telemetry_handler": ".sinks.telemetry",
    "telemetry_typer": ".cli._mounted",
    "uninstrument": ".integrations._instrument",
}
"""Names resolved lazily on first access, because an application may never need them."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:
        value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
