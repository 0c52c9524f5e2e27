"""Reads a logging configuration and checks its shape before anything is built.

Everything that `logging.config.dictConfig` accepts is accepted, except `incremental`. A mistake is one
ConfigurationError, with the key's path, the value found, and what is allowed.
"""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import stat
from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry._descriptors import standard_descriptors_kept
from automagik_telemetry.settings import LEVELS, OFF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SECTIONS: Final = ("formatters", "filters", "handlers", "loggers")
_KEYS: Final = ("version", "disable_existing_loggers", "incremental", "root", *SECTIONS)
_LEVELS: Final = (*LEVELS, "WARNING", "NOTSET")
_MAX_BYTES: Final = 1_000_000
_MAX_EXPANDED: Final = 10_000_000
"""Maximum number of values and characters. The content of an alias counts each time."""
_MAX_DEPTH: Final = 200
_NESTS: Final = ("- ", "? ", ": ", "-\t", "?\t", ":\t")
"""The start of a list or mapping within a line."""
_MAX_CAUSES: Final = 20
_MAX_SHOWN_CHARACTERS: Final = 200


class ConfigurationError(ValueError):
    """A mistake in a logging configuration: the key's path, the value found, and what is allowed.

    Args:
        message: The description of the mistake, which is put into one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return a text in one line, without the lone surrogates that a path may hold and that no stream accepts."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())


@contextlib.contextmanager
def at(path: str) -> Iterator[None]:
    """Report any failure to read or build a part as one ConfigurationError, with the message of its first cause."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        cause: BaseException = error
        for _ in range(_MAX_CAUSES):
            if cause.__cause__ is None or str(cause).startswith("processors"):
                break
            cause = cause.__cause__
        text = _described(cause)
        raise ConfigurationError(f"{path}{'.' if text.startswith('processors') else ': '}{text}") from error


def _described(error: BaseException) -> str:
    text = str(error)[:1_000]
    if text and isinstance(error, ValueError | TypeError | ImportError | OSError):
        return text
    return f"{type(error).__name__}: {text}".rstrip(": ")


def read(path: Path) -> str:
    """Return the text of a file, without waiting for a pipe and with a bounded size. Raises ConfigurationError."""
    try:
        with standard_descriptors_kept():
            file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - closed below
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigurationError(f"{path}: can't be read: it is not a file")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{path!r}: can't be read: it is not a path") from error
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(f"{path}: can't be read: it is larger than {_MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not YAML: it is not text in UTF-8") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse(path: Path, text: str) -> object:
    """Return the parsed YAML. Raises ConfigurationError."""
    import yaml

    # libyaml's loader gives the same result with a tenth of the work. It may be missing, and deep nesting crashes it.
    loader = yaml.SafeLoader if _may_nest_deeply(text) else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document: object = yaml.load(text, loader)  # noqa: S506 - a safe one
        size = _size(document, {})
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}, column {place.column + 1}" if place else ""
        problem = getattr(error, "problem", None) or "it is not text in UTF-8"
        raise ConfigurationError(f"{path}: not YAML{where}: {problem}") from error
    except Exception as error:  # an invalid date, a number with too many digits, lists that nest too deeply
        raise ConfigurationError(f"{path}: not YAML: {_described(error)}") from error
    if size > _MAX_EXPANDED:
        raise ConfigurationError(f"{path}: too large, because its aliases stand for {size:,} values and characters")
    return document


def _may_nest_deeply(text: str) -> bool:
    """Return False if lists and mappings in a YAML text can't nest deeply."""
    columns = max(
        (len(line) - len(line.lstrip()) + sum(map(line.count, _NESTS)) for line in text.splitlines()), default=0
    )
    return text.count("[") + text.count("{") + columns > _MAX_DEPTH


def _size(value: object, sizes: dict[int, int]) -> int:
    """Return the size of a value with its aliases expanded; `sizes` are the sizes of the known parts."""
    if isinstance(value, str | bytes):
        return 1 + len(value)
    if not isinstance(value, dict | list | tuple):
        return 1
    known = sizes.get(id(value))
    if known is None:
        sizes[id(value)] = 1  # where it contains itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known = sizes[id(value)] = 1 + sum(_size(part, sizes) for part in parts)
    return known


def check(config: object) -> dict[str, Any]:
    """Return a copy of `config` if its shape is right, ready to be built.

    A null part is omitted, as is an empty reference. A bare OFF (a boolean, in YAML) becomes the level that it
    means; `ext://` and `cfg://` are resolved where the shape depends on them.
    """
    if not isinstance(config, dict):
        raise ConfigurationError(f"a mapping is needed at the top, not {_kind(config)}")
    for key in config:
        meant = get_close_matches(key, _KEYS, 1, 0.75) if isinstance(key, str) and key not in _KEYS else None
        if meant:
            raise ConfigurationError(f"{key}: unknown; did you mean {meant[0]}? Allowed are {', '.join(_KEYS)}")
    view = logging.config.BaseConfigurator(config).config  # resolves the values that are read by key, and copies
    _check_top(view)
    checked = {**config, **{section: _section(view, section) for section in SECTIONS}}
    for name, handler in checked["handlers"].items():
        _check_handler(handler, f"handlers.{name}", checked)
    for name, logger in checked["loggers"].items():
        if not isinstance(name, str):
            raise ConfigurationError(f"loggers.{name}: the name is {_kind(name)}; it must be a text")
        _check_logger(logger, f"loggers.{name}", checked)
    root = _read(view, "root", "root")
    checked.pop("root", None)
    if root:
        checked["root"] = _entry(root, "root")
        checked["root"].pop("propagate", None)  # the standard library ignores it too
        _check_logger(checked["root"], "root", checked)
    return checked


def _check_top(view: dict[str, Any]) -> None:
    if _read(view, "version", "version") != 1:
        raise ConfigurationError(f"version: {_shown(view.get('version'))} is not allowed; it must be 1")
    for key in ("disable_existing_loggers", "incremental"):
        value = _read(view, key, key)
        if value is not None and not isinstance(value, bool):
            raise ConfigurationError(f"{key}: {_kind(value)} is not a boolean")
    if view.get("incremental"):
        raise ConfigurationError(
            "incremental: true is not allowed, because a whole configuration is needed; "
            "change levels by logging.config.dictConfig"
        )


def _section(view: dict[str, Any], section: str) -> dict[Any, dict[str, Any]]:
    found = _read(view, section, section)
    if not found:
        return {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"{section}: a mapping is needed, not {_kind(found)}")
    return {name: _entry(_read(found, name, f"{section}.{name}"), f"{section}.{name}") for name in found}


def _entry(value: object, path: str) -> dict[str, Any]:
    """Return a part of a section, with the keys resolved that other parts depend on."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: a mapping is needed, not {_kind(value)}")
    if path.startswith(("formatters.", "filters.")):
        return dict(value)
    resolved = {key: _read(value, key, f"{path}.{key}") for key in ("level", "formatter", "filters") if key in value}
    if not path.startswith("handlers.") and "handlers" in value:
        resolved["handlers"] = _read(value, "handlers", f"{path}.handlers")
    return {key: item for key, item in {**value, **resolved}.items() if key not in resolved or item is not None}


def _check_handler(handler: dict[str, Any], path: str, config: Mapping[str, Any]) -> None:
    _check_level(handler, path)
    if "()" not in handler and "class" not in handler:
        raise ConfigurationError(f"{path}: either () or class must say what to make")
    if "formatter" in handler:
        _names(handler["formatter"] and [handler["formatter"]], f"{path}.formatter", config["formatters"], "formatter")
        if not handler["formatter"]:
            del handler["formatter"]
    _check_filters(handler, path, config)


def _check_logger(logger: dict[str, Any], path: str, config: Mapping[str, Any]) -> None:
    _check_level(logger, path)
    if "handlers" in logger:
        logger["handlers"] = _names(logger["handlers"], f"{path}.handlers", config["handlers"], "handler")
    _check_filters(logger, path, config)


def _check_filters(entry: dict[str, Any], path: str, config: Mapping[str, Any]) -> None:
    if "filters" in entry:
        entry["filters"] = _names(entry["filters"], f"{path}.filters", config["filters"], "filter")


def _names(given: Any, path: str, allowed: Mapping[str, Any], noun: str) -> list[Any]:
    """Return the names in a list, each of which must be that of a part of the file."""
    with at(path):
        if not given:
            return []
        # A stream is iterable too, and reading it could block.
        names = list(given) if isinstance(given, Collection) else None
    if names is None or (isinstance(given, str) and not allowed.keys() >= set(names)):
        raise ConfigurationError(f"{path}: a list of names is needed, not {_kind(given)}")
    for name in names:
        if not _is_key(name, allowed):
            known = ", ".join(map(str, allowed)) or f"none: the file has no {noun}s"
            raise ConfigurationError(f"{path}: {_shown(name)} is no {noun} of this file; allowed are {known}")
    return names


def _is_key(name: object, mapping: Mapping[Any, Any]) -> bool:
    try:
        return name in mapping
    except TypeError:  # a list or a mapping
        return False


def _check_level(entry: dict[str, Any], path: str) -> None:
    level = entry.get("level")
    if level is False:
        entry["level"] = OFF
    elif level is not None and type(level) is not int and not _is_key(level, logging.getLevelNamesMapping()):
        if level == "OFF":  # `logging` learns the name later
            return
        raise ConfigurationError(f"{path}.level: {_kind(level)} is not allowed; allowed are {', '.join(_LEVELS)}")


def _read(mapping: dict[Any, Any], key: object, path: str) -> Any:
    """Return a value by its key, with `ext://` and `cfg://` resolved; None if it is not there."""
    with at(path):
        return mapping.get(key)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{_class_of(value)} {_shown(value)}"


def _class_of(value: object) -> str:
    known = (dict, list, tuple)  # the standard library has subclasses of these that resolve references
    return next((kind.__name__ for kind in known if isinstance(value, kind)), type(value).__name__)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."
