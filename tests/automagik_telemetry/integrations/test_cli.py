"""Commands: tracked by name and outcome, and otherwise as if nothing decorated them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import click
import pytest
from click.testing import CliRunner

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.cli import track_cli_command

ENDINGS: list[tuple[BaseException | None, int]] = [
    (None, 0),
    (SystemExit(), 0),
    (SystemExit(0), 0),
    (SystemExit(3), 3),
    (SystemExit("a message"), 1),
    (click.exceptions.Exit(0), 0),
    (click.exceptions.Exit(4), 4),
    (click.Abort(), 1),
    (click.UsageError("wrong"), 2),
    (KeyboardInterrupt(), 130),
    (ValueError("secret"), 1),
]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("ending", "code"), ENDINGS)
def test_ending_is_recorded_and_passed_on(
    opted_in: Any, fields: Any, ending: BaseException | None, code: int, asynchronous: bool
) -> None:
    """A result is returned and an exception passes through, the same object; the event tells the exit code."""

    @track_cli_command("agent test")
    def sync(value: int) -> int:
        if ending is not None:
            raise ending
        return value

    @track_cli_command("agent test")
    async def concurrent(value: int) -> int:
        await asyncio.sleep(0)
        return sync.__wrapped__(value)  # type: ignore[attr-defined, no-any-return]

    caught = None
    try:
        result = asyncio.run(concurrent(5)) if asynchronous else sync(5)
    except BaseException as error:  # noqa: BLE001 - all of them are meant
        caught = error
    else:
        assert result == 5
    assert caught is ending or (asynchronous and isinstance(caught, type(ending)))
    assert get_tracing_manager().flush(10)
    *crash, span = opted_in.spans()
    assert span["name"] == "cli.command"
    assert [event["name"] for event in crash] == (["agent.error"] if type(ending) is ValueError else [])
    sent = fields(span)
    assert (sent["event.command"], sent["event.exit_code"]) == ("agent test", code)
    assert sent["event.success"] is (code == 0)
    assert "secret" not in str(opted_in.requests)


def test_below_clicks_decorators(opted_in: Any, fields: Any) -> None:
    """A click command works as before, and is tracked with nothing of its arguments."""

    @click.command()
    @click.argument("agent_name")
    @track_cli_command("agent run")
    def run(agent_name: str) -> None:
        """Run an agent."""
        click.echo(agent_name)

    result = CliRunner().invoke(run, ["my secret agent"])
    assert (result.exit_code, result.output) == (0, "my secret agent\n")
    get_tracing_manager().flush(10)
    assert fields(opted_in.spans()[0])["event.command"] == "agent run"
    assert "secret" not in str(opted_in.requests)


def test_signature_stays() -> None:
    """The decorated function looks like the function."""

    def run(agent_name: str, *, loud: bool = False) -> str:
        """Run."""
        return agent_name * (1 + loud)

    tracked = track_cli_command("agent run")(run)
    assert inspect.signature(tracked) == inspect.signature(run)
    assert (tracked.__name__, tracked.__doc__) == ("run", "Run.")
    assert tracked("a", loud=True) == "aa"


WRONG = [(5, TypeError), (None, TypeError), ("", ValueError), ("x" * 200, ValueError)]


@pytest.mark.parametrize(("name", "error"), WRONG)
def test_wrong_name_is_said_when_decorating(name: Any, error: type[Exception]) -> None:
    """A name that is none is an error at once."""
    with pytest.raises(error, match="declared"):
        track_cli_command(name)


def test_wrong_target_is_said_when_decorating() -> None:
    """So is something that can't be called."""
    target: Any = "no function"
    with pytest.raises(TypeError, match=r"'agent run'.*function, not str"):
        track_cli_command("agent run")(target)
