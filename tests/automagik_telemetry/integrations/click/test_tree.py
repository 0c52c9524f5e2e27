"""Command trees: one line tracks every command of a click group or a Typer app, under its name in the tree."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any, ClassVar

import click
import pytest
import structlog
import typer
import typer.testing
from click.testing import CliRunner

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.integrations.click import instrument_click, instrument_typer, track_cli_command


class Lazy(click.Group):
    """Finds its commands by their names only; some names are valid, but not listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names."""
        return ["status"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Make a command."""
        if cmd_name == "status":
            return click.Command("status", callback=lambda: click.echo("fine"))
        if cmd_name.startswith("hidden"):
            return click.Command(cmd_name, callback=lambda: None)
        if cmd_name == "st":
            return click.Command("status", callback=lambda: click.echo("fine"))
        return None


def click_tree() -> click.Group:  # noqa: C901 - many small functions
    """Return a group with every kind of command in it."""

    @click.group()
    @click.option("--fail-early", is_flag=True)
    def cli(fail_early: bool) -> None:
        if fail_early:
            raise click.ClickException("secret")

    @cli.group()
    def agents() -> None:
        """Hold commands."""

    @agents.command("list")
    @click.option("--count", type=int, default=3)
    def list_agents(count: int) -> list[int]:
        return list(range(count))

    @agents.command()
    @click.argument("name")
    @track_cli_command("agent run")
    @click.pass_context
    def run(ctx: click.Context, name: str) -> str:
        return name

    @agents.command()
    @click.pass_context
    def both(ctx: click.Context) -> object:
        return ctx.invoke(run, name="secret")

    @agents.command()
    @click.argument("how")
    def end(how: str) -> None:
        if how == "interrupt":
            raise KeyboardInterrupt
        endings = {"exit": click.exceptions.Exit(3), "abort": click.Abort(), "crash": ValueError("secret")}
        raise endings[how]

    @cli.group(invoke_without_command=True)
    def api() -> None:
        """Run independently, too."""

    @cli.group(chain=True)
    def steps() -> None:
        """Run several commands in turn."""

    for name in ("one", "two"):
        steps.add_command(click.Command(name, callback=lambda: None))
    cli.add_command(Lazy("lazy"))
    return cli


def typer_app() -> typer.Typer:
    """Return the same as a Typer app, as far as Typer supports it."""
    app, agents, api = typer.Typer(add_completion=False), typer.Typer(), typer.Typer()

    @app.callback()
    def main(fail_early: bool = False) -> None:
        if fail_early:
            raise typer.Exit(1)

    @agents.command("list")
    def list_agents(count: int = 3) -> list[int]:
        return list(range(count))

    @agents.command()
    @track_cli_command("agent run")
    def run(name: str) -> str:
        return name

    @agents.command()
    def end(how: str) -> None:
        if how == "interrupt":
            raise KeyboardInterrupt
        endings = {"exit": typer.Exit(3), "abort": typer.Abort(), "crash": ValueError("secret")}
        raise endings[how]

    @api.callback(invoke_without_command=True)
    def api_alone() -> None:
        """Run independently, too."""

    app.add_typer(agents, name="agents")
    app.add_typer(api, name="api")
    return app


Commands = list[tuple[str, int, int | None]]
# The command line, and the sent values: command, exit code and number of items.
BOTH: dict[str, Commands] = {
    "agents list": [("agents list", 0, 3)],
    "agents list --count 5": [("agents list", 0, 5)],
    "agents list --count secret": [("agents list", 2, None)],
    "agents list --secret": [("agents list", 2, None)],
    "agents --secret list": [("agents", 2, None)],
    "agents secret": [("agents", 2, None)],
    "agents": [("agents", 2, None)],
    "agents list --help": [],
    "--help": [],
    "agents run secret": [("agent run", 0, None)],
    "agents run": [("agents run", 2, None)],
    "agents end exit": [("agents end", 3, None)],
    "agents end abort": [("agents end", 1, None)],
    "agents end crash": [("agents end", 1, None)],
    "api": [("api", 0, None)],
}
CLICK: dict[str, Commands] = {
    **BOTH,
    "agents end interrupt": [("agents end", 1, None)],
    "--fail-early agents list": [("cli", 1, None)],
    "--secret": [("cli", 2, None)],
    "agents both": [("agent run", 0, None), ("agents both", 0, None)],
    "steps one two": [("steps one", 0, None), ("steps two", 0, None), ("steps", 0, None)],
    "steps one --secret": [("steps one", 2, None)],
    "lazy status": [("lazy status", 0, None)],
    "lazy st": [("lazy status", 0, None)],
}
TYPER: dict[str, Commands] = {
    **BOTH,
    "agents end interrupt": [("agents end", 130, None)],
    "--fail-early agents list": [("main", 1, None)],
    "--secret": [("main", 2, None)],
}


def sent(opted_in: Any, fields: Any) -> Commands:
    """Return command, exit code and item count of each event."""
    assert get_tracing_manager().flush(10)
    events = [fields(span) for span in opted_in.spans() if span["name"] == "cli.command"]
    assert all(event["event.success"] is (event["event.exit_code"] == 0) for event in events)
    return [(event["event.command"], event["event.exit_code"], event.get("event.item_count")) for event in events]


@pytest.mark.parametrize("line", CLICK)
def test_click(opted_in: Any, fields: Any, line: str) -> None:
    """Each command line has the twin's output, exit code and exception, and is counted as its command."""
    tracked = instrument_click(instrument_click(click_tree()))
    twin, result = CliRunner().invoke(click_tree(), line.split()), CliRunner().invoke(tracked, line.split())
    assert (result.exit_code, result.output, repr(result.exception)) == (
        twin.exit_code, twin.output, repr(twin.exception),
    )  # fmt: skip
    # The twin's function that is tracked independently is counted, too.
    assert sent(opted_in, fields)[1 if line in {"agents run secret", "agents both"} else 0 :] == CLICK[line]
    assert "secret" not in str(opted_in.requests)
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("line", TYPER)
def test_typer(opted_in: Any, fields: Any, line: str) -> None:
    """The same holds for a Typer app, which has exceptions of its own."""
    tracked, runner = instrument_typer(instrument_typer(typer_app())), typer.testing.CliRunner()
    twin, result = runner.invoke(typer_app(), line.split()), runner.invoke(tracked, line.split())
    assert (result.exit_code, result.output, repr(result.exception)) == (
        twin.exit_code, twin.output, repr(twin.exception),
    )  # fmt: skip
    assert sent(opted_in, fields)[1 if line == "agents run secret" else 0 :] == TYPER[line]
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("line", ["agents end crash", "agents end abort"])
def test_only_a_crash_is_an_error(opted_in: Any, fields: Any, line: str) -> None:
    """An unexpected exception is an error of its class; Ctrl-D, Ctrl-C and exit codes are not."""
    CliRunner().invoke(instrument_click(click_tree()), line.split())
    assert get_tracing_manager().flush(10)
    errors = [fields(span)["event.error_type"] for span in opted_in.spans() if span["name"] == "agent.error"]
    assert errors == (["ValueError"] if "crash" in line else [])


def test_a_part_is_a_child(opted_in: Any) -> None:
    """A tracked command that another invokes is an event in its trace, with it as the parent."""
    CliRunner().invoke(instrument_click(click_tree()), ["agents", "both"])
    assert get_tracing_manager().flush(10)
    part, whole = opted_in.spans()
    assert (part["traceId"], part["parentSpanId"]) == (whole["traceId"], whole["spanId"])
    assert "parentSpanId" not in whole


def test_a_name_that_is_not_listed_is_hashed(opted_in: Any, fields: Any) -> None:
    """A command that a group made of a user's input is not sent."""
    assert CliRunner().invoke(instrument_click(click_tree()), ["lazy", "hidden-secret"]).exit_code == 0
    ((command, code, _),) = sent(opted_in, fields)
    assert command.startswith("custom-")
    assert code == 0
    assert "secret" not in str(opted_in.requests)


def test_results_and_exceptions_without_standalone_mode(opted_in: Any, fields: Any) -> None:
    """Called from code, the group returns and raises the same as without us."""
    group = instrument_click(click_tree())
    assert group.main(["agents", "list"], standalone_mode=False) == [0, 1, 2]
    assert group.main(["agents", "end", "exit"], standalone_mode=False) == 3
    with pytest.raises(click.NoSuchOption):
        group.main(["agents", "list", "--secret"], standalone_mode=False)
    with pytest.raises(ValueError, match="secret"):
        group.main(["agents", "end", "crash"], standalone_mode=False)
    assert [code for _, code, _ in sent(opted_in, fields)] == [0, 3, 2, 1]


def test_the_tree_looks_as_before() -> None:
    """Classes are subclasses that look like the class; help, completion and copies work."""
    twin, group = click_tree(), instrument_click(click_tree())
    assert isinstance(group, click.Group)
    assert (repr(group), type(group).__name__, type(group).__module__) == (repr(twin), "Group", type(twin).__module__)
    assert CliRunner().invoke(group, ["--help"]).output == CliRunner().invoke(twin, ["--help"]).output
    completion = {"_CLI_COMPLETE": "bash_complete", "COMP_WORDS": "cli agents ", "COMP_CWORD": "2"}
    outputs = [CliRunner().invoke(each, prog_name="cli", env=completion).output for each in (group, twin)]
    assert outputs[0] == outputs[1]
    assert "plain,list" in outputs[0]
    other = copy.copy(group)
    other.help = "another"
    assert "another" in CliRunner().invoke(other, ["--help"]).output


def test_completion_is_not_counted(opted_in: Any, fields: Any) -> None:
    """A shell that asks for completions runs nothing."""
    completion = {"_CLI_COMPLETE": "bash_complete", "COMP_WORDS": "cli agents list ", "COMP_CWORD": "3"}
    CliRunner().invoke(instrument_click(click_tree()), prog_name="cli", env=completion)
    assert sent(opted_in, fields) == []


def test_one_command_is_a_tree_too(opted_in: Any, fields: Any) -> None:
    """A program of a single command, of click or of Typer, counts as that command."""
    app = typer.Typer()

    @app.command()
    def typed() -> None:
        """Do nothing."""

    command = instrument_click(click.Command("clicked", callback=lambda: None))
    instrument_typer(app)
    assert CliRunner().invoke(command).exit_code == 0
    assert typer.testing.CliRunner().invoke(app).exit_code == 0
    assert sent(opted_in, fields) == [("clicked", 0, None), ("typed", 0, None)]


def test_commands_that_come_later(opted_in: Any, fields: Any) -> None:
    """A Typer app and a click group may get more commands after `instrument`."""
    app = instrument_typer(typer_app())
    group = instrument_click(click_tree())
    app.command("later")(lambda: None)
    group.add_command(click.Command("later", callback=lambda: None))
    assert typer.testing.CliRunner().invoke(app, ["later"]).exit_code == 0
    assert CliRunner().invoke(group, ["later"]).exit_code == 0
    assert sent(opted_in, fields) == [("later", 0, None)] * 2


WRONG: list[tuple[Any, Any, type[Exception], str]] = [
    (instrument_click, None, TypeError, "click command or group, not NoneType"),
    (instrument_click, click.Group, TypeError, "click command or group, not type"),
    (instrument_click, typer.Typer(), TypeError, "not Typer; instrument_typer"),
    (instrument_typer, click.Group(), TypeError, "Typer app, not Group"),
    (instrument_typer, typer.Typer(), ValueError, "has none"),
]


@pytest.mark.parametrize(("instrument", "target", "error", "words"), WRONG)
def test_wrong_use_is_one_clear_error(instrument: Any, target: Any, error: type[Exception], words: str) -> None:
    """An object that is not a command tree is refused at once."""
    with pytest.raises(error, match=words):
        instrument(target)


def test_importing_loads_no_typer() -> None:
    """The integration needs no Typer, and does not import it if it is installed."""
    code = "import sys, automagik_telemetry.integrations.click; sys.exit('typer' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Listing(click.Group):
    """A group whose commands are files of the user."""

    names: ClassVar[list[str]] = []

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the registered commands and the files."""
        return [*super().list_commands(ctx), *self.names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of any name."""
        return super().get_command(ctx, cmd_name) or click.Command(cmd_name, callback=lambda: None)


@pytest.mark.fault(98)
def test_commands_that_are_listed_later(opted_in: Any, fields: Any) -> None:
    """After the first event, a name that a group lists or gets is sent as a hash. Registered ones are declared."""
    group = instrument_click(Listing("cli"))
    group.add_command(click.Command("first", callback=lambda: None))
    group.add_command(click.Command("second", callback=lambda: None))
    Listing.names = ["early"]
    for name in ("first", "second", "early"):
        assert CliRunner().invoke(group, [name]).exit_code == 0
    size = len(allowlist)
    Listing.names = ["of-a-user"]
    group.add_command(click.Command("also-later", callback=lambda: None))
    for name in ("of-a-user", "also-later"):
        assert CliRunner().invoke(group, [name]).exit_code == 0
    names = [name for name, _, _ in sent(opted_in, fields)]
    assert names[:2] == ["first", "second"]
    assert all(name.startswith("custom-") for name in names[2:])
    assert len(allowlist) == size
