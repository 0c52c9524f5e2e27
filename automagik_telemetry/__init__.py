"""Anonymous usage telemetry for AI-agent applications, as structured logging.

An application calls `configure()` once, or `get_tracing_manager()` where it needs the facade, and logs events with a
standard logger; `logging.yaml` says what goes where. The rest of the names are what that file is made of.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.fork_lock import importing
from automagik_telemetry.logging_config import ConfigurationError
from automagik_telemetry.manager import TracingManager, configure, get_tracing_manager
from automagik_telemetry.version import __version__

if TYPE_CHECKING:
    from automagik_telemetry.delivery.chain import ChainFormatter
    from automagik_telemetry.delivery.handler import BatchQueueHandler
    from automagik_telemetry.integrations.structlog_chain import emit_event
    from automagik_telemetry.sinks.langwatch import langwatch_handler
    from automagik_telemetry.sinks.telemetry import otlp, telemetry_handler
    from automagik_telemetry.telemetry.anonymize import anonymize
    from automagik_telemetry.telemetry.sample import sample
    from automagik_telemetry.telemetry.vocabulary import declare

__all__ = [
    "BatchQueueHandler",
    "ChainFormatter",
    "ConfigurationError",
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
    "BatchQueueHandler": "delivery.handler",
    "ChainFormatter": "delivery.chain",
    "anonymize": "telemetry.anonymize",
    "declare": "telemetry.vocabulary",
    "emit_event": "integrations.structlog_chain",
    "langwatch_handler": "sinks.langwatch",
    "otlp": "sinks.telemetry",
    "sample": "telemetry.sample",
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
