"""Finds logging.yaml and builds what it says, without touching any logger, handler or setting that it does not name.

`logging.config.dictConfig` would close every handler of the application. The same machinery is used here piece by
piece: all is checked and built before anything is attached.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
from binascii import crc32
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automagik_telemetry.handlers._default_config import CONFIG, CRC32
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import LEVELS, OFF, Settings

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

_SECTIONS = ("formatters", "filters", "handlers", "loggers")
_KEYS = ("version", "disable_existing_loggers", "root", *_SECTIONS)
_LEVELS = (*LEVELS, "WARNING", "NOTSET")


class ConfigurationError(ValueError):
    """A mistake in a logging configuration: the key's path, the value found, and what is allowed."""


def builder_of(path: str | os.PathLike[str] | None, settings: Settings) -> Builder:
    """Return the builder of a file, by default of the one that `find` returns. Raises ConfigurationError."""
    found = find(settings) if path is None else Path(path)
    return Builder(load(found), is_default=path is None and not settings.logging_config)


def find(settings: Settings) -> Path:
    """Return the configuration file: the user's own, else the one beside the sources, else the one in the package."""
    if settings.logging_config:
        return Path(settings.logging_config).expanduser()
    package = Path(__file__).parent.parent
    checkout = package.parent / "logging.yaml"
    return checkout if checkout.exists() else package / "logging.yaml"


def load(path: Path) -> dict[str, Any]:
    """Return the configuration in a YAML file, checked. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not YAML: it is not text in UTF-8") from error
    try:
        return check(json.loads(CONFIG) if crc32(text.encode()) == CRC32 else _parse(path, text))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _parse(path: Path, text: str) -> object:
    import yaml  # noqa: PLC0415 - it takes longer than all of the package, and a file that nobody changed is known

    # libyaml's is of the same kind, with a tenth of the work, and not everywhere.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}, column {place.column + 1}" if place else ""
        problem = getattr(error, "problem", None) or "it is not text in UTF-8"
        raise ConfigurationError(f"{path}: not YAML{where}: {problem}") from error


def check(config: object) -> dict[str, Any]:
    """Return `config` if its shape is right, with a bare OFF (a boolean, in YAML) as the level it means."""
    if not isinstance(config, dict):
        raise ConfigurationError(f"a mapping is needed at the top, not {_kind(config)}")
    for key in config:
        if key not in _KEYS:
            raise ConfigurationError(f"{key}: unknown; allowed are {', '.join(_KEYS)}")
    _check_top(config)
    for name, handler in config.get("handlers", {}).items():
        _check_handler(handler, f"handlers.{name}", config.get("formatters", {}))
    for name, logger in config.get("loggers", {}).items():
        _check_logger(logger, f"loggers.{name}", config.get("handlers", {}))
    if "root" in config:
        _check_logger(_mapping(config["root"], "root"), "root", config.get("handlers", {}))
    return config


def _check_top(config: dict[str, Any]) -> None:
    if config.get("version") != 1:
        raise ConfigurationError(f"version: {config.get('version')!r} is not allowed; it must be 1")
    if not isinstance(config.get("disable_existing_loggers", True), bool):
        raise ConfigurationError(f"disable_existing_loggers: {_kind(config['disable_existing_loggers'])} is no boolean")
    for section in _SECTIONS:
        for name, entry in _mapping(config.get(section, {}), section).items():
            _mapping(entry, f"{section}.{name}")


def _check_handler(handler: dict[str, Any], path: str, formatters: Mapping[str, Any]) -> None:
    _check_level(handler, path)
    if "()" not in handler and "class" not in handler:
        raise ConfigurationError(f"{path}: either () or class must say what to make")
    formatter = handler.get("formatter")
    if formatter is not None and formatter not in formatters:
        allowed = ", ".join(map(str, formatters)) or "none: the file has no formatters"
        raise ConfigurationError(f"{path}.formatter: {formatter!r} is not allowed; allowed are {allowed}")


def _check_logger(logger: dict[str, Any], path: str, handlers: Mapping[str, Any]) -> None:
    _check_level(logger, path)
    for name in logger.get("handlers") or ():
        if name not in handlers:
            raise ConfigurationError(f"{path}.handlers: {name!r} is no handler of this file")


def _check_level(entry: dict[str, Any], path: str) -> None:
    level = entry.get("level")
    if level is False:
        entry["level"] = OFF
    elif level is not None and type(level) is not int and level not in _LEVELS:
        raise ConfigurationError(f"{path}.level: {level!r} is not allowed; allowed are {', '.join(_LEVELS)}")


def _mapping(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: a mapping is needed, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


class Builder(logging.config.DictConfigurator):
    """The standard library's configurator, one object at a time. Raises ConfigurationError.

    `is_default` says that the file is the package's own, whose every part is known to be right. So of it only what will
    work is built: no handler without a logger, and no chain of a sink that is off. Of any other file all is, so that a
    mistake is said at start-up, whatever the user allows.
    """

    def __init__(self, config: dict[str, Any], *, is_default: bool = False) -> None:
        logging.addLevelName(OFF, "OFF")
        super().__init__(config)
        self._is_default = is_default
        self._made: dict[str, logging.Handler] = {}

    def names(self) -> list[str]:
        """Return the names of the handlers that are to be built."""
        handlers, loggers = self.config.get("handlers", {}), self.config.get("loggers", {})
        used = {name for logger in loggers.values() for name in logger.get("handlers", ())}
        return [name for name in handlers if name in used or not self._is_default]

    def handler(self, name: str) -> logging.Handler:
        """Return a handler with its formatter and filters, built at the first call."""
        if name not in self._made:
            entry = self.config["handlers"][name]
            formatter = entry.pop("formatter", None)
            for filter_ in entry.get("filters", ()):
                self._build("filters", filter_)
            with _at(f"handlers.{name}"):
                built: logging.Handler = self.configure_handler(entry)
                built.name = name
            if self._is_default and isinstance(built, BatchQueueHandler) and built.level >= OFF:
                built.chain_later = partial(self._build, "formatters", formatter)
            else:
                self._complete(built, formatter, f"handlers.{name}.formatter")
            self._made[name] = self.config["handlers"][name] = built
        return self._made[name]

    def _complete(self, built: logging.Handler, formatter: str | None, path: str) -> None:
        """Give a handler its formatter; a sink needs one that can serve it."""
        if formatter is not None:
            built.setFormatter(self._build("formatters", formatter))
        if isinstance(built, BatchQueueHandler):
            with _at(path):
                built.check()

    def sink(self, name: str) -> BatchQueueHandler | None:
        """Return a handler if it is one of our sinks; any other is not even built."""
        factory = self.config["handlers"][name].get("()")
        if isinstance(factory, str) and not factory.startswith("automagik_telemetry."):
            return None
        built = self.handler(name) if factory is not None else None
        return built if isinstance(built, BatchQueueHandler) else None

    def configure_loggers(self) -> None:
        """Give the loggers that the file names their levels and handlers, which must have been built."""
        for name, entry in self.config.get("loggers", {}).items():
            with _at(f"loggers.{name}"):
                self.configure_logger(name, entry)
                _spare(logging.getLogger(name))
        if "root" in self.config:
            with _at("root"):
                self.configure_root(self.config["root"])

    def _build(self, section: str, name: str) -> Any:  # noqa: ANN401 - a formatter or a filter
        made = self.config[section]
        build = self.configure_formatter if section == "formatters" else self.configure_filter
        if isinstance(made[name], dict):
            with _at(f"{section}.{name}"):
                made[name] = build(made[name])
        return made[name]


def _spare(logger: logging.Logger) -> None:
    """Raise a logger's level to what its handlers take: with the sinks off an event costs what a disabled one does.

    The handlers in the file get what they got before; one that is added later gets no more than they do.
    """
    takers = [handler for handler in logger.handlers if not isinstance(handler, logging.NullHandler)]
    if not logger.propagate and logger.level and takers:
        logger.setLevel(max(logger.level, min(handler.level for handler in takers)))


@contextlib.contextmanager
def _at(path: str) -> Iterator[None]:
    """Report any failure to build as one ConfigurationError, with the message of its first cause."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not str(cause).startswith("processors"):
            cause = cause.__cause__
        separator = "." if str(cause).startswith("processors") else ": "
        raise ConfigurationError(f"{path}{separator}{cause}") from error
