"""The processors of the telemetry chain, configured by logging.yaml and the environment."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from automagik_processors import Anonymize, OTLPLogRecord, OTLPSpan, Sample
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.events._allowlist import allowlist, declare
from automagik_telemetry.events._drop_log import DropLog
from automagik_telemetry.events.catalogue import CATALOGUE
from automagik_telemetry.settings import Settings
from automagik_telemetry.sinks.telemetry import configured_endpoint, signal_of

if TYPE_CHECKING:
    from collections.abc import Sequence


_SYSTEMS = frozenset({"AIX", "Android", "Darwin", "FreeBSD", "Linux", "NetBSD", "OpenBSD", "SunOS", "Windows", "iOS"})
_MACHINES = frozenset(
    {"AMD64", "ARM64", "aarch64", "amd64", "arm64", "armv6l", "armv7l", "armv8l", "i386", "i686", "loongarch64"}
    | {"ppc64", "ppc64le", "riscv64", "s390x", "x86", "x86_64"}
)


def anonymize(vocabulary: Sequence[str] = ()) -> Anonymize:
    """Return the processor; `vocabulary` are words of yours that may leave verbatim.

    What does not leave is logged once, without its value, at DEBUG of the logger `automagik_telemetry`.

    Raises TypeError or ValueError for one that can't be declared.
    """
    if isinstance(vocabulary, str):
        raise TypeError(f"vocabulary: {vocabulary!r} is a str; allowed is a list of words")
    declare(*(vocabulary[index] for index in range(len(vocabulary))))
    log = DropLog(CATALOGUE)
    return Anonymize(CATALOGUE, allowlist, key=_hash_key, on_withheld=log, hears=log.is_enabled)


def _hash_key() -> bytes:
    return identity.hash_key(identity.state_directory(Settings.from_environ().state_dir))


def sample(rate: float = 1.0, error_rate: float = 1.0) -> Sample:
    """Return the processor that keeps `rate` of the events and `error_rate` of the failures, both from 0 to 1.

    AUTOMAGIK_SAMPLING_RATE and AUTOMAGIK_ERROR_SAMPLING_RATE go first. Raises ValueError for what is no such rate.
    """
    Sample(rate, error_rate)  # what is given must be right even where the environment goes first
    settings = Settings.from_environ()
    chosen, of_errors = settings.default_sampling_rate, settings.error_sampling_rate
    return Sample(rate if chosen is None else chosen, error_rate if of_errors is None else of_errors)


def otlp(prefix: str = "event.", endpoint: str | None = None) -> OTLPSpan | OTLPLogRecord:
    """Return the last processor of the telemetry chain: log records for an endpoint in /v1/logs, else spans."""
    kind = OTLPLogRecord if signal_of(configured_endpoint(Settings.from_environ(), endpoint)) == "logs" else OTLPSpan
    return kind(prefix, attributes=_system())


def _system() -> dict[str, str]:
    """Return what the format wants to know of the machine; none of it tells one from another.

    `platform` reads environment variables on Windows, and a kernel or an interpreter that someone built says what its
    builder chose, so that only known names leave, and of the version the three numbers.
    """
    system, machine = platform.system(), platform.machine()
    return {
        "system.os": system if system in _SYSTEMS else "other",
        "system.python_version": ".".join(map(str, sys.version_info[:3])),
        "system.architecture": machine if machine in _MACHINES else "other",
    }
