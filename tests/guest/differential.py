"""Runs an application's steps in a child process, with and without us, and compares the results."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import pickle
import shutil
import sys
import tempfile
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

CONSENTS = ("on", "off", "never asked")

# No endpoint listens there, so nothing is delivered, which these tests don't need.
NOWHERE = "http://127.0.0.1:9"


def observe(steps: Callable[[list[Any]], object], consent: str | None, url: str = NOWHERE) -> list[Any]:
    """Return the items that the steps put into their list, and the output of the process.

    Each call is a process of its own, whose logging and structlog are as at the start of a process. `consent` is one of
    `CONSENTS`, or None for a process without us, in which `configure_us` does nothing. `url` is the endpoint.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        directory = tempfile.mkdtemp()
        try:
            result = _in_child(steps, consent, directory, url)
        except BaseException:
            result = ["the steps failed", traceback.format_exc()]
        shutil.rmtree(directory, ignore_errors=True)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pickle.load(pipe)  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    assert result[0] != "the steps failed", result[1]
    return list(result)


def _in_child(steps: Callable[[list[Any]], object], consent: str | None, directory: str, url: str) -> list[Any]:
    _reset_logging()
    structlog.reset_defaults()
    for name in list(os.environ):
        if name.startswith("AUTOMAGIK_") or name in {"DO_NOT_TRACK", "LANGWATCH_API_KEY"}:
            del os.environ[name]
    os.environ.update(
        AUTOMAGIK_STATE_DIR=directory,
        XDG_CONFIG_HOME=directory,
        AUTOMAGIK_TELEMETRY_ENDPOINT=url,
        AUTOMAGIK_ENABLE_TRACING_IN_CI="true",
    )
    if consent in {"on", "off"}:
        os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "true" if consent == "on" else "false"
    seen: list[Any] = []
    global _is_used  # noqa: PLW0603 - of this child alone
    _is_used = consent is not None
    sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
    logging._StderrHandler.stream = property(lambda _: err)  # type: ignore[attr-defined]  # as of the process's start
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        steps(seen)
    return [seen, out.getvalue(), err.getvalue(), [str(warning.message) for warning in warned]]


_is_used = False


def configure_us() -> None:
    """Call `configure()`, in a process that has us."""
    if _is_used:
        import automagik_telemetry

        automagik_telemetry.configure()


def track_with_us() -> None:
    """Track an event, in a process that has us."""
    if _is_used:
        import automagik_telemetry

        if (telemetry := automagik_telemetry.get_tracing_manager().telemetry) is not None:
            telemetry.track_feature_usage("agents", "cli")


def flush_us() -> None:
    """Send what is queued, in a process that has us."""
    if _is_used:
        import automagik_telemetry

        automagik_telemetry.get_tracing_manager().flush(5)


def taken() -> int | None:
    """Return the number of events of our sink; None in a process that lacks us, or in which telemetry is off."""
    if _is_used:
        import automagik_telemetry

        if (telemetry := automagik_telemetry.get_tracing_manager().telemetry) is not None:
            return int(telemetry.get_metrics()["tracer"]["queued"])
    return None


def _reset_logging() -> None:
    loggers = logging.Logger.manager.loggerDict
    for name in [name for name in loggers if not name.startswith("automagik_telemetry")]:
        del loggers[name]  # modules hold those of ours, which the parent process has not set up
    logging.root.handlers.clear()
    logging.root.filters.clear()
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]  # private to logging
