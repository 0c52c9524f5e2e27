"""Events are taken after the application's own `dictConfig` and `fileConfig`, on all three paths."""

from __future__ import annotations

import logging
import logging.config
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.guest.differential import configure_us, observe, taken, track_with_us

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.fault(64),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each application is a forked process"),
]

_HANDLER = {"class": "logging.StreamHandler", "level": "WARNING"}
_CONFIGS: dict[str, dict[str, Any]] = {
    "empty": {},
    "root": {"handlers": {"console": _HANDLER}, "root": {"level": "INFO", "handlers": ["console"]}},
    "another logger": {"loggers": {"bookshop": {"level": "DEBUG"}}},
    "ours named": {
        "handlers": {"console": _HANDLER},
        "loggers": {"automagik": {"level": "INFO", "handlers": ["console"]}},
    },
    "our package named": {"loggers": {"automagik_telemetry": {"level": "ERROR"}}},
    "named without a level": {"loggers": {"automagik": {"propagate": True}}},
    "named and not propagating": {"loggers": {"automagik": {"propagate": False}}},
    "incremental": {"incremental": True, "loggers": {"automagik": {"level": "INFO"}}},
}  # fmt: skip


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def _log_by_all_ways(seen: list[Any]) -> None:
    assert _wait(_is_attached)
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    structlog.get_logger().info("agent.run", agent_name="simple")
    track_with_us()
    seen.append(taken())


@pytest.mark.parametrize("first", ["configure()", "dictConfig"])
@pytest.mark.parametrize("name", _CONFIGS)
def test_events_go_on(name: str, first: str) -> None:
    """Each event is taken once with the default `disable_existing_loggers`, set before or after `configure()`."""

    def run(seen: list[Any]) -> None:
        if first == "configure()":
            configure_us()
        logging.config.dictConfig({"version": 1, **_CONFIGS[name]})
        if first != "configure()":
            configure_us()
        _log_by_all_ways(seen)

    (number,), *_ = observe(run, "on")
    assert number == 3


def _is_attached() -> bool:
    from automagik_telemetry.handlers import _loggers as loggers

    telemetry = loggers.sinks().get("telemetry")
    return telemetry is not None and loggers.place_of(telemetry) is not None


def test_events_go_on_after_file_config(tmp_path: Any) -> None:
    """`fileConfig` disables and detaches as `dictConfig` does."""
    path = tmp_path / "logging.ini"
    path.write_text(
        "[loggers]\nkeys=root,shop\n[handlers]\nkeys=console\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=WARNING\nhandlers=console\n"
        "[logger_shop]\nlevel=INFO\nhandlers=console\nqualname=automagik\n"
        "[handler_console]\nclass=StreamHandler\nlevel=ERROR\nargs=(sys.stderr,)\n"
    )

    def run(seen: list[Any]) -> None:
        configure_us()
        logging.config.fileConfig(path)
        _log_by_all_ways(seen)

    (number,), *_ = observe(run, "on")
    assert number == 3


@pytest.mark.parametrize("again", [True, False])
def test_our_own_calls_start_no_thread(again: bool) -> None:
    """Neither `shutdown()` nor another `configure()` looks for a sink that the application detached."""

    def run(seen: list[Any]) -> None:
        import threading

        import automagik_telemetry

        configure_us()
        track_with_us()
        if again:
            configure_us()
        else:
            automagik_telemetry.get_tracing_manager().shutdown(0.1)
        seen.append([each.name for each in threading.enumerate() if isinstance(each, threading.Timer)])

    (timers,), *_ = observe(run, "on")
    assert timers == []


def test_process_that_ends_starts_no_thread() -> None:
    """`logging.shutdown` closes the sink at the end of a process, and nothing is attached again."""

    def run(seen: list[Any]) -> None:
        import threading

        configure_us()
        track_with_us()
        alive = threading.main_thread().is_alive
        try:
            threading.main_thread().is_alive = lambda: False  # type: ignore[method-assign]  # as while a process ends
            before = threading.active_count()
            logging.shutdown()
            seen.append(threading.active_count() <= before)
        finally:
            threading.main_thread().is_alive = alive  # type: ignore[method-assign]  # as it was

    (started_none,), *_ = observe(run, "on")
    assert started_none


def _level_set() -> None:
    logging.getLogger("automagik").setLevel(logging.WARNING)


def _handler_below() -> None:
    logging.getLogger("automagik.agents").addHandler(logging.StreamHandler())


def _filter_below() -> None:
    logging.getLogger("automagik.agents").addFilter(lambda _: True)


def _disabled() -> None:
    logging.getLogger("automagik").disabled = True


def _structlog_configured() -> None:
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


@pytest.mark.parametrize(
    ("set_up", "reason", "remedy"),
    [
        (_level_set, "the level there is WARNING", "logging.getLogger('automagik').setLevel(logging.INFO)"),
        (_handler_below, "StreamHandler of the logger 'automagik.agents'", "setLevel(logging.INFO)"),
        (_filter_below, "filter of the logger 'automagik.agents'", "setLevel(logging.INFO)"),
        (_disabled, "'automagik' is disabled", "disable_existing_loggers=False"),
        (_structlog_configured, "structlog are not taken", "emit_event"),
    ],
)
def test_what_is_not_taken_is_said_once(set_up: Callable[[], object], reason: str, remedy: str) -> None:
    """One debug line of our own logger, and the doctor, give the reason and the remedy."""

    def run(seen: list[Any]) -> None:
        from automagik_telemetry.cli.doctor import check_logging

        logging.getLogger("automagik_telemetry").setLevel(logging.DEBUG)
        logging.getLogger().addHandler(_keeping(seen))
        set_up()
        configure_us()
        seen += [found.message for found in check_logging()]

    (line, found), *_ = observe(run, "on")
    assert line[0] == "automagik_telemetry"
    for part in (reason, remedy):
        assert part in line[1]
        assert part in found


def test_there_is_nothing_to_say_where_events_are_taken() -> None:
    """There is no line and no finding if a process did not change its loggers, or if its root takes INFO."""

    def run(seen: list[Any]) -> None:
        from automagik_telemetry.cli.doctor import check_logging

        logging.getLogger("automagik_telemetry").setLevel(logging.DEBUG)
        logging.getLogger().addHandler(_keeping(seen))
        configure_us()
        logging.getLogger().setLevel(logging.INFO)
        seen += check_logging()

    assert observe(run, "on")[0] == []


def _keeping(seen: list[Any]) -> logging.Handler:
    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno != logging.INFO:  # which is the note of where telemetry is sent
                seen.append((record.name, record.getMessage()))

    return Keeping()
