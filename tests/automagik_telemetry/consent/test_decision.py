"""Consent: opt-in, the strictest rule wins, and it says which."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from automagik_telemetry.consent._environment import CI_VARIABLES
from automagik_telemetry.consent.decision import decide_observability, decide_telemetry
from automagik_telemetry.settings import OFF, Settings

ON = {"AUTOMAGIK_TELEMETRY_ENABLED": "true", "LANGWATCH_API_KEY": "key"}
SWITCHES = [
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "1"),
    ("DO_NOT_TRACK", "1"),
    ("OTEL_SDK_DISABLED", "true"),
    ("PYTEST_CURRENT_TEST", "test_host.py::test (call)"),
    ("PYTEST_VERSION", "9.0"),
    *((variable, "true") for variable in CI_VARIABLES),
]


def decide(environ: dict[str, str]) -> tuple[int, str, int]:
    """Return the telemetry level and rule, and the observability level."""
    settings = Settings.from_environ(environ)
    telemetry = decide_telemetry(settings, environ)
    return telemetry.level, telemetry.rule, decide_observability(settings, environ).level


def test_nothing_is_sent_unasked() -> None:
    """Without a word from the user both are off."""
    level, rule, observability = decide({})
    assert (level, observability) == (OFF, OFF)
    assert "AUTOMAGIK_TELEMETRY_ENABLED" in rule


def test_opting_in() -> None:
    """With the variable and the key both are on."""
    assert decide(ON) == (logging.DEBUG, "AUTOMAGIK_TELEMETRY_ENABLED is true", logging.DEBUG)


@pytest.mark.fault(59, 60)
@pytest.mark.parametrize(("variable", "value"), SWITCHES)
def test_off_switch_wins(variable: str, value: str) -> None:
    """Every off switch covers every channel, and is named as the rule."""
    level, rule, observability = decide({**ON, variable: value})
    assert (level, observability) == (OFF, OFF)
    assert variable in rule


def test_off_file_wins() -> None:
    """The file in the home directory switches everything off."""
    Path("~/.automagik-no-tracing").expanduser().touch()
    level, rule, observability = decide(ON)
    assert (level, observability) == (OFF, OFF)
    assert ".automagik-no-tracing" in rule


@pytest.mark.parametrize("variable", ["CI", "GITHUB_ACTIONS", "PYTEST_VERSION"])
def test_ci_and_tests_can_be_let_in(variable: str) -> None:
    """One variable lets continuous integration and test runs send."""
    assert decide({**ON, variable: "1", "AUTOMAGIK_ENABLE_TRACING_IN_CI": "1"})[0] == logging.DEBUG


def test_ci_that_says_no() -> None:
    """A CI variable that says false is none."""
    assert decide({**ON, "CI": "false"})[0] == logging.DEBUG


def test_level_is_the_dial() -> None:
    """The level limits what leaves."""
    assert decide({**ON, "AUTOMAGIK_TELEMETRY_LEVEL": "ERROR"})[0] == logging.ERROR
    assert decide({**ON, "AUTOMAGIK_TELEMETRY_LEVEL": "OFF"})[0] == OFF


@pytest.mark.fault(25)
def test_unusable_endpoint_switches_telemetry_off() -> None:
    """An endpoint that can't be read must not mean the public one."""
    level, rule, _ = decide({**ON, "AUTOMAGIK_TELEMETRY_ENDPOINT": "collector:4318"})
    assert level == OFF
    assert "AUTOMAGIK_TELEMETRY_ENDPOINT" in rule
