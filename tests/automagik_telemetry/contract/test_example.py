"""The worked example works, and tracks the events on its page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = Path(__file__).parent.parent.parent.parent / "docs" / "example"


@pytest.fixture
def spans(
    opted_in: Any, fields: Any, flush: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[dict[str, Any]]]:
    """Import the example, with all events; return a function that returns all received spans, ordered by end."""
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "DEBUG")  # the tools' events, too

    def arrived() -> list[dict[str, Any]]:
        flush()
        return [{**span, **fields(span)} for span in opted_in.spans()]

    return arrived


def run(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of a command of the shop."""
    from bookshop.commands import main

    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def test_commands(spans: Callable[[], list[dict[str, Any]]], opted_in: Any) -> None:
    """The commands and the runs inside them are tracked, without their messages."""
    assert run("list") == (0, "clerk, poet, concierge\n")
    assert run("run", "clerk", "-m", "emma") == (0, "emma, 1 in stock\n")
    code, output = run("run", "poet", "-m", "one two three four five six seven eight nine")
    assert (code, "no verse any more" in output) == (1, True)
    feature, list_agents, tool, clerk, found, error, poet, failed = spans()
    assert feature["event.feature_name"] == "staff list"
    assert (list_agents["event.command"], list_agents["event.item_count"]) == ("agent list", 3)
    assert (tool["event.tool_name"], tool["event.success"]) == ("find_book", True)
    assert (clerk["event.agent_name"], clerk["event.framework"]) == ("clerk", "pydantic_ai")
    assert clerk["event.token_count"] > 0
    assert (error["event.error_type"], error["event.component"]) == ("AgentRunError", "agent.poet")
    assert (poet["event.framework"], poet["event.success"]) == ("agno", False)
    assert [each["event.exit_code"] for each in (found, failed)] == [0, 1]
    assert tool["traceId"] == clerk["traceId"] == found["traceId"] != poet["traceId"]
    assert b"bookshop" in str(opted_in.requests).encode()
    assert not any(word in str(opted_in.requests) for word in ("emma", "seven"))


def test_api(spans: Callable[[], list[dict[str, Any]]], opted_in: Any) -> None:
    """Runs of agents are children of the request, or of the agent that calls them."""
    from bookshop.api import create_app

    with TestClient(create_app()) as client:
        assert client.get("/health").status_code == 200
        answer = client.post("/agents/concierge/run", json={"text": "ulysses"})
        assert answer.json() == {"text": "O ulysses, 0 in stock: on which shelf do you dream?"}
        assert client.post("/agents/clerk/run", json={"text": "my secret diary"}).status_code == 502
        assert client.post("/agents/jane/run", json={"text": "hello"}).status_code == 404
    tool, clerk, poet, concierge, request, *failed, unknown = spans()
    assert [each["event.agent_name"] for each in (clerk, poet, concierge)] == ["clerk", "poet", "concierge"]
    assert request["event.endpoint"] == unknown["event.endpoint"] == "/agents/{name}/run"
    for child, parent in ((tool, clerk), (clerk, concierge), (poet, concierge), (concierge, request)):
        assert (child["traceId"], child["parentSpanId"]) == (parent["traceId"], parent["spanId"])
    assert [each["name"] for each in failed] == ["tool.executed", "agent.error", "agent.run", "api.request"]
    assert [each["event.status_code"] for each in (request, failed[-1], unknown)] == [200, 502, 404]
    assert not any(word in str(opted_in.requests) for word in ("ulysses", "secret", "jane"))
