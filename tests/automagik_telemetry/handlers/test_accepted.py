"""A logging.yaml that the standard library accepts is accepted; a mistake is one error that names its key."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import logging.config
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import automagik_telemetry
from automagik_telemetry import ConfigurationError, configure

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.fault(76)]

DEFAULT = (Path(automagik_telemetry.__file__).parent.parent / "logging.yaml").read_text(encoding="utf-8")
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
NUMBER = 17
"""An attribute for references with `ext://`."""
STREAM = {"class": "logging.StreamHandler"}
STRICTER = (
    *("incremental", "disable_existing_loggers", "level: bool True", "did you mean", "a mapping is needed"),
    "is not a subclass of logging.Handler",
)
"""Reasons to refuse what the standard library accepts."""

logging.addLevelName(15, "AUDIT")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Undo all changes to logging at the end."""
    manager, root = logging.Logger.manager, logging.getLogger()
    loggers = dict(manager.loggerDict)
    before = {
        logger: (logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled)
        for logger in [root, *(each for each in loggers.values() if isinstance(each, logging.Logger))]
    }
    named: Any = dict(logging._handlers)  # type: ignore[attr-defined]
    kept: Any = list(logging._handlerList)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        now: Any = list(logging._handlerList)  # type: ignore[attr-defined]
        for handler in [reference() for reference in now if reference not in kept]:
            if handler is not None:
                handler.close()
        for logger in [root, *manager.loggerDict.values()]:
            if isinstance(logger, logging.Logger):
                state = before.get(logger, (logging.NOTSET, [], [], True, False))
                logger.level, logger.handlers[:], logger.filters[:], logger.propagate, logger.disabled = state
        logging._handlers.clear()  # type: ignore[attr-defined]
        logging._handlers.update(named)  # type: ignore[attr-defined]
        logging._handlerList[:] = kept  # type: ignore[attr-defined]
        manager._clear_cache()  # type: ignore[attr-defined]


def refusal_of_stdlib(config: Any) -> Exception | None:
    """Return what the standard library raises for a configuration."""
    with logging_restored():
        try:
            logging.config.dictConfig(copy.deepcopy(config))
        except Exception as error:
            return error
    return None


def refusal(text: str) -> ConfigurationError | None:
    """Return the ConfigurationError that a file raises. Any other exception is raised."""
    Path("mine.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    with logging_restored():
        try:
            configure("mine.yaml")
        except ConfigurationError as error:
            return error
    return None


ACCEPTED: dict[str, str] = {
    "nothing but a version": "version: 1",
    "version as a float": "version: 1.0",
    "null sections": "version: 1\nformatters:\nfilters:\nhandlers:\nloggers:\nroot:",
    "empty sections": "version: 1\nformatters: {}\nfilters: {}\nhandlers: {}\nloggers: {}\nroot: {}",
    "null parts": """
        version: 1
        disable_existing_loggers:
        handlers:
          out: {class: logging.StreamHandler, level: , formatter: , filters: }
        loggers:
          a: {level: , handlers: , filters: , propagate: }
          b:
        root: {level: , handlers: }""",
    "an empty reference": """
        version: 1
        handlers: {out: {class: logging.StreamHandler, formatter: '', filters: []}}
        root: {handlers: []}""",
    "levels": """
        version: 1
        handlers:
          a: {class: logging.StreamHandler, level: WARN}
          b: {class: logging.StreamHandler, level: FATAL}
          c: {class: logging.StreamHandler, level: AUDIT}
          d: {class: logging.StreamHandler, level: 17}
          e: {class: logging.StreamHandler, level: -3}
          f: {class: logging.StreamHandler, level: ext://logging.DEBUG}
          g: {class: logging.StreamHandler, level: cfg://own.level}
          h: {class: logging.StreamHandler, level: NOTSET}
        own: {level: WARNING}
        root: {level: AUDIT, handlers: [a, b, c, d, e, f, g, h]}""",
    "extra keys": """
        version: 1
        x-common: &common {class: logging.StreamHandler, level: INFO}
        my_settings: {stream: 'ext://sys.stderr'}
        handlers:
          a: *common
          b: {<<: *common, stream: 'cfg://my_settings.stream'}
        loggers: {app: {handlers: [a, b]}}""",
    "extra keys of a logger": """
        version: 1
        handlers: {a: {class: logging.StreamHandler}}
        loggers: {app: {handlers: [a], comment: here}}""",
    "a section elsewhere": """
        version: 1
        parts: {handlers: {a: {class: logging.StreamHandler}}, names: [a]}
        handlers: cfg://parts.handlers
        loggers: {app: {handlers: 'cfg://parts.names'}}""",
    "one part, used twice": """
        version: 1
        formatters: {line: {format: '%(message)s'}}
        handlers: {a: &a {class: logging.StreamHandler, formatter: line}, b: *a}
        root: {handlers: [a, b]}""",
    "attributes": """
        version: 1
        handlers: {a: {class: logging.StreamHandler, '.': {terminator: '', mine: 1}}}
        root: {handlers: [a]}""",
    "formatters": """
        version: 1
        formatters:
          a: {format: '{message}', style: '{', validate: true}
          b: {class: logging.Formatter, datefmt: '%Y'}
          c: {(): logging.Formatter, fmt: '%(message)s'}
          d: {}
        handlers: {a: {class: logging.StreamHandler, formatter: d}}
        root: {handlers: [a]}""",
    "filters": """
        version: 1
        filters: {a: {name: app}, b: {(): logging.Filter}}
        handlers: {a: {class: logging.StreamHandler, filters: [a]}}
        loggers: {app: {handlers: [a], filters: [b]}}
        root: {filters: [a, b]}""",
    "handlers that need others": """
        version: 1
        handlers:
          a: {class: logging.handlers.MemoryHandler, capacity: 1, target: b}
          b: {class: logging.StreamHandler}
        root: {handlers: [a]}""",
    "a queue": """
        version: 1
        handlers: {a: {class: logging.handlers.QueueHandler, queue: 'ext://queue.QUEUE_OF_TEST'}}
        root: {handlers: [a]}""",
    "names that are numbers": """
        version: 1
        formatters: {1: {format: '%(message)s'}}
        handlers: {2: {class: logging.StreamHandler, formatter: 1}}
        root: {handlers: [2]}""",
    "tuples": """
        version: 1
        handlers: {a: {class: logging.handlers.SysLogHandler, address: [localhost, 9]}}
        root: {handlers: [a]}""",
}
if sys.version_info >= (3, 12):
    ACCEPTED["a queue with a listener"] = """
        version: 1
        handlers:
          a: {class: logging.handlers.QueueHandler, handlers: [b], respect_handler_level: true}
          b: {class: logging.StreamHandler}
        root: {handlers: [a]}"""


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_standard_library_accepts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the standard library accepts is accepted, or differs from one only in a null."""
    import queue

    monkeypatch.setattr(queue, "QUEUE_OF_TEST", queue.SimpleQueue(), raising=False)
    refused = refusal_of_stdlib(yaml.safe_load(text))
    assert refused is None or "null" in next(name for name in ACCEPTED if ACCEPTED[name] == text)
    assert refusal(text) is None


MISTAKES: list[tuple[str, str]] = [
    ("incremental: true", "incremental: true is not allowed"),
    ("incremental: 7", "incremental: int 7"),
    ("handler: {}", "handler: unknown; did you mean handlers?"),
    ("handlers: [a]", "handlers: a mapping is needed, not list ['a']"),
    ("handlers: {a: 1}", "handlers.a: a mapping is needed, not int 1"),
    ("handlers: {a: }", "handlers.a: either () or class"),
    ("handlers: {a: {class: 5}}", "handlers.a: "),
    ("handlers: {a: {class: nowhere.Handler}}", "handlers.a: No module named 'nowhere'"),
    ("handlers: {a: {class: logging.NoSuchHandler}}", "handlers.a: "),
    ("handlers: {a: {(): builtins.dict}}", "handlers.a: dict is not a subclass of logging.Handler"),
    ("handlers: {a: {(): builtins.int, level: 5}}", "handlers.a: "),
    ("handlers: {a: {class: logging.StreamHandler, nonsense: 1}}", "handlers.a: "),
    ("handlers: {a: {class: logging.StreamHandler, stream: ext://sys.nothing}}", "handlers.a: "),
    ("handlers: {a: {class: logging.StreamHandler, stream: cfg://nothing.here}}", "handlers.a: KeyError: 'nothing'"),
    ("handlers: {a: {class: logging.StreamHandler, handlers: ext://no.such}}", "handlers.a: No module named 'no'"),
    ("handlers: {a: {class: logging.StreamHandler, target: cfg://no}}", "handlers.a: KeyError: 'no'"),
    ("handlers: {a: {(): ext://no.such}}", "handlers.a: No module named 'no'"),
    ("handlers: {a: {class: logging.StreamHandler, level: info}}", "handlers.a.level: str 'info' is not allowed"),
    ("handlers: {a: {class: logging.StreamHandler, level: '10'}}", "handlers.a.level: str '10' is not allowed"),
    ("handlers: {a: {class: logging.StreamHandler, level: 1.5}}", "handlers.a.level: float 1.5"),
    ("handlers: {a: {class: logging.StreamHandler, level: [1]}}", "handlers.a.level: list [1]"),
    ("handlers: {a: {class: logging.StreamHandler, level: ext://nothing}}", "handlers.a.level: "),
    ("handlers: {a: {class: logging.StreamHandler, formatter: [1]}}", "handlers.a.formatter: [1] is no formatter"),
    ("handlers: {a: {class: logging.StreamHandler, filters: [no]}}", "handlers.a.filters: False is no filter"),
    ("handlers: {a: {class: logging.StreamHandler, filters: 5}}", "handlers.a.filters: a list of names"),
    ("handlers: {a: {class: logging.FileHandler, filename: /no/where}}", "handlers.a: "),
    (
        """handlers:
             a: &memory {class: logging.handlers.MemoryHandler, capacity: 1, target: b}
             b: {<<: *memory, target: a}""",
        "handlers.b: target not configured yet",
    ),
    ("loggers: {app: {handlers: [x]}}", "loggers.app.handlers: 'x' is no handler of this file"),
    ("loggers: {app: {handlers: console}}", "loggers.app.handlers: a list of names is needed, not str 'console'"),
    ("loggers: {app: {handlers: [[x]]}}", "loggers.app.handlers: ['x'] is no handler"),
    ("loggers: {app: {handlers: ext://sys.stdin}}", "loggers.app.handlers: a list of names is needed"),
    ("loggers: {app: {filters: ext://sys.stdout}}", "loggers.app.filters: a list of names is needed"),
    ("loggers: {app: {filters: [x]}}", "loggers.app.filters: 'x' is no filter"),
    ("loggers: {1: {level: INFO}}", "loggers.1: the name is int 1; it must be a text"),
    ("loggers: {app: [x]}", "loggers.app: a mapping is needed"),
    ("filters: {f: {(): nowhere.F}}\nloggers: {app: {filters: [f]}}", "filters.f: "),
    ("filters: {f: [1]}", "filters.f: a mapping is needed"),
    ("root: {level: loud}", "root.level: str 'loud'"),
    ("root: 7", "root: a mapping is needed, not int 7"),
    ("a: cfg://b\nb: cfg://a\nhandlers: cfg://a", "handlers: RecursionError"),
    ("handlers: ext://nothing.at.all", "handlers: "),
    ("handlers: 'cfg://'", "handlers: "),
    ("version: 2024-99-99", "not YAML"),
    ("x: !!int many", "not YAML"),
    ("x: !!timestamp never", "not YAML"),
    ("x: !!python/object:os.system {}", "not YAML"),
    (f"x: 1{'0' * 5000}", "not YAML"),
    (f"x: {'[' * 100_000}", "not YAML"),
    (f"x: {'{a: ' * 100_000}", "not YAML"),
    (f"x:\n  {'- ' * 100_000}a", "not YAML"),
    (f"{'? ' * 100_000}a", "not YAML"),
    ("\n".join(f"{' ' * depth}x:" for depth in range(1_200)), "not YAML"),
    ("<<: 5", "not YAML"),
    ("--- 1\n--- 2", "not YAML"),
    ("? [a]\n: b", "not YAML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text[:60] for text, _ in MISTAKES])
def test_a_mistake_names_its_key(text: str, message: str) -> None:
    """The message of a mistake has one line, and nothing has been changed."""
    error = refusal(text if text.startswith("version") or "---" in text else f"version: 1\n{text}")
    assert message in str(error)
    assert "\n" not in str(error)


def test_aliases_that_multiply_are_not_written_out() -> None:
    """The message about multiplying aliases is short."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    error = refusal("\n".join(["version: 1", *lines, "handlers: *a29"]))
    assert "too large, because its aliases stand for" in str(error)
    assert len(str(error)) < 500


def test_a_value_that_contains_itself() -> None:
    """A value that contains itself is refused where it is not allowed, and ignored elsewhere."""
    assert "handlers: a mapping is needed" in str(refusal("version: 1\nhandlers: &a [*a]"))
    assert "handlers.a: either () or class" in str(refusal("version: 1\nhandlers: &a {a: *a}"))
    assert refusal("version: 1\nx: &a {a: *a}") is None


def test_a_filter_of_a_logger_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    """The filter decides on the logger's records."""
    text = """
        version: 1
        filters: {other: {name: other}}
        handlers: {out: {class: logging.StreamHandler, stream: ext://sys.stdout}}
        loggers: {app: {level: INFO, filters: [other], handlers: [out], propagate: false}}"""
    Path("mine.yaml").write_text(text, encoding="utf-8")
    with logging_restored():
        configure("mine.yaml")
        logging.getLogger("app").info("hidden")
    assert capsys.readouterr() == ("", "")


NAMES = ["a", "b", "c"]
LEVELS = ["INFO", "WARN", "FATAL", "AUDIT", "NOTSET", "OFF", 10, 0, "ext://logging.DEBUG", "cfg://x.level"]
JUNK = [
    *(None, 0, 1, -1, 1.5, True, False, "", "a", "console", "info", "10", [], [None], ["a"], [["a"]], {}, {"a": 1}),
    *({"a": None}, {None: 1}, {"()": "logging.Filter"}, {"class": None}, {"()": 3}, STREAM, {"a": STREAM}),
    *("ext://sys.stdout", "ext://no.such", "cfg://x", "cfg://x.level", "cfg://x[0]", "cfg://", "cfg://handlers.a"),
    *("cfg://self", f"ext://{__name__}.NUMBER", "logging.Handler", "nowhere.Class", "\n", "\u2028", "x" * 5000),
]


def parts(names: Any, values: Any) -> Any:
    """Return sections with some of these names."""
    return st.dictionaries(st.sampled_from(names), values, max_size=3)


FORMATTERS = st.sampled_from(
    [{"format": "%(message)s"}, {}, {"class": "logging.Formatter"}, {"()": "logging.Formatter"}, {"style": "{"}]
)
FILTERS = st.sampled_from([{"name": "a"}, {}, {"()": "logging.Filter"}])
REFERENCES = st.lists(st.sampled_from(NAMES), max_size=2, unique=True) | st.none()
HANDLERS = st.fixed_dictionaries(
    {},
    optional={
        "class": st.sampled_from(["logging.StreamHandler", "logging.NullHandler", "logging.StreamHandler"]),
        "level": st.sampled_from(LEVELS),
        "formatter": st.sampled_from([*NAMES, None]),
        "filters": REFERENCES,
        ".": st.sampled_from([{"terminator": ""}, None]),
    },
).map(lambda handler: STREAM | handler)
LOGGERS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from(LEVELS),
        "handlers": REFERENCES,
        "filters": REFERENCES,
        "propagate": st.sampled_from([True, False, None]),
    },
)
CONFIGS = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "formatters": parts(NAMES, FORMATTERS).map(lambda some: {name: {} for name in NAMES} | some),
        "filters": parts(NAMES, FILTERS).map(lambda some: {name: {} for name in NAMES} | some),
        "handlers": parts(NAMES, HANDLERS).map(lambda some: dict.fromkeys(NAMES, STREAM) | some),
    },
    optional={
        "loggers": parts(["app", "app.part", "", "automagik", "automagik.agents"], LOGGERS),
        "root": LOGGERS | st.none(),
        "disable_existing_loggers": st.booleans(),
        "x": st.just({"level": "ERROR"}),
        "self": st.just("cfg://self"),
    },
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all parts of a configuration."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from places(item, (*path, key))


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """Return a configuration with a few parts replaced, missing or added."""
    config: Any = copy.deepcopy(draw(CONFIGS))
    for _ in range(draw(st.integers(0, 3))):
        paths = list(places(config))
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        holder: Any = config
        for key in above:
            holder = holder[key]
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove":
            del holder[last]
        else:
            key = last if how == "replace" else draw(st.sampled_from(["extra", "level", "class", "handlers", 5, "()"]))
            holder[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return config


@given(changed())
@settings(deadline=None, suppress_health_check=QUIET, max_examples=150)
@example({"version": True, "handlers": {"a": STREAM}, "root": {"handlers": "a"}})
@example({"version": 1, "root": ""})
@example({"version": 1, "handlers": {"a": {"()": "logging.Filter"}}})
@example({"version": 1, "handlers": {"a": STREAM | {"handlers": "ext://no.such"}}})
def test_as_the_standard_library(config: Any) -> None:
    """A file that dictConfig accepts is accepted, with few exceptions. Only a ConfigurationError is raised."""
    error = refusal(yaml.safe_dump(config))
    if refusal_of_stdlib(config) is None and error is not None:
        assert any(reason in str(error) for reason in STRICTER), (config, error)
    if error is not None:
        assert "\n" not in str(error)
        assert len(str(error)) < 10_000


@given(st.recursive(st.sampled_from(JUNK), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@settings(deadline=None, suppress_health_check=QUIET)
def test_any_document(document: Any) -> None:
    """Any document is accepted, or raises a ConfigurationError."""
    for text in (
        json.dumps(document, default=str, skipkeys=True),
        yaml.safe_dump({"version": 1, "handlers": document}),
    ):
        refusal(text)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Return the default file with a few pieces missing, doubled or replaced."""
    text = DEFAULT
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 40)))
        text = (
            text[:begin] + draw(st.sampled_from(["", "\n", "null", "- ", "{", ": ", "&a ", "*a", "\x00"])) + text[end:]
        )
    return text


@given(damaged() | st.text() | st.binary().map(lambda data: data.decode("latin-1")))
@settings(deadline=None, suppress_health_check=QUIET)
def test_any_text(text: str) -> None:
    """Any text is accepted, or raises a ConfigurationError."""
    refusal(text.encode("utf-8", "replace").decode())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 100, os.urandom(5_000), b" " * 2_000_000])
def test_any_bytes(content: bytes) -> None:
    """A file that is not text, or far too large, is refused."""
    Path("mine.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"mine\.yaml: "):
        configure("mine.yaml")
