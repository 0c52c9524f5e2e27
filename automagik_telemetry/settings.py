"""Every setting that the environment can give: one row each, with its name, type, default and one sentence.

A value that can't be read is one warning on the logger `automagik_telemetry` that names the variable, the value and
what is used instead. For a switch that concerns privacy, and for the endpoint, that is the more private reading.
"""

from __future__ import annotations

import logging
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from automagik_telemetry._log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_ENDPOINT = "https://telemetry.namastex.ai/v1/traces"
DEFAULT_LANGWATCH = "https://app.langwatch.ai"

OFF = 60
"""The level at which nothing leaves: above `logging.CRITICAL`."""

LEVELS = {
    "OFF": OFF,
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
"""The dial: what each name lets through is said in the catalogue of events."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _switch(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("one of 1, true, yes, on, 0, false, no, off")


def _any_but_zero(text: str) -> bool:
    """DO_NOT_TRACK counts as set with any value but empty and 0 (consoledonottrack.com)."""
    return text != "0"


def _positive_int(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("a whole number from 1")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("a number of seconds above 0")
    return number


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1")
    return number


def _milliseconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError("a number of milliseconds from 0")
    return number


class Secret:
    """A text that no log, repr or error shows; `reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        """Stand for nothing where it would be written down."""
        return Secret, ("***",)


def _secret(text: str) -> Secret:
    """Return a secret that a header can hold: a line break in it would begin another header."""
    return Secret(_header(text))


def _header(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("a text of visible ASCII characters")
    return text


def _level(text: str) -> int:
    try:
        return LEVELS[text.upper()]
    except KeyError:
        raise ValueError("one of " + ", ".join(LEVELS)) from None


def check_endpoint(text: str) -> str:
    """Return `text` if it is an absolute http or https URL without credentials; raise ValueError otherwise."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        usable = usable and parts.username is None
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ValueError("an http:// or https:// URL without a user name in it")
    return text


def _path(text: str) -> str:
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # a home that nobody knows
        path = Path()
    if not path.is_absolute():
        raise ValueError("an absolute path")
    return str(path)


_TYPE_NAMES: dict[Callable[[str], object], str] = {
    _switch: "switch",
    _any_but_zero: "switch",
    _positive_int: "integer",
    _seconds: "seconds",
    _milliseconds: "milliseconds",
    _rate: "rate",
    _secret: "secret",
    _header: "text",
    _level: "level",
    check_endpoint: "URL",
    _path: "path",
    str: "path",
}


class _Row(NamedTuple):
    variable: str
    parse: Callable[[str], object]
    default: object
    sentence: str
    on_error: object


_ROWS: list[_Row] = []


def _row(variable: str, parse: Callable[[str], object], default: object, sentence: str, **private: object) -> Any:  # noqa: ANN401 - of whichever type
    """Declare one setting; `on_error` is what a value that can't be read counts as, if not the default."""
    _ROWS.append(_Row(variable, parse, default, sentence, **{"on_error": default} | private))
    return default


class Settings(NamedTuple):
    """What the environment says, read once. Durations are in seconds, sizes in bytes where the name says so."""

    telemetry_enabled: bool | None = _row(
        "AUTOMAGIK_TELEMETRY_ENABLED",
        _switch,
        None,
        "Opts in to anonymous usage telemetry, or out of it; unset, the saved choice counts.",
        on_error=False,
    )
    telemetry_endpoint: str | None = _row(
        "AUTOMAGIK_TELEMETRY_ENDPOINT",
        check_endpoint,
        DEFAULT_ENDPOINT,
        "Where telemetry goes: a URL that ends in /v1/traces or /v1/logs, or the base URL of an OTLP endpoint.",
        on_error=None,
    )
    telemetry_level: int = _row(
        "AUTOMAGIK_TELEMETRY_LEVEL",
        _level,
        logging.DEBUG,
        "How much may leave: OFF, CRITICAL, ERROR, INFO or DEBUG.",
        on_error=OFF,
    )
    disable_all_tracing: bool = _row(
        "AUTOMAGIK_DISABLE_ALL_TRACING", _switch, default=False, sentence="Switches every sink off.", on_error=True
    )
    do_not_track: bool = _row(
        "DO_NOT_TRACK", _any_but_zero, default=False, sentence="Switches every sink off, as everywhere."
    )
    otel_sdk_disabled: bool = _row(
        "OTEL_SDK_DISABLED",
        _switch,
        default=False,
        sentence="Switches every sink off.",
        on_error=True,
    )
    enable_in_ci: bool = _row(
        "AUTOMAGIK_ENABLE_TRACING_IN_CI",
        _switch,
        default=False,
        sentence="Lets continuous integration and test runs send, too.",
    )
    logging_config: str | None = _row(
        "AUTOMAGIK_LOGGING_CONFIG", str, None, "Your own logging.yaml, in place of the package's."
    )
    state_dir: str | None = _row(
        "AUTOMAGIK_STATE_DIR",
        _path,
        None,
        "Where queued events and the anonymous id are kept, if not at the platform's place.",
    )
    max_queue_size: int = _row(
        "AUTOMAGIK_TRACE_QUEUE_SIZE", _positive_int, 100_000, "How many events a sink may hold undelivered."
    )
    batch_size: int = _row(
        "AUTOMAGIK_TRACE_BATCH_SIZE",
        _positive_int,
        8_000,
        "How many events make a batch, which is sent at once.",
    )
    schedule_delay: float = _row(
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY", _seconds, 5.0, "After how many seconds a batch is sent that is not full."
    )
    export_timeout: float = _row(
        "AUTOMAGIK_TRACE_EXPORT_TIMEOUT", _seconds, 10.0, "How many seconds one request may take, connecting included."
    )
    default_sampling_rate: float | None = _row(
        "AUTOMAGIK_SAMPLING_RATE",
        _rate,
        None,
        "Which share to keep: of events, in place of what logging.yaml says, and of full traces, in place of 0.1.",
    )
    error_sampling_rate: float | None = _row(
        "AUTOMAGIK_ERROR_SAMPLING_RATE",
        _rate,
        None,
        "The same for failures; of full traces with one, all are kept by default.",
    )

    observability_enabled: bool | None = _row(
        "AUTOMAGIK_OBSERVABILITY_ENABLED",
        _switch,
        None,
        "Switches full traces off, or on without LANGWATCH_API_KEY for providers that have been installed.",
        on_error=False,
    )
    langwatch_api_key: Secret | None = _row(
        "LANGWATCH_API_KEY", _secret, None, "Opts in to full traces, content included, in your own LangWatch project."
    )
    langwatch_endpoint: str | None = _row(
        "LANGWATCH_ENDPOINT",
        check_endpoint,
        DEFAULT_LANGWATCH,
        "Where LangWatch is: its base URL, or the URL of its OTLP endpoint.",
        on_error=None,
    )
    langwatch_project_id: str | None = _row(
        "LANGWATCH_PROJECT_ID",
        _header,
        None,
        "The project that traces belong to, for keys that do not say it themselves.",
    )
    slow_threshold_ms: float = _row(
        "AUTOMAGIK_SLOW_THRESHOLD_MS", _milliseconds, 5_000.0, "From which duration on a trace is slow, and kept."
    )
    traces_per_minute: int = _row(
        "AUTOMAGIK_TRACES_PER_MINUTE",
        _positive_int,
        60,
        "How many traces of one type are kept in a minute, about, at most; errors and slow ones besides.",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `environ`, by default the process's; an empty variable counts as unset."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {
            name: _read(row, text)
            for name, row in zip(cls._fields, _ROWS, strict=True)
            if (text := environ.get(row.variable, "").strip())
        }
        return cls(**values)


def _read(row: _Row, text: str) -> object:
    try:
        return row.parse(text)
    except ValueError as error:
        _warn_once(row.variable, "***" if row.parse is _secret else text, str(error), row.on_error)
        return row.on_error


@cache
def _warn_once(variable: str, text: str, allowed: str, used: object) -> None:
    shown = re.sub("//[^/@]*@", "//***@", text)  # a URL may hold a password
    warn("%s=%r is not %s; using %r instead", variable, shown, allowed, used)


def describe() -> list[tuple[str, str, str, str]]:
    """Return a row for each setting: variable, type, default, sentence."""
    names = {number: name for name, number in LEVELS.items()}
    rows = []
    for row in _ROWS:
        default: Any = row.default
        shown = names[default] if row.parse is _level else "" if default is None else str(default).lower()
        rows.append((row.variable, _TYPE_NAMES[row.parse], shown, row.sentence))
    return rows
