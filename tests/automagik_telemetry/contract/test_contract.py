"""The integration guide is a contract: each of its snippets runs as written, after one mechanical rename."""

from __future__ import annotations

import asyncio
import enum
import re
import sys
import textwrap
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import httpx
import pytest
from click.testing import CliRunner
from fastapi import FastAPI

from automagik_telemetry.settings import Settings
from automagik_telemetry.testing import hashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.testing import CapturedTelemetry

GUIDE = Path(__file__).with_name("INTEGRATION_GUIDE.md").read_text(encoding="utf-8")
SNIPPETS = {
    heading: textwrap.dedent(code.replace("automagik.tracing", "automagik_telemetry"))
    for heading, code in re.findall(
        r"^#{2,3} (?:\d+\. )?([^\n]+)\n\n```(?:python|bash)\n(.*?)```", GUIDE, re.MULTILINE | re.DOTALL
    )
}


class AgentResponse(NamedTuple):
    """The return type of the documented agents."""

    text: str
    total_tokens: int


class FrameworkType(enum.Enum):
    """The framework names of the documented agents."""

    AGNO = "agno"


def run(heading: str, **names: Any) -> dict[str, Any]:
    """Run a snippet in a module that has these names, and return the module's."""
    module = types.ModuleType("guide")
    module.__dict__.update(names)
    sys.modules["guide"] = module
    try:
        exec(compile(SNIPPETS[heading], heading, "exec"), module.__dict__)  # noqa: S102 - that is the test
    finally:
        del sys.modules["guide"]
    return module.__dict__


def test_all_snippets_are_here() -> None:
    """Every code block of the document has a test below."""
    assert list(SNIPPETS) == [
        "Update AutomagikAgent Base Class",
        "Add CLI Telemetry",
        "Add API Telemetry Middleware",
        "Environment Configuration",
        "Testing Integration",
        "Monitoring",
    ]


def test_agent(opted_in: Any, fields: Any, flush: Callable[[], None]) -> None:
    """An agent of the documented base class is tracked when it succeeds and when it fails."""
    base = run("Update AutomagikAgent Base Class", Dict=dict, time=time, AgentResponse=AgentResponse)["AutomagikAgent"]

    class Simple(base):  # type: ignore[misc, valid-type]
        name = "simple"
        framework_type = FrameworkType.AGNO

        async def _run_internal(self, message: str, **_kwargs: Any) -> AgentResponse:
            if not message:
                raise ValueError("secret")
            return AgentResponse(message.upper(), 345)

    agent = Simple({})
    answer = asyncio.run(agent.run("secret words", session_id="secret", user_id="secret", multimodal_content=b"secret"))
    assert answer == ("SECRET WORDS", 345)
    with pytest.raises(ValueError, match="secret"):
        asyncio.run(agent.run(""))
    flush()
    good, error, bad = [(span["name"], fields(span)) for span in opted_in.spans()]
    assert good[0] == bad[0] == "agent.run"
    assert good[1]["event.agent_name"] == "simple"
    assert good[1]["event.framework"] == "agno"
    assert (good[1]["event.success"], bad[1]["event.success"]) == (True, False)
    assert good[1]["event.has_multimodal"] is True
    assert good[1]["event.token_count"] == 345
    assert error[0] == "agent.error"
    assert error[1].items() >= {"event.error_type": "ValueError", "event.component": "agent.simple"}.items()
    assert "secret" not in str(opted_in.requests).lower()


def test_commands(opted_in: Any, fields: Any, flush: Callable[[], None]) -> None:
    """The documented click commands run and are tracked by name."""
    agents = run("Add CLI Telemetry", click=click)["agents"]
    assert CliRunner().invoke(agents, ["list"]).exit_code == 0
    assert CliRunner().invoke(agents, ["run", "secret", "--message", "secret"]).exit_code == 0
    flush()
    assert [fields(span)["event.command"] for span in opted_in.spans()] == ["agent list", "agent run"]
    assert "secret" not in str(opted_in.requests)


def test_middleware(opted_in: Any, fields: Any, flush: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented application responds, and its requests are tracked."""
    heading = "Add API Telemetry Middleware"
    existing = SNIPPETS[heading].replace("# ... existing code ...", "app = FastAPI()", 1)
    monkeypatch.setitem(SNIPPETS, heading, existing)
    app = run(heading, FastAPI=FastAPI)["create_app"]()

    @app.get("/agents/{name}")  # type: ignore[untyped-decorator]
    async def agent(name: str) -> str:
        return name

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/agents/secret")

    assert asyncio.run(get()).json() == "secret"
    flush()
    assert [fields(span)["event.endpoint"] for span in opted_in.spans()] == ["/agents/{name}"]
    assert "secret" not in str(opted_in.requests)


def test_environment() -> None:
    """The documented .env file sets the documented settings."""
    lines = [line for line in SNIPPETS["Environment Configuration"].splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines)
    settings = Settings.from_environ(environ)
    assert settings.telemetry_enabled is True
    assert settings.telemetry_endpoint == "https://telemetry.namastex.ai/v1/traces"
    assert settings.disable_all_tracing is False


def test_testing_snippet(opted_in: Any, flush: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    """The documented check that telemetry works."""
    run("Testing Integration")
    assert capsys.readouterr().out == "Events queued: 1\nEvents sent: 0\n"
    flush()
    assert len(opted_in.spans()) == 1


def test_testing_snippet_in_the_test_kit(telemetry: CapturedTelemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented check passes with the fixture of an application's tests, though test runs are off."""
    run("Testing Integration")
    assert capsys.readouterr().out == "Events queued: 1\nEvents sent: 0\n"
    telemetry.assert_sent("feature.used", feature_name=hashed("test_feature"))


def test_monitoring_snippet(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented check of the health of tracing."""
    run("Monitoring")
    printed = capsys.readouterr().out
    assert printed.startswith("Telemetry health: {")
    assert "'circuit_breaker': {'state': 'closed'" in printed
    assert "Active providers" not in printed
