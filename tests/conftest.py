"""The fixtures of every test: a clean environment, its own directories, and no access to a real endpoint."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from automagik_telemetry.consent._environment import AGENT_VARIABLES, CI_VARIABLES, TEST_RUN_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The same examples in each run, so that a change is judged by itself alone; `make test-long` draws new ones.
settings.register_profile("short", deadline=None, derandomize=True, max_examples=25, print_blob=True)
settings.register_profile("ci", settings.get_profile("short"), max_examples=100)
settings.register_profile("long", deadline=None, derandomize=False, max_examples=5_000, print_blob=True)
settings.load_profile("short")

PREFIXES = ("AUTOMAGIK_", "LANGWATCH_", "OTEL_", "DO_NOT_TRACK", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
RUN_VARIABLES = {*CI_VARIABLES, *AGENT_VARIABLES, *TEST_RUN_VARIABLES, "ENVIRONMENT"} - {
    *("PYTEST_VERSION", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
}
REAL_ENDPOINTS = ("namastex.ai", "langwatch.ai")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the caller's settings from the library, and keep every file that it writes inside `tmp_path`."""
    for name in os.environ:
        if name.upper().startswith(PREFIXES) or name in RUN_VARIABLES:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("AUTOMAGIK_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def no_real_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the names of the real endpoints unknown, so that no mistake in a test can send them anything."""
    look_up: Callable[..., object] = socket.getaddrinfo

    def refuse(host: Any, *args: Any, **kwargs: Any) -> object:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.endswith(REAL_ENDPOINTS):
            raise socket.gaierror(socket.EAI_NONAME, f"tests don't reach {name}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how much the tests of privacy and of interrupts tried, and how long processes took to end."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    ends = [report for report in reports if getattr(report, "when", None) == "teardown"]
    cases = [count for report in ends for name, count in report.user_properties if name == "privacy cases"]
    if cases:
        terminalreporter.write_line(f"privacy: {sum(cases):,} cases tried")
    points = [count for report in ends for name, count in report.user_properties if name == "interrupt points"]
    if points:
        terminalreporter.write_line(f"interrupts: {sum(points):,} points tried")
    exits = [f"{value} {name[5:]}" for report in ends for name, value in report.user_properties if name[:5] == "exit "]
    if exits:
        terminalreporter.write_line(f"end of a process after its last output: {', '.join(sorted(exits))}")
