"""Consent: opt-in, the strictest setting wins, and its reason is given."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from automagik_telemetry.consent import _environment as environment
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.consent._preferences import change
from automagik_telemetry.consent.decision import decide_observability, decide_telemetry
from automagik_telemetry.settings import OFF, Settings

DEFAULT = Scope("automagik-agents", "https://telemetry.namastex.ai")
ON = {"AUTOMAGIK_TELEMETRY_ENABLED": "true", "LANGWATCH_API_KEY": "key"}
SWITCHES = [
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "1"),
    ("DO_NOT_TRACK", "1"),
    ("OTEL_SDK_DISABLED", "true"),
    ("AUTOMAGIK_TRACING_ENABLED", "false"),
    ("AUTOMAGIK_TRACING_ENABLED", "perhaps"),
]
RUNS = [
    ("PYTEST_CURRENT_TEST", "test_application.py::test (call)"),
    ("PYTEST_VERSION", "9.0"),
    ("TOX_ENV_NAME", "py311"),
    ("NOX_CURRENT_SESSION", "tests-3.11"),
    ("CI", "woodpecker"),
    ("CI_NAME", "codeship"),
    *((variable, "true") for variable in (*environment.CI_VARIABLES, *environment.AGENT_VARIABLES)),
]
HOSTING = {
    *("DYNO", "FLY_APP_NAME", "AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "KUBERNETES_SERVICE_HOST", "NETLIFY", "RENDER"),
    *("RAILWAY_ENVIRONMENT", "REPL_ID", "VERCEL", "WEBSITE_SITE_NAME", "GAE_SERVICE", "CODESPACES", "MODAL_TASK_ID"),
}


def decide(environ: dict[str, str]) -> tuple[int, str, int]:
    """Return the telemetry level and reason, and the observability level."""
    settings = Settings.from_environ(environ)
    telemetry = decide_telemetry(settings, environ)
    return telemetry.level, telemetry.reason, decide_observability(settings).level


def test_nothing_is_sent_unasked() -> None:
    """Without a word from the user both are off."""
    level, reason, observability = decide({})
    assert (level, observability) == (OFF, OFF)
    assert "AUTOMAGIK_TELEMETRY_ENABLED" in reason


def test_opting_in() -> None:
    """With the variable and the key both are on."""
    assert decide(ON) == (logging.INFO, "AUTOMAGIK_TELEMETRY_ENABLED is true", logging.DEBUG)


@pytest.mark.fault(59, 96)
@pytest.mark.parametrize(("variable", "value"), SWITCHES)
def test_off_switch_wins(variable: str, value: str) -> None:
    """Every opt-out covers every sink, and is the reason."""
    level, reason, observability = decide({**ON, variable: value})
    assert (level, observability) == (OFF, OFF)
    assert variable in reason


def test_off_file_wins() -> None:
    """The file in the home directory switches everything off."""
    Path("~/.automagik-no-tracing").expanduser().touch()
    level, reason, observability = decide(ON)
    assert (level, observability) == (OFF, OFF)
    assert ".automagik-no-tracing" in reason


@pytest.mark.fault(60, 94, 95)
@pytest.mark.parametrize(("variable", "value"), RUNS)
def test_a_run_that_is_no_use_of_the_application(variable: str, value: str) -> None:
    """Tests, continuous integration and sandboxes send no usage; the user's own traces go on."""
    level, reason, observability = decide({**ON, variable: value})
    assert (level, observability) == (OFF, logging.DEBUG)
    assert f"{variable} is set" in reason


@pytest.mark.fault(95)
@pytest.mark.parametrize("variable", sorted(HOSTING))
def test_a_hosting_platform_is_an_ordinary_run(variable: str) -> None:
    """A platform that runs services changes nothing."""
    assert decide({**ON, variable: "1"})[0] == logging.INFO


@pytest.mark.fault(96)
@pytest.mark.parametrize("value", ["development", "Test", "dev"])
def test_a_development_environment(value: str) -> None:
    """A saved choice is not enough there; the variable is."""
    change(lambda saved: saved.granted(DEFAULT, "a test"))
    level, reason, _ = decide({"ENVIRONMENT": value})
    assert level == OFF
    assert f"ENVIRONMENT is {value.lower()}" in reason
    assert decide({**ON, "ENVIRONMENT": value})[0] == logging.INFO
    assert decide({"ENVIRONMENT": "production"})[0] == logging.INFO


@pytest.mark.fault(96)
def test_the_opt_out_file_of_telemetry() -> None:
    """It turns off usage but not the user's own traces, even if it is a dangling link."""
    file = Path("~/.automagik-no-telemetry").expanduser()
    file.symlink_to("nowhere")
    level, reason, observability = decide(ON)
    assert (level, observability) == (OFF, logging.DEBUG)
    assert ".automagik-no-telemetry" in reason


@pytest.mark.parametrize("variable", ["CI", "GITHUB_ACTIONS", "PYTEST_VERSION", "CLAUDECODE"])
def test_ci_and_tests_can_be_allowed(variable: str) -> None:
    """One variable lets continuous integration, test runs and sandboxes send."""
    assert decide({**ON, variable: "1", "AUTOMAGIK_ENABLE_TRACING_IN_CI": "1"})[0] == logging.INFO


def test_ci_variable_that_is_false() -> None:
    """A CI variable that is false is ignored."""
    assert decide({**ON, "CI": "false"})[0] == logging.INFO


def test_level_is_the_dial() -> None:
    """The level limits the events that are sent."""
    assert decide({**ON, "AUTOMAGIK_TELEMETRY_LEVEL": "ERROR"})[0] == logging.ERROR
    assert decide({**ON, "AUTOMAGIK_TELEMETRY_LEVEL": "DEBUG"})[0] == logging.DEBUG
    assert decide({**ON, "AUTOMAGIK_TELEMETRY_LEVEL": "OFF"})[0] == OFF


@pytest.mark.fault(25)
def test_unusable_endpoint_switches_telemetry_off() -> None:
    """An endpoint that can't be read must not mean the public one."""
    level, reason, _ = decide({**ON, "AUTOMAGIK_TELEMETRY_ENDPOINT": "collector:4318"})
    assert level == OFF
    assert "AUTOMAGIK_TELEMETRY_ENDPOINT" in reason
