"""Reads logging.yaml and builds its parts, without touching any logger, handler or setting that it does not name.

`logging.config.dictConfig` would close every handler of the application. This module uses the same machinery piece by
piece: everything is checked and built before anything is attached.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automagik_telemetry.consent._environment import unsupported
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.handlers._configuration import ConfigurationError, at, check, one_line, parse, read
from automagik_telemetry.handlers._default_config import CONFIG
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import OFF, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pythonjsonlogger.json  # noqa: F401 - logging.yaml names it, and packagers follow imports alone

BUNDLED = "the package's logging.yaml"


def builder_of(path: str | os.PathLike[str] | None, settings: Settings) -> Builder:
    """Return the builder of a file, by default of the user's own, else of the package's configuration.

    The latter is a constant because a zip or a frozen application has no such file. Raises ConfigurationError.
    """
    if path is not None:
        return Builder(load(Path(path)))
    if settings.logging_config:
        source = source_of(settings)
        if not os.path.isabs(source):  # noqa: PTH117 - as in source_of
            raise ConfigurationError(
                f"{source}: a relative path is not allowed, because a configuration file is code, and the directory of "
                "the process may hold anyone's; allowed is an absolute path"
            )
        return Builder(load(Path(source)))
    return Builder(check(json.loads(CONFIG)), is_default=True)


def built(path: str | os.PathLike[str] | None, settings: Settings) -> Builder:
    """Return the builder of a file, see `builder_of`, with all handlers built. Raises ConfigurationError."""
    builder = builder_of(path, settings)
    try:
        for name in builder.names():
            builder.handler(name)
    except ConfigurationError:
        builder.close()
        raise
    return builder


def reason_for_off(error: ConfigurationError, settings: Settings) -> str:
    """Return the reason why nothing is sent, because the configuration can't be used."""
    name = "AUTOMAGIK_LOGGING_CONFIG" if settings.logging_config else "the logging configuration"
    place = one_line(f"{source_of(settings)}: ")
    return f"{name} can't be used: {'' if str(error).startswith(place) else place}{error}"


def source_of(settings: Settings) -> str:
    """Return the source of the configuration: the path of the user's own file, or a name for the package's."""
    # Not by pathlib, which raises for an unknown user.
    return os.path.expanduser(settings.logging_config) if settings.logging_config else BUNDLED  # noqa: PTH111 - above


def load(path: Path) -> dict[str, Any]:
    """Return the configuration in a YAML file, checked. Raises ConfigurationError."""
    text = read(path)
    try:
        return check(parse(path, text))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


class Builder(logging.config.DictConfigurator):
    """The standard library's configurator, one object at a time. Raises ConfigurationError.

    `is_default` marks the package's own file, whose parts are known to be right. Only its needed parts are built: no
    handler without a logger, and no chain of a sink that is off. Any other file is built completely, so that a mistake
    is reported at start-up, whatever the user allows.
    """

    def __init__(self, config: dict[str, Any], *, is_default: bool = False) -> None:
        logging.addLevelName(OFF, "OFF")
        super().__init__(config)
        self._is_default = is_default
        self._made: dict[str, logging.Handler] = {}
        self._added: list[tuple[logging.Logger, logging.Handler]] = []
        self._undo: list[Callable[[], object]] = []
        self._under_way: set[str] = set()
        for entry in (*self.config["loggers"].values(), self.config.get("root", {})):
            for name in entry.get("filters", ()):
                self._build("filters", name)

    def names(self) -> list[str]:
        """Return the names of the handlers to build."""
        handlers = self.config.get("handlers", {})
        used = {name for logger in self.config.get("loggers", {}).values() for name in logger.get("handlers", ())}
        return [name for name in handlers if name in used or not self._is_default]

    def handler(self, name: str) -> logging.Handler:
        """Return a handler with its formatter and filters, built at the first call."""
        if name not in self._made:
            with at(f"handlers.{name}"):
                self._made[name] = self.config["handlers"][name] = self._built(name, self.config["handlers"][name])
        return self._made[name]

    def _built(self, name: str, entry: Any) -> logging.Handler:
        # Any look-up in an entry can fail, because it resolves `ext://` and `cfg://`.
        self._build_others(name, entry)
        formatter = entry.pop("formatter", None)
        for filter_ in entry.get("filters", ()):
            self._build("filters", filter_)
        built: object = self.configure_handler(entry)
        if not isinstance(built, logging.Handler):
            raise TypeError(f"{type(built).__name__} is not a subclass of logging.Handler")
        built.name = name
        is_lazy = self._is_default or unsupported() is not None  # where a chain can't even be imported
        if is_lazy and isinstance(built, BatchQueueHandler) and built.level >= OFF:
            built.chain_later = partial(self._build, "formatters", formatter)
        else:
            self._complete(built, formatter, f"handlers.{name}.formatter")
        return built

    def close(self) -> None:
        """Close the handlers that were built and will not be used."""
        for handler in self._made.values():
            with contextlib.suppress(Exception):
                handler.close()

    def _build_others(self, name: str, entry: dict[str, Any]) -> None:
        """Build the handlers to which a handler passes its records, as MemoryHandler and QueueHandler do."""
        self._under_way.add(name)
        others = [entry.get("target"), *(given if isinstance(given := entry.get("handlers"), list) else ())]
        for other in others:
            if isinstance(other, str) and other in self.config["handlers"] and other not in self._under_way:
                self.handler(other)

    def _complete(self, built: logging.Handler, formatter: str | None, path: str) -> None:
        """Set a handler's formatter. A sink needs a suitable one."""
        if formatter is not None:
            made = self._build("formatters", formatter)
            with at(path):
                built.setFormatter(made)
        if isinstance(built, BatchQueueHandler):
            with at(path):
                built.check()

    def sink(self, name: str) -> BatchQueueHandler | None:
        """Return a handler if it is one of our sinks. Other handlers are not built."""
        if name not in self._made:
            with at(f"handlers.{name}"):
                factory = self.config["handlers"][name].get("()")
            if factory is None or (isinstance(factory, str) and not factory.startswith("automagik_telemetry.")):
                return None
        built = self.handler(name)
        return built if isinstance(built, BatchQueueHandler) else None

    def sinks(self) -> list[BatchQueueHandler]:
        """Return the sinks of the file."""
        return [sink for name in self.names() if (sink := self.sink(name)) is not None]

    def add_to_loggers(self) -> None:
        """Add the file's settings and handlers to the loggers, and remove nothing.

        The default file is skipped because `loggers.attach` handles its loggers better.
        """
        if self._is_default:
            return
        for name, entry in self.config.get("loggers", {}).items():
            with at(f"loggers.{name}"):
                if name in loggers.OWN_LOGGERS:
                    self._add_handlers(loggers.own(name), entry)
                else:
                    self._add_to(logging.getLogger(name), entry)
        if "root" in self.config:
            with at("root"):
                self._add_to(logging.getLogger(), self.config["root"])

    def _add_to(self, logger: logging.Logger, entry: Mapping[str, Any]) -> None:
        if (level := entry.get("level")) is not None:
            before = logger.level
            logger.setLevel(level)
            self._undo.append(partial(_restore_level, logger, logger.level, before))
        if (propagate := entry.get("propagate")) is not None:
            self._undo.append(partial(setattr, logger, "propagate", logger.propagate))
            logger.propagate = bool(propagate)
        for name in entry.get("filters") or ():
            filter_ = self._build("filters", name)
            if filter_ not in logger.filters:
                logger.addFilter(filter_)
                self._undo.append(partial(logger.removeFilter, filter_))
        self._add_handlers(logger, entry)

    def _add_handlers(self, logger: logging.Logger, entry: Mapping[str, Any]) -> None:
        for name in entry.get("handlers") or ():
            handler = self.handler(name)
            if isinstance(handler, BatchQueueHandler):
                if not handler.for_traces and logger.name not in loggers.OWN_LOGGERS:
                    loggers.attach_to(logger, handler)
            else:
                logger.addHandler(handler)
                self._added.append((logger, handler))

    def remove_from_loggers(self) -> None:
        """Undo `add_to_loggers`, except for sinks: close and remove handlers, and restore levels and propagation."""
        for logger, handler in self._added:
            logger.removeHandler(handler)
            handler.close()
        for undo in reversed(self._undo):
            undo()
        self._added.clear()
        self._undo.clear()

    def _build(self, section: str, name: str) -> Any:
        made = self.config[section]
        build = self.configure_formatter if section == "formatters" else self.configure_filter
        if isinstance(made[name], dict):
            with at(f"{section}.{name}"):
                made[name] = build(made[name])
        return made[name]


def _restore_level(logger: logging.Logger, configured: int, before: int) -> None:
    """Restore a logger's level, unless the application has set another one since."""
    if logger.level == configured:
        logger.setLevel(before)
