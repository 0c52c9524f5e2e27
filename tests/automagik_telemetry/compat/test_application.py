"""Automagik Agents runs unmodified on this package: its names work, no event is lost, and no private data is sent."""

from __future__ import annotations

import json
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from fastapi import FastAPI
from fastapi.testclient import TestClient

from automagik_telemetry.decorators import trace_async_cli_command, trace_cli_command
from automagik_telemetry.middleware import TracingMiddleware
from automagik_telemetry.performance import SamplingDecision
from tests.automagik_telemetry.compat.automagik import lay_out
from tests.faults.process import environ
from tests.faults.server import PATIENCE, Endpoint, closed_port

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent.parent
PRIVATE = "jane.doe@example.com"
AGENT = "acme-takeover"
"""A name by the user that is not declared."""


@pytest.fixture
def langwatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """Opt in to all traces, to the port of the user's own LangWatch; they wait on disk, so that none is lost."""
    configuration = tmp_path / "logging.yaml"
    configuration.write_text((ROOT / "logging.yaml").read_text())
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(configuration))
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "1.0")
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-key")
    port = closed_port()
    monkeypatch.setenv("LANGWATCH_ENDPOINT", f"http://127.0.0.1:{port}")
    return port


def run(folder: Path, url: str, *arguments: str) -> str:
    """Return the output of a command of the application, which must end by itself without a warning."""
    command = [sys.executable, "-m", "automagik.commands", *arguments]
    environment = environ(url)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def use(folder: Path, url: str) -> None:
    """Use the application: two runs of an agent in a command, and three requests in another."""
    ran = run(folder, url, "run", "--agent", AGENT, "--session", PRIVATE)
    assert ran == f"HELLO {PRIVATE.upper()}\nsorry\n"
    assert run(folder, url, "serve", PRIVATE) == "200 404\n"


def flush(url: str) -> None:
    """Send the events of earlier processes."""
    command = [sys.executable, "-m", "automagik_telemetry", "flush"]
    done = subprocess.run(command, env=environ(url), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


def events(endpoint: Endpoint) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the name and the `event.` attributes of each event that came, by its span's id."""
    spans = [
        span
        for request in endpoint.requests
        for resource in json.loads(request.body)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    return {
        span["spanId"]: (
            span["name"],
            {
                attribute["key"].removeprefix("event."): next(iter(attribute["value"].values()))
                for attribute in span["attributes"]
                if attribute["key"].startswith("event.") and attribute["key"] != "event.duration_ms"
            },
        )
        for span in spans
    }


@pytest.mark.slow
@pytest.mark.parametrize("network", ["accepting", "refusing"])
def test_application_runs_unmodified(tmp_path: Path, network: str, langwatch: int) -> None:
    """All tracked events arrive, now or after an outage; private content arrives only at the user's own LangWatch."""
    lay_out(tmp_path)
    port = closed_port()
    if network == "refusing":
        use(tmp_path, f"http://127.0.0.1:{port}")
    with Endpoint(port=port) as endpoint, Endpoint(port=langwatch) as own:
        if network != "refusing":
            use(tmp_path, endpoint.url)
        queued = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
        flush(endpoint.url)
    sent = [request.body for request in endpoint.requests]
    for body in (*sent, *(body for body in queued if b"langwatch.span.type" not in body)):
        assert not any(text.encode() in body for text in (PRIVATE, "jane", AGENT, "notes"))
    traces = events(own)
    assert sorted(name for name, _ in traces.values()) == [f"agent.{AGENT}"] * 2 + ["agent.simple", "test", "test"]
    assert PRIVATE.encode() in b"".join(request.body for request in own.requests)
    arrived = events(endpoint)
    assert sorted(endpoint.accepted) == sorted(arrived)
    names = sorted(name for name, _ in arrived.values())
    expected = {"agent.error": 1, "agent.run": 3, "api.request": 2, "cli.command": 2, "feature.used": 5}
    assert names == [name for name, count in expected.items() for _ in range(count)]
    values = {value for _, fields in arrived.values() for value in fields.values() if isinstance(value, str)}
    known = {value for value in values if not value.startswith("custom-")}
    assert known >= {"pydanticai", "framework.pydanticai", "multimodal_content", "agent_framework", "simple"}
    assert known >= {"agent run", "agent chat", "/api/v1/users/{user}/run", "unmatched", "ConnectionError"}
    assert len(values - known) == 2  # the agent's name, and the component that holds it


ALIASES = """
import sys

from automagik_telemetry.compat.automagik_agents import stand_in_for

stand_in_for("automagik.tracing")
stand_in_for("automagik.tracing")

import automagik_telemetry.integrations.cli
import automagik.tracing
from automagik.tracing import get_tracing_manager, integrations
from automagik.tracing.events import catalogue
from automagik.tracing.telemetry.cli_events import AgentExecutionEvent

ours = {name: module for name, module in sys.modules.items() if name.startswith("automagik_telemetry")}
theirs = {name: module for name, module in sys.modules.items() if name.startswith("automagik.tracing")}
assert automagik.tracing is ours["automagik_telemetry"] and integrations is ours["automagik_telemetry.integrations"]
assert all(module is ours[name.replace("automagik.tracing", "automagik_telemetry")] for name, module in theirs.items())
assert all(module.__name__ == module.__spec__.name == name for name, module in ours.items())
assert AgentExecutionEvent is ours["automagik_telemetry.events.catalogue"].AgentExecutionEvent
assert get_tracing_manager() is sys.modules["automagik_telemetry.manager"].get_tracing_manager()
for missing in ("automagik.tracing.nothing", "automagik.other"):
    try:
        __import__(missing)
    except ModuleNotFoundError as error:
        assert error.name == missing, error
    else:
        raise AssertionError(missing)
print(sum(finder.__class__.__module__ == "automagik_telemetry.compat.automagik_agents" for finder in sys.meta_path))
"""


def test_nothing_is_loaded_twice(tmp_path: Path) -> None:
    """Under both names there is one of each module, even where the application's own package is still there."""
    lay_out(tmp_path, tracing="raise AssertionError")
    done = subprocess.run([sys.executable, "-c", ALIASES], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_commands_keep_their_own_names() -> None:
    """Without a name a command has its function's. An invalid name or function raises when it decorates."""

    @trace_cli_command()
    def refresh(count: int) -> list[int]:
        return list(range(count))

    assert refresh(2) == [0, 1]
    assert signature(refresh) == signature(refresh.__wrapped__)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="must be a str, got int"):
        trace_async_cli_command(command_name=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="decorates a function, not int"):
        trace_cli_command(command_name="agent run", track_args=False)(5)
    with pytest.raises(TypeError, match=r"parentheses: write @trace_cli_command\(\) above the function"):
        trace_cli_command(test_commands_keep_their_own_names)  # type: ignore[arg-type]


def test_typer_calls_the_tracked_function(opted_in: Any, flush: Callable[[], None], fields: Any) -> None:
    """The decorator also tracks above Typer's own, which registers the unchanged function."""
    app = typer.Typer()

    @trace_cli_command(command_name="agent status")
    @app.command()
    def status() -> None:
        pass

    app(standalone_mode=False, args=[])
    flush()
    assert [fields(span)["event.command"] for span in opted_in.spans()] == ["agent status"]


def test_middleware_skips_what_the_application_always_skipped(
    opted_in: Any, flush: Callable[[], None], fields: Any
) -> None:
    """Probes and readers of the documentation are not counted."""
    app = FastAPI(docs_url="/api/v1/docs")
    app.add_middleware(TracingMiddleware)

    @app.get("/agents")
    async def agents() -> list[str]:
        return []

    with TestClient(app) as client:
        assert [client.get(path).status_code for path in ("/api/v1/docs", "/agents")] == [200, 200]
    flush()
    assert [fields(span)["event.endpoint"] for span in opted_in.spans()] == ["/agents"]


def test_a_decision_has_a_reason() -> None:
    """A sampling decision is made with what the application makes it with."""
    decision = SamplingDecision(should_sample=False, reason="no_sampler")
    assert (decision.should_sample, decision.reason, decision.sample_rate) == (False, "no_sampler", 1.0)
