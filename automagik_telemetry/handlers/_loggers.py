"""Attaches sinks to loggers so that every handler of the application gets what it would get without us.

Three behaviours of `logging` depend on the handlers and levels of a logger. This module preserves each of them:

- The level. Events are INFO, and a logger that has no level inherits the root's WARNING. The logger `automagik` gets a
  `_HeldLevel` instead, which is absent to `logging` while a handler of the application would get more because of it.
- Propagation. The handlers above must not get records that only the held level permits. So `propagate` is False, and
  a `_Relay` passes on the records that the application's own level lets through.
- `logging.lastResort`, which prints records without a handler. Our sinks count as handlers, so the relay calls it.

A logger that has a level from the application keeps it. Only `level` and `propagate` of `automagik` are
set, and only where the application did not set them.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import weakref
from typing import TYPE_CHECKING, Any

from automagik_telemetry._log import logger as own_logger
from automagik_telemetry._process import LoadedTwice, is_instance, kept
from automagik_telemetry.handlers.handler import BatchQueueHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOGGER = "automagik"
"""The logger that agents, CLI and API log to, and below."""
EVENT_LOGGER = "automagik_telemetry.events"
"""The logger of `track_*`. It is ours because the application gets only what it logs itself."""
TRACE_LOGGER = "automagik_telemetry.traces"
"""The logger of whole traces, content included. Only sinks for traces are attached, and nothing propagates."""
OWN_LOGGERS = (EVENT_LOGGER, TRACE_LOGGER)


_PYTEST = "_pytest.logging"
"""The module of pytest that adds a handler to every logger that does not propagate, in each test."""


class _HeldLevel(int, metaclass=LoadedTwice):
    """The level that the sinks need. It is falsy where it would change the output, so `logging` looks further up."""

    _relay: _Relay

    @classmethod
    def of(cls, level: int, relay: _Relay) -> _HeldLevel:
        held = cls(level)
        held._relay = relay
        return held

    def __bool__(self) -> bool:
        effective = self._relay.level_above()
        return self < effective and next(self._relay.obstacles(effective), None) is None

    def __le__(self, level: int) -> bool:
        """Return the result of `level >= self`, computed each time because `Logger.isEnabledFor` caches its result.

        The cache is not cleared when a handler or a filter is added.
        """
        lowered = int(self) <= level < self._relay.level_above()
        return self if lowered else int(self) <= level  # type: ignore[return-value]  # in place of a bool


class _HeldPropagation(metaclass=LoadedTwice):
    """False in place of the original True, as long as the relay propagates the records."""

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay

    def __bool__(self) -> bool:
        if sys._getframe(1).f_globals.get("__name__") == _PYTEST:  # noqa: SLF001 - to find the caller
            return True
        return not self._relay.is_attached()


class _OwnLogger(logging.Logger):
    """A logger of ours. No configuration of the application disables it, empties it or shows its records elsewhere."""

    disabled: Any = property(lambda _self: False, lambda _self, _value: None)
    propagate: Any = property(lambda _self: False, lambda _self, _value: None)
    handlers: Any = property(lambda self: self.__dict__["handlers"], lambda _self, _value: None)

    def getEffectiveLevel(self) -> int:  # noqa: N802 - logging's name
        return self.level

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - logging's name
        if type(hdlr).__module__ != _PYTEST:
            super().addHandler(hdlr)

    def removeHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - logging's name
        with contextlib.suppress(ValueError):
            self.handlers.remove(hdlr)  # in place, while that of newer Pythons sets `handlers`


class _UnusedLogger(logging.Logger):
    """A logger that exists because of us. It can't be disabled until the application uses it.

    `dictConfig` and `fileConfig` disable every logger that exists. Without us this one would not exist yet.
    """

    _plain: type[logging.Logger]

    def __setattr__(self, name: str, value: object) -> None:
        caller = sys._getframe(1)  # noqa: SLF001 - an attribute that the application sets is a use
        if caller.f_globals.get("__name__") in {__name__, "logging"}:
            super().__setattr__(name, value)
        elif caller.f_code.co_name != "_handle_existing_loggers":  # of `logging.config`, which disables them
            setattr(self._used(), name, value)

    def _used(self) -> logging.Logger:
        self.__class__ = self._plain  # type: ignore[assignment]  # which is what getLogger made
        return self

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return self._used().isEnabledFor(level)

    def setLevel(self, level: int | str) -> None:  # noqa: N802 - logging's name
        self._used().setLevel(level)

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - logging's name
        self._used().addHandler(hdlr)

    def addFilter(self, filter: Any) -> None:  # noqa: A002, N802 - logging's names
        self._used().addFilter(filter)

    def handle(self, record: logging.LogRecord) -> None:
        self._used().handle(record)


class _Relay(logging.Handler, metaclass=LoadedTwice):
    """Passes a record to its destinations without us: the handlers above, or `logging.lastResort`."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        super().__init__()
        self._handlers: list[logging.Handler] = []
        """The application's own handlers of the logger when the level was held."""
        self._below: list[str] = []
        """The names of the loggers below the logger."""
        self._known = 0
        """The number of names when `_below` was filled. Names are only ever added."""

    def _level(self) -> int:
        """The lowest level of records to handle. If nothing is held, it is that of `logging.lastResort`."""
        is_held = isinstance(self._logger.level, _HeldLevel) or _propagation_is_held(self._logger)
        if is_held or logging.lastResort is None:
            return logging.NOTSET
        return logging.lastResort.level

    level: Any = property(_level, lambda _self, _value: None)

    def hold(self, level: int) -> None:
        """Hold the level that the sinks need, and `propagate` if it is True."""
        logger = self._logger
        self._handlers = [handler for handler in logger.handlers if not _is_ours(handler)]
        logging.Logger.setLevel(logger, _HeldLevel.of(level, self))
        if logger.propagate:
            logger.propagate = _HeldPropagation(self)  # type: ignore[assignment]  # in place of a bool

    def restore(self) -> None:
        """Restore the held attributes."""
        if isinstance(self._logger.level, _HeldLevel):
            logging.Logger.setLevel(self._logger, logging.NOTSET)
        if _propagation_is_held(self._logger):
            self._logger.propagate = True

    def is_attached(self) -> bool:
        """Return whether the logger still has this handler."""
        return any(handler is self for handler in self._logger.handlers)

    def level_above(self) -> int:
        """Return the logger's effective level without us."""
        return _level_without_us(self._logger)

    def obstacles(self, effective: int) -> Iterator[str]:
        """Return the parts of the application that would get records below `effective` because of the held level.

        A handler that was added to the logger itself after the level was held does not count, because it was added
        where the events are.
        """
        logger = self._logger
        if not self.is_attached():
            yield "our sink was removed from it"
        if logger.propagate:
            yield "the application set its propagation"
        for each in self._inheriting():
            if each.filters:
                yield f"a filter of the logger {each.name!r} would get them"
            if each is not logger and not each.propagate:
                yield f"the logger {each.name!r} does not propagate"
            for handler in self._handlers if each is logger else each.handlers:
                if handler.level < effective and not _is_ours(handler) and handler in each.handlers:
                    yield f"a {type(handler).__name__} of the logger {each.name!r} would get them"

    def _inheriting(self) -> Iterator[logging.Logger]:
        """Return the logger, and the loggers below it that inherit its level."""
        logger = self._logger
        yield logger
        names = logging.Logger.manager.loggerDict
        if len(names) != self._known:
            self._known, prefix = len(names), logger.name + "."
            self._below = [name for name in list(names) if name.startswith(prefix)]
        for name in self._below:
            each = above = _logger_named(name)
            while above is not None and above is not logger and not above.level:
                above = above.parent
            if each is not None and above is logger:
                yield each

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass the record on if it would have got here without us."""
        logger, origin = self._logger, _logger_named(record.name) or self._logger
        if isinstance(logger.level, _HeldLevel) and record.levelno < _level_without_us(origin):
            return False
        held = _propagation_is_held(logger)
        found = any(not _is_ours(handler) for handler in _handlers_between(origin, logger))
        if held or logger.propagate:
            for handler in _handlers_above(logger):
                found = found or not _is_ours(handler) or isinstance(handler, _Relay)  # which calls `lastResort` itself
                took = isinstance(handler, BatchQueueHandler) and handler in logger.handlers
                if held and record.levelno >= handler.level and not took:
                    handler.handle(record)
        if not found:
            # In no tree and without a handler: follow the behaviour of `logging` if it finds none.
            logging.Logger(record.name).callHandlers(record)  # noqa: LOG001 - on purpose
        return True


_for_traces: weakref.WeakSet[logging.Handler] = kept("handlers for traces", weakref.WeakSet)
"""The handlers that were attached for traces, including handlers of the application."""


def own(name: str) -> logging.Logger:
    """Return the logger of events or of traces."""
    logger = logging.getLogger(name)
    if not is_instance(logger, _OwnLogger):
        logger.__class__ = type("OwnLogger", (_OwnLogger, type(logger)), {})
    return logger


def sinks() -> dict[str, BatchQueueHandler]:
    """Return the attached sinks by name, whatever attached them."""
    found: dict[str, BatchQueueHandler] = {}
    for logger in (own(EVENT_LOGGER), own(TRACE_LOGGER), *_all_loggers()):
        for handler in logger.handlers:
            if isinstance(handler, BatchQueueHandler):
                found.setdefault(handler.sink, handler)
    return found


def attach(handlers: Iterable[BatchQueueHandler]) -> None:
    """Attach sinks to our own loggers, and those for events to `automagik` if the application attached them nowhere."""
    for handler in handlers:
        if handler.for_traces:
            attach_for_traces([handler])
        else:
            _add(own(EVENT_LOGGER), handler)
            if place_of(handler) is None:
                _hold(attach_to(_logger(LOGGER), handler))


def attach_to(logger: logging.Logger, sink: BatchQueueHandler) -> _Relay:
    """Attach a sink to a logger of the application. Its level and propagation stay as they are."""
    _add(logger, sink)
    for handler in logger.handlers:
        if isinstance(handler, _Relay):
            return handler
    relay = _Relay(logger)
    relay.restore()  # state held for another sink, which a configuration of the application has removed
    _add(logger, relay)
    return relay


def attach_for_traces(handlers: Iterable[logging.Handler]) -> None:
    """Attach handlers to the logger of traces."""
    for handler in handlers:
        _for_traces.add(handler)
        _add(own(TRACE_LOGGER), handler)


def place_of(sink: BatchQueueHandler) -> logging.Logger | None:
    """Return the logger of the application that a sink is attached to, or None."""
    places = (each for each in _all_loggers() if each.name not in OWN_LOGGERS and sink in each.handlers)
    return next(places, None)


def detach() -> None:
    """Detach all sinks, and restore the loggers' held attributes."""
    for logger in _all_loggers():
        for handler in [handler for handler in logger.handlers if _is_ours(handler) or handler in _for_traces]:
            if isinstance(handler, _Relay):
                handler.restore()
            logger.removeHandler(handler)


def snapshot() -> Callable[[Callable[[BatchQueueHandler], bool]], None]:
    """Return a function that attaches the sinks again as they are attached now, and restores what is held.

    It detaches other sinks, unless the function that it takes returns True for them.
    """
    before: list[tuple[logging.Logger, list[logging.Handler], int, Any]] = [
        (logger, list(logger.handlers), logger.level, logger.propagate) for logger in _all_loggers()
    ]

    def restore(keeps: Callable[[BatchQueueHandler], bool]) -> None:
        kept = [
            (logger, handler)
            for logger in _all_loggers()
            for handler in logger.handlers
            if isinstance(handler, BatchQueueHandler) and keeps(handler) and logger.name not in OWN_LOGGERS
        ]
        detach()
        for logger, handlers, level, propagate in before:
            if any(map(_is_ours, handlers)):
                now = list(logger.handlers)
                before_us = [each for each in handlers if _is_ours(each) or each in now]
                logger.handlers[:] = [*before_us, *(each for each in now if each not in before_us)]
            if isinstance(level, _HeldLevel):
                logging.Logger.setLevel(logger, level)
            if isinstance(propagate, _HeldPropagation):
                logger.propagate = propagate  # type: ignore[assignment]  # in place of a bool
        for logger, sink in kept:
            _add(logger, sink)

    return restore


def _add(logger: logging.Logger, handler: logging.Handler) -> None:
    # Not by the logger's own method, which counts as a use by the application, and which the application may replace.
    if handler not in logger.handlers:
        logging.Logger.addHandler(logger, handler)


def obstacle() -> str | None:
    """Return the reason why INFO events below `automagik` reach no sink, and the remedy; else None."""
    logger = _logger(LOGGER)
    if logger.disabled:
        return (
            "the logger 'automagik' is disabled, as dictConfig does with every logger that it does not name. "
            "To take its events: disable_existing_loggers=False"
        )
    level = _level_without_us(logger)
    if logger.getEffectiveLevel() <= logging.INFO or level <= logging.INFO:
        return None
    relay = next((handler for handler in logger.handlers if isinstance(handler, _Relay)), None)
    why = next(relay.obstacles(level), "it was set there") if relay else "our sink was removed from it"
    return (
        f"events that are logged below 'automagik' at INFO are not taken, because the level there is "
        f"{logging.getLevelName(level)} and {why}. "
        f"To take them: logging.getLogger('automagik').setLevel(logging.INFO)"
    )


def _hold(relay: _Relay) -> None:
    """Hold the level that the sinks need where the application has set none."""
    logger = _logger(LOGGER)
    if not logger.level or isinstance(logger.level, _HeldLevel):
        relay.hold(min(handler.level for handler in logger.handlers if isinstance(handler, BatchQueueHandler)))
    if why := obstacle():
        own_logger.debug(why)


def _level_without_us(logger: logging.Logger) -> int:
    """Return the effective level of a logger without us."""
    above: logging.Logger | None = logger
    while above is not None:
        level = above.level
        if (type(level) is int or not isinstance(level, _HeldLevel)) and level:  # the first is much faster
            return level
        above = above.parent
    return logging.NOTSET


def _handlers_between(origin: logging.Logger, logger: logging.Logger) -> Iterator[logging.Handler]:
    """Return the handlers from the record's logger up to another, included."""
    above: logging.Logger | None = origin
    while above is not None:
        yield from above.handlers
        above = above.parent if above is not logger else None


def _handlers_above(logger: logging.Logger) -> Iterator[logging.Handler]:
    above = logger.parent
    while above is not None:
        yield from list(above.handlers)
        above = above.parent if above.propagate else None


def _propagation_is_held(logger: logging.Logger) -> bool:
    """Return whether the logger would propagate without us."""
    propagate: object = logger.propagate
    return isinstance(propagate, _HeldPropagation)


def _is_ours(handler: logging.Handler) -> bool:
    return type(handler) is _Relay or isinstance(handler, BatchQueueHandler | _Relay)  # the first is much faster


def _all_loggers() -> list[logging.Logger]:
    found = [each for each in list(logging.Logger.manager.loggerDict.values()) if isinstance(each, logging.Logger)]
    return [logging.getLogger(), *found]


def _logger_named(name: str) -> logging.Logger | None:
    """Return a logger if it exists."""
    found: Any = logging.Logger.manager.loggerDict.get(name)
    return found if isinstance(found, logging.Logger) else None


def _logger(name: str) -> logging.Logger:
    """Return a logger. A new one counts as ours until the application uses it."""
    logger = _logger_named(name)
    if logger is None:
        logger = logging.getLogger(name)
        plain = type(logger)
        logger.__class__ = type("UnusedLogger", (_UnusedLogger, plain), {"_plain": plain})
    return logger
