"""`automagik-telemetry doctor`: checks settings, disk and endpoints, and shows an action for each failure."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Self

import click

from automagik_telemetry import manager
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _states as states
from automagik_telemetry.consent.decision import decide_sink
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.handlers._configuration import ConfigurationError
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import OFF, Settings

if TYPE_CHECKING:
    from automagik_telemetry.cli._diagnosis import Finding

_MARKS = {"ok": click.style("ok    ", fg="green"), "note": "note  ", "fail": click.style("FAIL  ", fg="red")}


@click.command("doctor")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds per endpoint."
)
@click.option("--import", "module", metavar="MODULE", help="Import your application, and check its logging as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(timeout: float, module: str | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by position
    """Check everything that delivery needs. Exit code 1 if a check fails.

    Sends one request without an event to the endpoint of each sink that is on.
    """
    logging_findings = check_logging(module)  # first, because the application may name itself and its endpoint
    findings = [*diagnose(timeout), *logging_findings]
    passed = all(finding.status != "fail" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": passed, "findings": [found._asdict() for found in findings]}, indent=2))
    else:
        for finding in findings:
            text = f"{finding.subject}: {finding.message} {finding.action}".rstrip()
            click.echo(f"{_MARKS[finding.status]}{printable(text)}")
    sys.exit(int(not passed))


def diagnose(timeout: float) -> list[Finding]:
    """Return the findings on the settings, the configuration, the state directory, and each sink and its endpoint."""
    from automagik_telemetry.cli._diagnosis import Finding, state_directory

    with _CollectedWarnings() as collected:
        settings = Settings.from_environ()
    findings = [Finding("fail", "settings", text, "Correct or unset the variable.") for text in collected.messages]
    source = dictconfig.source_of(settings)
    try:
        builder = dictconfig.builder_of(None, settings)
        handlers = [handler for name in builder.names() if (handler := _sink(builder, name)) is not None]
    except ConfigurationError as error:
        message = f"nothing is sent: {dictconfig.reason_for_off(error, settings)}."
        return [*findings, Finding("fail", "configuration", message, f"Correct {source}.")]
    findings.append(Finding("ok", "configuration", f"{source}."))
    if any(handler.level < OFF for handler in handlers):
        findings.append(state_directory(settings))
    for handler in handlers:
        findings += _of_sink(handler, settings, timeout)
    sender = next((handler.sender for handler in handlers if handler.sender is not None), None)
    rest = states.others(settings, sender or application.current())
    return [*findings, *(Finding("note", "application", state.sentence()) for state in rest)]


def check_logging(module: str | None = None) -> list[Finding]:
    """Check that the logging of this process, or of an application that is imported, lets events reach the sinks."""
    from automagik_telemetry.cli._diagnosis import Finding

    if module is not None:
        try:
            importlib.import_module(module)
        except Exception as error:
            return [Finding("fail", "logging", f"{module} can't be imported: {type(error).__name__}: {error}.")]
    if "telemetry" not in loggers.sinks():
        found = manager.current()
        why = (
            "did not call configure() when it was imported" if found is None else f"has no sink: {found.consent.reason}"
        )
        return [] if module is None else [Finding("note", "logging", f"{module} {why}.")]
    reasons = [each for each in (loggers.obstacle(), manager.structlog_obstacle()) if each is not None]
    return [Finding("note", "logging", each) for each in reasons]


def _sink(builder: dictconfig.Builder, name: str) -> BatchQueueHandler | None:
    made = builder.handler(name)
    return made if isinstance(made, BatchQueueHandler) else None


def _of_sink(handler: BatchQueueHandler, settings: Settings, timeout: float) -> list[Finding]:
    from automagik_telemetry.cli._diagnosis import Finding, delivery, endpoint, held

    if handler.level >= OFF:
        consent = decide_sink(handler.sink, settings, handler.sender)
        reason = handler.obstacle() or "its level in logging.yaml is OFF" if consent.given else consent.reason
        found = held(handler)
        return [Finding("note", handler.sink, f"off: {reason}. Not checked."), *([found] if found else [])]
    return [*delivery(handler), *endpoint(handler, timeout)]


class _CollectedWarnings(logging.Handler):
    """A block that collects the warnings of our own logger, and keeps them from other handlers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> Self:
        self._logger = logging.getLogger("automagik_telemetry")
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_error: object) -> None:
        self._logger.propagate = self._propagated
        self._logger.removeHandler(self)
