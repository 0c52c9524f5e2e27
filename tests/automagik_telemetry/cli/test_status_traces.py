"""`status` shows the key, the endpoint and the delivery stats of the sink of traces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import _delivery as delivery
from automagik_telemetry.cli.doctor import command as doctor
from automagik_telemetry.cli.status import command
from tests.faults.process import run
from tests.faults.server import Endpoint, reply

KEY = "sk-lw-hidden"
PROGRAM = """
from automagik_telemetry.tracing.spans import open_span
for _ in range(2):
    span = open_span("agent.simple", "agent", input={"tool": object(), "text": "x" * 200_000})
    span.end()
assert tracing.flush(20)
"""


def status(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Return what the command prints, and the sink of traces and all destinations as JSON."""
    for name, value in {"AUTOMAGIK_ENABLE_TRACING_IN_CI": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    printed = CliRunner().invoke(command, ["-v"], catch_exceptions=False).output
    described = json.loads(CliRunner().invoke(command, ["--json"]).output)
    (sink,) = [sink for sink in described["sinks"] if sink["sink"] == "langwatch"]
    return printed, sink, described["destinations"]


@pytest.mark.slow
def test_stats_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of all processes are added up and explained; the key is never shown."""
    with Endpoint(reply(), reply(401)) as langwatch:
        variables = {"LANGWATCH_API_KEY": KEY, "LANGWATCH_ENDPOINT": f"{langwatch.url}/api/v1/traces"}
        for _ in range(2):
            run(langwatch.url, PROGRAM, AUTOMAGIK_TELEMETRY_ENABLED="false", AUTOMAGIK_SAMPLING_RATE="1", **variables)
        printed, sink, (destination,) = status(monkeypatch, **variables)
        diagnosed = CliRunner().invoke(doctor).output
    assert "4 objects replaced by the name of their class" in diagnosed
    assert "key not accepted (HTTP 401)" in diagnosed
    assert KEY not in diagnosed
    assert (sink["on"], sink["reason"], sink["key"]) == (True, "LANGWATCH_API_KEY is set", "set")
    assert sink["endpoint"] == destination["endpoint"] == f"{langwatch.url}/api/otel/v1/traces"
    assert (destination["delivered"], destination["dropped"]) == (2, {"rejected": 2})
    assert destination["recorded"]["traces"] == 4
    assert "2 traces; 0 pending" in printed
    assert "4 traces recorded and logged" in printed
    assert "4 objects replaced by the name of their class" in printed
    assert "4 strings cut to the limit" in printed
    assert "HTTP 401 (the key is not valid" in printed
    assert KEY not in printed + json.dumps([sink, destination])


@pytest.mark.parametrize(
    ("variables", "reason", "key"),
    [
        ({}, "not opted in: LANGWATCH_API_KEY is not set", "not set"),
        ({"LANGWATCH_API_KEY": "two words"}, "not opted in: LANGWATCH_API_KEY is not set", "not valid"),
        ({"LANGWATCH_API_KEY": KEY, "DO_NOT_TRACK": "1"}, "DO_NOT_TRACK is set", "set"),
        (
            {"LANGWATCH_API_KEY": KEY, "AUTOMAGIK_OBSERVABILITY_ENABLED": "false"},
            "AUTOMAGIK_OBSERVABILITY_ENABLED is false",
            "set",
        ),
        ({"LANGWATCH_API_KEY": KEY, "LANGWATCH_ENDPOINT": "nowhere"}, "LANGWATCH_ENDPOINT is not a valid URL", "set"),
    ],
)
def test_off_has_a_reason(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str, key: str) -> None:
    """The reason that keeps traces off is named, and whether a key is there."""
    printed, sink, destinations = status(monkeypatch, **variables)
    assert (sink["on"], sink["reason"], sink["key"], destinations) == (False, reason, key, [])
    assert reason in printed


def test_every_reason_is_explained() -> None:
    """No count of ours is shown by its name alone."""
    lines = delivery.reasons(dict.fromkeys(delivery.REASONS, 2) | {"made_up": 1})
    assert lines[-1] == "1 made_up"
    assert not any("_" in line for line in lines[:-1])
