"""Commands are tracked by name and outcome, and otherwise behave as undecorated."""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
from typing import Any

import click
import pytest
import typer
import typer.testing
from click.testing import CliRunner

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.click import track_cli_command

ENDINGS: list[tuple[BaseException | None, int]] = [
    (None, 5),
    (SystemExit(), 0),
    (SystemExit(0), 0),
    (SystemExit(3), 3),
    (SystemExit("a message"), 1),
    (click.exceptions.Exit(0), 0),
    (click.exceptions.Exit(4), 4),
    (click.Abort(), 1),
    (click.UsageError("wrong"), 2),
    (typer.Exit(4), 4),
    (typer.Abort(), 1),
    (typer.BadParameter("wrong"), 2),
    (EOFError(), 1),
    (BrokenPipeError(errno.EPIPE, "the reader has gone"), 1),
    (SystemExit(256 + 7), 7),
    (KeyboardInterrupt(), 130),
    (ValueError("secret"), 1),
]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("ending", "code"), ENDINGS)
def test_ending_is_recorded_and_passed_on(
    opted_in: Any, fields: Any, ending: BaseException | None, code: int, asynchronous: bool
) -> None:
    """A result is returned and an exception passes through, the same object; the event has the exit code."""

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
    except BaseException as error:  # catches every exception
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
    """A click command works as before, and none of its arguments is sent."""

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


Framework = tuple[Any, Any]


def click_command(function: Any) -> Framework:
    """Return a command of click's, and how to run it with arguments."""
    command = click.command("run")(click.argument("name")(function))
    return command, lambda *arguments: CliRunner().invoke(command, arguments)


def grouped_command(function: Any) -> Framework:
    """Return a command of a click group, which has it before any decorator above."""
    group = click.Group()
    command = group.command("run")(click.argument("name")(function))
    return command, lambda *arguments: CliRunner().invoke(group, ["run", *arguments])


def typer_command(function: Any) -> Framework:
    """Return the function that Typer's decorator returns."""
    apps["app"] = app = typer.Typer()
    return app.command()(function), lambda *arguments: typer.testing.CliRunner().invoke(app, arguments)


def typer_callback(function: Any) -> Framework:
    """Return the same of Typer's other decorator."""
    apps["app"] = app = typer.Typer()
    app.command()(lambda: None)
    registered = app.callback(invoke_without_command=True)(function)
    return registered, lambda *arguments: typer.testing.CliRunner().invoke(app, arguments)


apps: dict[str, typer.Typer] = {}


@pytest.mark.parametrize("make", [click_command, grouped_command, typer_command, typer_callback])
def test_above_their_decorators(opted_in: Any, fields: Any, make: Any) -> None:
    """The decorator tracks above click's and Typer's own decorators, too; the command is the same object."""

    def run(name: str) -> None:
        click.echo(f"hello {name}")

    command, start = make(run)
    app = apps.get("app")
    tracked = track_cli_command("agent run")(command)
    assert (tracked is command) is isinstance(command, click.Command)
    assert app is apps.get("app")
    result = start("secret")
    assert (result.exit_code, result.output) == (0, "hello secret\n")
    assert get_tracing_manager().flush(10)
    assert [fields(span)["event.command"] for span in opted_in.spans()] == ["agent run"]
    assert "secret" not in str(opted_in.requests)


RESULTS: list[tuple[Any, int | None]] = [
    ([], 0),
    (["a", "b"], 2),
    ({"a": 1}, 1),
    ((1, 2, 3), 3),
    (None, None),
    ("text", None),
    (7, None),
    ({1, 2}, None),
]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("result", "count"), RESULTS)
def test_item_count(opted_in: Any, fields: Any, result: Any, count: int | None, asynchronous: bool) -> None:
    """A list command records the number of returned items, and another command does not."""

    def sync() -> Any:
        return result

    async def concurrent() -> Any:
        return result

    for name in ("agent list", "agent run"):
        tracked: Any = track_cli_command(name)(concurrent if asynchronous else sync)
        assert (asyncio.run(tracked()) if asynchronous else tracked()) is result
    assert get_tracing_manager().flush(10)
    assert [fields(span).get("event.item_count") for span in opted_in.spans()] == [count, None]


def test_other_callables(opted_in: Any, fields: Any) -> None:
    """Methods of each kind, partial functions, and functions that return a coroutine are tracked to their end."""

    class Commands:
        @track_cli_command("a method")
        def method(self) -> str:
            return type(self).__name__

        @track_cli_command("a classmethod")
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        @classmethod
        @track_cli_command("below it")
        def below(cls) -> str:
            return cls.__name__

        @track_cli_command("a staticmethod")
        @staticmethod
        def static() -> str:
            return "Commands"

    async def fail() -> None:
        await asyncio.sleep(0)
        raise click.ClickException("secret")

    commands = Commands()
    assert {commands.method(), Commands.of_class(), commands.below(), commands.static()} == {"Commands"}
    assert track_cli_command("a partial")(functools.partial(int, "11", base=2))() == 3
    with pytest.raises(click.ClickException):
        asyncio.run(track_cli_command("returns a coroutine")(lambda: fail())())  # noqa: PLW0108 - no coroutine function
    assert get_tracing_manager().flush(10)
    sent = [(fields(span)["event.command"], fields(span)["event.exit_code"]) for span in opted_in.spans()]
    assert sent == [
        ("a method", 0), ("a classmethod", 0), ("below it", 0), ("a staticmethod", 0), ("a partial", 3),
        ("returns a coroutine", 1),
    ]  # fmt: skip


def test_a_command_in_a_command_is_its_part(opted_in: Any, fields: Any) -> None:
    """Both commands are events in one trace; a crash that passes through both is one error."""

    @track_cli_command("inner")
    def inner() -> None:
        raise ValueError("secret")

    @track_cli_command("outer")
    def outer() -> None:
        inner()

    with pytest.raises(ValueError, match="secret"):
        outer()
    assert get_tracing_manager().flush(10)
    part, error, whole = opted_in.spans()
    assert [span["name"] for span in (part, error, whole)] == ["cli.command", "agent.error", "cli.command"]
    assert fields(part)["event.command"] == "inner"
    assert part["parentSpanId"] == error["parentSpanId"] == whole["spanId"]
    assert len({span["traceId"] for span in (part, error, whole)}) == 1


def test_a_wrong_configuration_breaks_no_command(monkeypatch: pytest.MonkeyPatch, opted_in: Any) -> None:
    """A command runs, untracked, if our configuration file can't be read."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", "/no/such/file")
    assert track_cli_command("agent run")(lambda: 5)() == 5
    assert opted_in.requests == []


WRONG = [(5, TypeError), (None, TypeError), ("", ValueError), ("x" * 200, ValueError)]


@pytest.mark.parametrize(("name", "error"), WRONG)
def test_wrong_name_is_said_when_decorating(name: Any, error: type[Exception]) -> None:
    """An invalid name is an error at once."""
    with pytest.raises(error, match="declared"):
        track_cli_command(name)


TARGETS: list[tuple[Any, str]] = [
    ("no function", "function, not str"),
    (None, "function, not NoneType"),
    (click.Group, "function, not the class Group"),
    (click.Command("empty"), "this command has none"),
]


@pytest.mark.parametrize(("target", "words"), TARGETS)
def test_wrong_target_is_said_when_decorating(target: Any, words: str) -> None:
    """An object that is not a function, or a command without one, is an error at once."""
    with pytest.raises(TypeError, match=f"'agent run'.*{words}"):
        track_cli_command("agent run")(target)


def test_a_decorator_without_a_name_is_said_when_decorating() -> None:
    """`@track_cli_command` above a function is an error with the correct form."""
    with pytest.raises(TypeError, match=r"write @track_cli_command\('agent list'\) above the function .*run$"):

        @track_cli_command  # type: ignore[arg-type]
        def run() -> None: ...
