"""`automagik-telemetry doctor`: what is wrong with the way of events, in plain words, and what to do about it."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Self

import click

from automagik_telemetry.consent import decision
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.settings import OFF, Settings

if TYPE_CHECKING:
    from automagik_telemetry.cli._diagnosis import Finding

_MARKS = {"ok": click.style("ok     ", fg="green"), "note": "note   ", "wrong": click.style("WRONG  ", fg="red")}


@click.command("doctor")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds per endpoint."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(timeout: float, as_json: bool) -> None:  # noqa: FBT001 - click's way to give flags
    """Say what is wrong and what to do about it; exit code 1 if anything is.

    Each endpoint of a sink that is on is sent one request without an event.
    """
    findings = diagnose(timeout)
    wrong = any(finding.state == "wrong" for finding in findings)
    if as_json:
        click.echo(json.dumps({"well": not wrong, "findings": [found._asdict() for found in findings]}, indent=2))
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.state]}{finding.about}: {finding.says}")
            if finding.do:
                click.echo(f"       -> {finding.do}")
    sys.exit(int(wrong))


def diagnose(timeout: float) -> list[Finding]:
    """Return all that can be told: of the settings, the configuration, the disk, and each sink and its endpoint."""
    from automagik_telemetry.cli._diagnosis import Finding, state_directory

    with _Heard() as heard:
        settings = Settings.from_environ()
    findings = [Finding("wrong", "settings", text, "Correct or unset the variable.") for text in heard.messages]
    path = dictconfig.find(settings)
    try:
        builder = dictconfig.Builder(dictconfig.load(path))
        handlers = [handler for name in builder.names() if (handler := _sink(builder, name)) is not None]
    except dictconfig.ConfigurationError as error:
        return [*findings, Finding("wrong", "configuration", str(error), f"Correct {path}.")]
    findings.append(Finding("ok", "configuration", str(path)))
    if any(handler.level < OFF for handler in handlers):
        findings.append(state_directory(settings))
    for handler in handlers:
        findings += _of_sink(handler, settings, timeout)
    return findings


def _sink(builder: dictconfig.Builder, name: str) -> BatchQueueHandler | None:
    made = builder.handler(name)
    return made if isinstance(made, BatchQueueHandler) else None


def _of_sink(handler: BatchQueueHandler, settings: Settings, timeout: float) -> list[Finding]:
    from automagik_telemetry.cli._diagnosis import Finding, delivery, endpoint

    if handler.level >= OFF:
        decide = decision.decide_langwatch if handler.sink == "langwatch" else decision.decide_telemetry
        rule = decide(settings).rule if decide(settings).level >= OFF else "its level in logging.yaml is OFF"
        return [Finding("note", handler.sink, f"off: {rule}. It is not asked.")]
    return [*delivery(handler), *endpoint(handler, timeout)]


class _Heard(logging.Handler):
    """Keeps what our own logger warns of, in place of those who listen to it."""

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
