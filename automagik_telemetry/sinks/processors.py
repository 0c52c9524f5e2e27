"""The steps of the chains in logging.yaml, with the application's arguments.

`Anonymize` and `Sample` are the classes of `automagik_processors`. Importing this module gives `Anonymize` the
declared events, the allowlist and the hash key of this application, for chains without a catalogue of their own.
"""

from __future__ import annotations

import platform
import sys
from copy import copy
from typing import TYPE_CHECKING

from automagik_processors import Anonymize, OTLPLogRecord, OTLPSpan, Sample, _application
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.events._allowlist import allowlist, declare
from automagik_telemetry.events._drop_log import DropLog
from automagik_telemetry.events._registry import CATALOGUE, EXPIRES, register
from automagik_telemetry.settings import Settings
from automagik_telemetry.sinks.telemetry import configured_endpoint, signal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from structlog.typing import EventDict, WrappedLogger

__all__ = ["OTLP", "Anonymize", "Sample"]

_SYSTEMS = frozenset({"AIX", "Android", "Darwin", "FreeBSD", "Linux", "NetBSD", "OpenBSD", "SunOS", "Windows", "iOS"})
_MACHINES = frozenset(
    {"AMD64", "ARM64", "aarch64", "amd64", "arm64", "armv6l", "armv7l", "armv8l", "i386", "i686", "loongarch64"}
    | {"ppc64", "ppc64le", "riscv64", "s390x", "x86", "x86_64"}
)


def _allow(words: Iterable[str]) -> Container[str]:
    """Declare words, and return the allowlist."""
    # By index, because only so does dictConfig resolve ext:// and cfg:// inside lists.
    declare(*([words[index] for index in range(len(words))] if isinstance(words, list) else words))
    return allowlist


def _hash_key() -> bytes:
    return identity.of(application.current(), Settings.from_environ()).hash_key


def _drop_log() -> tuple[Callable[[str, str, str], None], Callable[[], bool]]:
    log = DropLog(CATALOGUE)
    if not application.debug_mode(Settings.from_environ()):
        return log, log.is_enabled
    from automagik_telemetry.events._debug import printer

    shown = printer()

    def report(event: str, field: str, reason: str) -> None:
        log(event, field, reason)
        shown.field(event, field, reason)

    return report, lambda: True


def _declare(section: object) -> None:
    """Declare the events of a mapping."""
    from automagik_telemetry.events._mapping import events_of  # few files declare any

    register(events_of(section))


_application.application = _application.Application(CATALOGUE, EXPIRES, _declare, _allow, _hash_key, _drop_log)


class OTLP:
    """Encode an event as an OTLP span or log record, the last step of the telemetry chain.

    An endpoint whose path ends in `/v1/logs` gets log records, any other gets spans. The encoder is an `OTLPLogRecord`
    or `OTLPSpan` of `automagik_processors` with the attributes `system.os`, `system.python_version` and
    `system.architecture`.

    Args:
        prefix: Goes before the key of each field. The default is "event.".
        endpoint: The URL that the sink sends to, by default that of the telemetry sink. The variable
            AUTOMAGIK_TELEMETRY_ENDPOINT goes first.
    """

    def __init__(self, prefix: str = "event.", endpoint: str | None = None) -> None:
        logs = signal_of(configured_endpoint(Settings.from_environ(), endpoint)) == "logs"
        self.encodes_with = (OTLPLogRecord if logs else OTLPSpan)(prefix, attributes=_system())
        """The encoder."""
        self.signal = self.encodes_with.signal
        """"traces" or "logs"."""

    def copy(self) -> OTLP:
        """Return another step with the same arguments, which makes other IDs.

        Returns:
            The other step.
        """
        copied = copy(self)
        copied.encodes_with = self.encodes_with.copy()
        return copied

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        return self.encodes_with(logger, method_name, event_dict)


def _system() -> dict[str, str]:
    """Return the attributes of the machine that the format lists, none of which identifies it.

    `platform` reads environment variables on Windows, and a custom kernel or interpreter may report any text. So only
    known names are sent, and only the three numbers of the version.
    """
    system, machine = platform.system(), platform.machine()
    return {
        "system.os": system if system in _SYSTEMS else "other",
        "system.python_version": ".".join(map(str, sys.version_info[:3])),
        "system.architecture": machine if machine in _MACHINES else "other",
    }
