"""The settings of the environment, each with its name, type, default and one sentence.

An invalid value logs one warning on the logger `automagik_telemetry`, with the variable, the value, the allowed values
and the effect. An invalid boolean or endpoint that concerns privacy falls back to the more private setting.
"""

from __future__ import annotations

import logging
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from automagik_telemetry._log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Secret", "Settings"]

DEFAULT_ENDPOINT = "https://telemetry.namastex.ai/v1/traces"
DEFAULT_LANGWATCH = "https://app.langwatch.ai"

OFF = 60
"""The level at which nothing is sent: above `logging.CRITICAL`."""

LEVELS = {
    "OFF": OFF,
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
"""The levels of telemetry, by name; the catalogue of events has the level of each event."""

defaults: dict[str, str] = {}
"""Values of variables that are not set. It is empty, except while a test captures telemetry."""

_MAX_SECONDS = 86_400  # a day; the operating system takes no more than some weeks
_MAX_COUNT = 1_000_000_000
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("one of 1, true, yes, on, 0, false, no, off")


def _true_unless_zero(text: str) -> bool:
    """Parse DO_NOT_TRACK, which counts as set with any value but empty and 0 (consoledonottrack.com)."""
    return text != "0"


def _positive_int(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _MAX_COUNT:
        raise ValueError(f"an integer from 1 to {_MAX_COUNT}")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= _MAX_SECONDS:
        raise ValueError(f"a number of seconds above 0, up to {_MAX_SECONDS}")
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
        raise ValueError("a number of milliseconds of at least 0")
    return number


class Secret:
    """A string that no log, repr or error shows.

    Args:
        text: The string.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the string itself.

        Returns:
            The string.
        """
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        """Pickle a mask in place of the string."""
        return Secret, ("***",)


def _secret(text: str) -> Secret:
    """Parse a secret that is sent in a header: a line break in it would begin another header."""
    return Secret(_header(text))


def _header(text: str) -> str:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("a string of visible ASCII characters")
    return text


MAX_NAME_CHARACTERS = 255
"""Maximum length of the name, version or organization of an application."""


def check_name(text: str) -> str:
    """Return `text` if it can name an application, its version or its organization; raise ValueError otherwise."""
    if not 1 <= len(text) <= MAX_NAME_CHARACTERS or not text.isprintable() or text != text.strip():
        raise ValueError(f"a string of 1 to {MAX_NAME_CHARACTERS} printable characters without spaces around it")
    return text


def _resource(text: str) -> dict[str, str]:
    """Parse OTEL_RESOURCE_ATTRIBUTES, of which only name and version are kept; any mistake discards all of it."""
    found = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not key or not equals or re.search("%(?![0-9A-Fa-f]{2})", entry):
            raise ValueError(_RESOURCE)
        try:
            found[unquote(key, errors="strict")] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise ValueError(_RESOURCE) from None
    return {key: check_name(found[key]) for key in ("service.name", "service.version") if found.get(key)}


_RESOURCE = "a list of key=value, separated by commas and percent-encoded"

DEBUG = "print"
"""The development mode in which events are printed, and nothing is sent."""
VERBOSE = "verbose"
"""The development mode in which events are printed, and sent where consent is given."""


def _debug(text: str) -> str:
    if text.lower() == VERBOSE:
        return VERBOSE
    try:
        return DEBUG if _boolean(text) else ""
    except ValueError:
        raise ValueError("one of 1, true, yes, on, 0, false, no, off, verbose") from None


RANDOM_ID = "random"
"""The identity of an application that sends a random ID of its installation, and one of the process."""
NO_ID = "none"
"""The identity of an application that sends neither."""


def check_identity(text: str) -> str:
    """Return `text` if it is an identity; raise ValueError otherwise."""
    if text not in {RANDOM_ID, NO_ID}:
        raise ValueError(f"{RANDOM_ID} or {NO_ID}")
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
        raise ValueError("a valid http:// or https:// URL without a user name")
    return text


def without_credentials(url: str) -> str:
    """Return a text with marks in place of all in a URL that may be a credential.

    These are the user name and password, the query, the fragment, and long parts of the path.
    """
    url = re.sub(r"//\S*@", "//***@", url)  # to the last one, because a password may hold any character
    url = re.sub(r"(?<=/)[\w~%=+.-]{20,}(?=[/?#\s]|$)", _long_part, url)
    return re.sub(r"(?<=\w)(:/?/[^?#\s]*)[?#].*", r"\1?***", url, flags=re.DOTALL)


def _long_part(found: re.Match[str]) -> str:
    """Return a part of a URL's path as it may be shown. After `//` it is the host."""
    return found[0] if found.string[: found.start()].endswith("//") else "***"


def origin_of(url: str) -> str:
    """Return the origin of a valid URL: scheme, host, and the port if it is not the scheme's own."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


_PORTS = {"http": 80, "https": 443}


def _path(text: str) -> str:
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # there is no home directory
        path = Path()
    if not path.is_absolute():
        raise ValueError("an absolute path")
    return str(path)


_TYPE_NAMES: dict[Callable[[str], object], str] = {
    _boolean: "boolean",
    _true_unless_zero: "boolean",
    _positive_int: "integer",
    _seconds: "seconds",
    _milliseconds: "milliseconds",
    _rate: "rate",
    _secret: "secret",
    _header: "string",
    check_name: "string",
    check_identity: "random or none",
    _resource: "list",
    _debug: "boolean or verbose",
    _level: "level",
    check_endpoint: "URL",
    _path: "path",
    str: "path",
}


_FREE = (check_name, _path, str)
"""Parsers of texts of any form."""


class _Setting(NamedTuple):
    variable: str
    parse: Callable[[str], object]
    default: object
    sentence: str
    fallback: object
    effect: str


_SETTINGS: list[_Setting] = []


def _setting(
    variable: str,
    parse: Callable[[str], object],
    default: object,
    sentence: str,
    on_error: tuple[object, str] | None = None,
) -> Any:
    """Declare one setting; `on_error` is the fallback of an invalid value, and its effect, if not the default."""
    if on_error is None:
        on_error = default, "It is ignored" if default is None else f"Using {default!r}"
    _SETTINGS.append(_Setting(variable, parse, default, sentence, *on_error))
    return default


class Settings(NamedTuple):
    """Settings of the environment, read once. Durations are in seconds, unless the name ends in `_ms`."""

    telemetry_enabled: bool | None = _setting(
        "AUTOMAGIK_TELEMETRY_ENABLED",
        _boolean,
        None,
        "Opts in to usage telemetry, or out of it. If unset, the saved choice holds.",
        on_error=(False, "Telemetry is off"),
    )
    telemetry_endpoint: str | None = _setting(
        "AUTOMAGIK_TELEMETRY_ENDPOINT",
        check_endpoint,
        DEFAULT_ENDPOINT,
        "Endpoint of telemetry, in place of any other: a URL that ends in /v1/traces or /v1/logs, or the base URL of "
        "an OTLP endpoint. The default belongs to Automagik Agents; another application has none.",
        on_error=(None, "Telemetry is off"),
    )
    telemetry_level: int | None = _setting(
        "AUTOMAGIK_TELEMETRY_LEVEL",
        _level,
        None,
        "Lowest level of events that are sent: OFF, CRITICAL, ERROR, INFO or DEBUG. If unset, the saved level holds, "
        "else INFO.",
        on_error=(OFF, "Telemetry is off"),
    )
    telemetry_identity: str = _setting(
        "AUTOMAGIK_TELEMETRY_IDENTITY",
        check_identity,
        RANDOM_ID,
        "With `none`, no ID of the installation or of the process is sent, and none is made.",
        on_error=(NO_ID, "No ID is sent"),
    )
    debug: str | None = _setting(
        "AUTOMAGIK_TELEMETRY_DEBUG",
        _debug,
        None,
        "Prints each event to stderr as it would be sent, and each thing that is not sent, with the reason. Nothing is "
        "sent, unless it is `verbose`.",
        on_error=(DEBUG, "Events are printed, and nothing is sent"),
    )
    service_name: str | None = _setting(
        "AUTOMAGIK_SERVICE_NAME",
        check_name,
        None,
        "Name of the application, unless its code or logging.yaml has one. The default is automagik-agents.",
    )
    service_version: str | None = _setting(
        "AUTOMAGIK_SERVICE_VERSION",
        check_name,
        None,
        "Version of the application, unless its code or logging.yaml has one. By default that of its distribution.",
    )
    otel_service_name: str | None = _setting(
        "OTEL_SERVICE_NAME", check_name, None, "Name of the application, if no other setting has one."
    )
    otel_resource: dict[str, str] | None = _setting(
        "OTEL_RESOURCE_ATTRIBUTES",
        _resource,
        None,
        "Its `service.name` and `service.version` are used if no other setting has them; the rest is ignored.",
    )
    disable_all_tracing: bool = _setting(
        "AUTOMAGIK_DISABLE_ALL_TRACING",
        _boolean,
        default=False,
        sentence="Turns every sink off.",
        on_error=(True, "Every sink is off"),
    )
    tracing_enabled: bool = _setting(
        "AUTOMAGIK_TRACING_ENABLED",
        _boolean,
        default=True,
        sentence="Turns every sink off if it is false.",
        on_error=(False, "Every sink is off"),
    )
    do_not_track: bool = _setting(
        "DO_NOT_TRACK", _true_unless_zero, default=False, sentence="Turns every sink off, as in other software."
    )
    otel_sdk_disabled: bool = _setting(
        "OTEL_SDK_DISABLED",
        _boolean,
        default=False,
        sentence="Turns every sink off.",
        on_error=(True, "Every sink is off"),
    )
    enable_in_ci: bool = _setting(
        "AUTOMAGIK_ENABLE_TRACING_IN_CI",
        _boolean,
        default=False,
        sentence="Allows continuous integration, test runs and coding agents' sandboxes to send usage.",
    )
    logging_config: str | None = _setting(
        "AUTOMAGIK_LOGGING_CONFIG", str, None, "Absolute path of your own logging.yaml, in place of the default one."
    )
    state_dir: str | None = _setting(
        "AUTOMAGIK_STATE_DIR",
        _path,
        None,
        "Directory of queued events and the anonymous ID. If unset, the platform's state directory.",
    )
    max_queue_size: int = _setting(
        "AUTOMAGIK_TRACE_QUEUE_SIZE", _positive_int, 20_000, "Maximum number of undelivered events of a sink."
    )
    batch_size: int = _setting(
        "AUTOMAGIK_TRACE_BATCH_SIZE",
        _positive_int,
        8_000,
        "Maximum number of events in a batch. A full batch is sent at once.",
    )
    schedule_delay: float = _setting(
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY", _seconds, 5.0, "Seconds after which a batch that is not full is sent."
    )
    export_timeout: float = _setting(
        "AUTOMAGIK_TRACE_EXPORT_TIMEOUT",
        _seconds,
        10.0,
        "Maximum number of seconds of one request, connecting included.",
    )
    default_sampling_rate: float | None = _setting(
        "AUTOMAGIK_SAMPLING_RATE",
        _rate,
        None,
        "Sampling rate of events, in place of the one in logging.yaml, and of full traces, in place of 0.1.",
    )
    error_sampling_rate: float | None = _setting(
        "AUTOMAGIK_ERROR_SAMPLING_RATE",
        _rate,
        None,
        "Sampling rate of failures. By default all full traces with a failure are kept.",
    )

    observability_enabled: bool | None = _setting(
        "AUTOMAGIK_OBSERVABILITY_ENABLED",
        _boolean,
        None,
        "Turns full traces off, or on for installed providers without the key of a built-in one.",
        on_error=(False, "Full traces are off"),
    )
    langwatch_api_key: Secret | None = _setting(
        "LANGWATCH_API_KEY", _secret, None, "Opts in to full traces, content included, in your own LangWatch project."
    )
    langwatch_endpoint: str | None = _setting(
        "LANGWATCH_ENDPOINT",
        check_endpoint,
        DEFAULT_LANGWATCH,
        "Base URL of LangWatch, or the URL of its OTLP endpoint.",
        on_error=(None, "Traces are not sent to LangWatch"),
    )
    langwatch_project_id: str | None = _setting(
        "LANGWATCH_PROJECT_ID",
        _header,
        None,
        "LangWatch project of the traces, for a key that belongs to more than one.",
    )
    slow_threshold_ms: float = _setting(
        "AUTOMAGIK_SLOW_THRESHOLD_MS",
        _milliseconds,
        5_000.0,
        "Milliseconds from which a trace counts as slow, and is kept.",
    )
    traces_per_minute: int = _setting(
        "AUTOMAGIK_TRACES_PER_MINUTE",
        _positive_int,
        60,
        "Approximate maximum of traces of one type that are kept in a minute, besides errors and slow ones.",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. An empty variable counts as unset; an invalid value is one warning.

        Args:
            environ: The variables. By default those of the process.

        Returns:
            The settings.
        """
        if environ is None:
            environ = {**defaults, **os.environ} if defaults else os.environ
        values: dict[str, Any] = {
            name: _read(setting, text)
            for name, setting in zip(cls._fields, _SETTINGS, strict=True)
            if (text := environ.get(setting.variable, "").strip())
        }
        return cls(**values)


def is_valid(variable: str) -> bool:
    """Return whether the variable of a setting is set to a valid value in this process."""
    setting = next(each for each in _SETTINGS if each.variable == variable)
    try:
        setting.parse(os.environ.get(variable, "").strip())
    except ValueError:
        return False
    return True


Settings.__doc__ = "\n    ".join(
    [
        f"{Settings.__doc__}\n",
        "Args:",
        *(f"    {name}: {setting.sentence}" for name, setting in zip(Settings._fields, _SETTINGS, strict=True)),
    ]
)


def _read(setting: _Setting, text: str) -> object:
    try:
        return setting.parse(text)
    except ValueError as error:
        _warn_once(setting.variable, _shown(setting, text), str(error), setting.effect)
        return setting.fallback


def _shown(setting: _Setting, text: str) -> str:
    """Return the text of a variable as it may be shown, without secrets."""
    if setting.parse in (_secret, _resource):
        return "***"
    is_url = setting.parse is check_endpoint and "//" in text
    if setting.parse not in _FREE and not is_url and re.fullmatch(_KEY, text):  # a key in the wrong variable
        return "***"
    return without_credentials(text) if "//" in text or ":/" in text else text


_KEY = r"(?=.*\d)(?=.*[A-Za-z])[\w~+/=.:-]{20,}"


@cache
def _warn_once(variable: str, text: str, allowed: str, effect: str) -> None:
    warn("%s=%r is not %s. %s.", variable, text, allowed, effect)


class TraceSink(NamedTuple):
    """A sink of full traces: the names of its settings, and of its module, which has `traces_url`."""

    key: str
    endpoint: str
    module: str


TRACE_SINKS = {
    "langwatch": TraceSink("langwatch_api_key", "langwatch_endpoint", "automagik_telemetry.sinks.langwatch.handler"),
}
"""The sinks of full traces, by name. Consent and commands find a vendor's settings here alone."""


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return _SETTINGS[Settings._fields.index(name)].variable


class Value(NamedTuple):
    """The value of a variable, as it may be shown, and its source: "environment" or "default"."""

    variable: str
    shown: str
    source: str
    is_valid: bool


def values() -> list[Value]:
    """Return the value of each variable in this process. Secrets and credentials in URLs are not shown."""
    found = []
    for setting, (variable, _, default, _) in zip(_SETTINGS, describe(), strict=True):
        text = os.environ.get(variable, "").strip()
        if not text:
            found.append(Value(variable, default, "default", is_valid=True))
        else:
            found.append(Value(variable, _shown(setting, text), "environment", is_valid=is_valid(variable)))
    return found


def describe() -> list[tuple[str, str, str, str]]:
    """Return a row for each setting: variable, type, default, sentence."""
    names = {number: name for name, number in LEVELS.items()}
    rows = []
    for setting in _SETTINGS:
        default: Any = setting.default
        shown = names[logging.INFO] if setting.parse is _level else "" if default is None else str(default).lower()
        rows.append((setting.variable, _TYPE_NAMES[setting.parse], shown, setting.sentence))
    return rows
