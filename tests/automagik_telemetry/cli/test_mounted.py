"""Our commands in an application's own command line: they are about this application alone."""

from __future__ import annotations

import json
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry import telemetry_commands
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _commands as commands
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Scope
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from tests.automagik_telemetry.conftest import Receiver

pytestmark = pytest.mark.slow

BOOKS = "http://127.0.0.1:9"
CONFIGURES = f'configure(service_name="bookshop", endpoint="{BOOKS}/v1/traces")'
SHOP = Scope("bookshop", BOOKS)
PROGRAMS = {
    "click": f"""#!{sys.executable}
import click
from automagik_telemetry import configure, instrument, telemetry_commands
{CONFIGURES}

@click.group()
def cli():
    pass

@cli.command("list")
def list_books():
    click.echo("3 books")

cli.add_command(telemetry_commands())
instrument(cli)
cli()
""",
    "typer": f"""#!{sys.executable}
import typer
from automagik_telemetry import configure, instrument, telemetry_typer
{CONFIGURES}
app = typer.Typer()

@app.command("list")
def list_books():
    typer.echo("3 books")

app.add_typer(telemetry_typer())
instrument(app)
app()
""",
}


class Shop:
    """An installed application."""

    def __init__(self, folder: Path, program: str) -> None:
        path = folder / "bookshop"
        path.write_text(program)
        path.chmod(0o755)
        self.variables = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            **{name: os.environ[name] for name in ("AUTOMAGIK_STATE_DIR", "XDG_CONFIG_HOME", "HOME")},
        }

    def __call__(self, *words: str, columns: int = 80, code: int = 0, **variables: str) -> str:
        """Run a command on a terminal; return its output."""
        found, output = on_terminal(
            ["bookshop", *words], {**self.variables, "TERM": "dumb", **variables}, columns=columns
        )
        assert found == code, output
        return output

    def telemetry(self, *words: str) -> Any:
        """Run a command of ours in it; return its output as JSON."""
        return json.loads(self("telemetry", *words, "--json"))


@pytest.fixture(params=PROGRAMS)
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An application with click, and one with Typer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shop = Shop(folder, PROGRAMS[request.param])
    monkeypatch.setenv("PATH", shop.variables["PATH"])
    return shop


def test_commands_are_about_this_application_alone(shop: Shop) -> None:
    """Another application's choice and status stay as they are."""
    CliRunner().invoke(main, ["on", "bakery", "--endpoint", "https://bread.example"])
    bakery = Scope("bakery", "https://bread.example")
    assert "bakery" not in shop("telemetry")
    (state,) = shop.telemetry("on")
    assert (state["application"], state["on"], state["reason"]) == (
        "bookshop",
        True,
        "you ran `bookshop telemetry on`",
    )
    shop("list")  # makes the ID
    assert [each["application"] for each in shop.telemetry("status")["applications"]] == ["bookshop"]
    assert [each["application"] for each in shop.telemetry("level", "error")] == ["bookshop"]
    assert preferences.load().level(SHOP) == 40
    assert preferences.load().level(bakery) is None
    shop("telemetry", "off")
    assert preferences.load().refusal(SHOP) is not None
    assert preferences.load().of(bakery).enabled
    assert "Deleted 0 queued batches" in shop("telemetry", "purge")
    assert "anonymous IDs of bookshop are reset" in shop("telemetry", "reset-id")
    for command in ("on", "off", "purge", "reset-id"):
        assert "No such option" in shop("telemetry", command, "--import", "x", code=2)
        assert "Got unexpected extra argument" in shop("telemetry", command, "bakery", code=2)


@pytest.mark.fault(93)
@pytest.mark.parametrize("command", ["off", "purge", "reset-id"])
def test_what_is_queued_is_deleted_and_not_sent(shop: Shop, command: str, receiver: Receiver) -> None:
    """The command sends nothing, though the recipient answers, and is not tracked itself."""
    shop.variables["AUTOMAGIK_TELEMETRY_ENDPOINT"] = receiver.url
    shop("telemetry", "on")
    queue = Path(os.environ["AUTOMAGIK_STATE_DIR"], "queue")
    assert not list(queue.rglob("*.json"))
    shop("list", AUTOMAGIK_TRACE_SCHEDULE_DELAY="3600")
    assert list(queue.rglob("*.json"))
    assert "Skipped" not in shop("telemetry", command)
    assert not [*queue.rglob("*.json"), *queue.rglob("*.begun")]
    assert receiver.requests == []
    if command == "off":
        assert shop("list", AUTOMAGIK_TRACE_SCHEDULE_DELAY="3600") == "3 books\n"
        assert not list(queue.rglob("*.json"))


@pytest.mark.parametrize("columns", [80, 60])
def test_the_notice_names_the_own_command(shop: Shop, columns: int) -> None:
    """It has four lines, which wrap, and so do the hints. The run after a grant prints none."""
    printed = shop("list", columns=columns, AUTOMAGIK_TELEMETRY_ENABLED="true")
    assert " ".join(printed.split()) == (
        f"bookshop sends usage data with a random ID to {BOOKS}. Never your texts, arguments or paths. Nothing has "
        "been sent yet. To opt out: bookshop telemetry off, or DO_NOT_TRACK=1 To read "
        "more: bookshop telemetry events 3 books"
    )
    assert max(map(len, printed.splitlines())) <= columns
    assert shop("list", AUTOMAGIK_TELEMETRY_ENABLED="true") == "3 books\n"
    status = shop("telemetry", columns=columns)
    assert "nor by `bookshop telemetry on`" in " ".join(status.split())
    assert "To opt out: bookshop telemetry off" in " ".join(shop("telemetry", "on", columns=columns).split())
    assert shop("list") == "3 books\n"
    assert "The next request of bookshop to http://127.0.0.1:9" in shop("telemetry", "preview")


def test_help(shop: Shop) -> None:
    """Every command is listed, and an unknown one is an error."""
    printed = shop("telemetry", "--help")
    assert all(name in printed for name in ("status", "on", "off", "level", "preview", "events", "purge", "reset-id"))
    assert "Usage: bookshop telemetry on [OPTIONS]" in shop("telemetry", "on", "--help")
    assert "No such command" in shop("telemetry", "bogus", code=2)
    assert "agent.run" in shop("telemetry", "events")


def test_a_name_that_is_no_text() -> None:
    """It is an error that names the argument."""
    with pytest.raises(TypeError, match="name must be a str, got int"):
        telemetry_commands(name=1)  # type: ignore[arg-type]  # what is tested


def test_the_command_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a zip file is its own, and one with a blank in its name is quoted."""
    script = tmp_path / "book shop.pyz"
    script.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setattr("__main__.__spec__", ModuleSpec("__main__", None))
    assert commands.program() == "'book shop.pyz'"
    monkeypatch.setattr("__main__.__spec__", ModuleSpec("bookshop.__main__", None))
    assert commands.program() == "python -m bookshop"


def test_the_path_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the call, else that of the program and the group; ours, if neither is known."""
    monkeypatch.setattr("sys.argv", ["/somewhere/a script of somebody"])
    monkeypatch.setattr("__main__.__spec__", None)
    assert commands.command("off", application="my shop") == "automagik-telemetry off 'my shop'"
    commands.mount("admin telemetry")
    try:
        assert commands.command("off", application="my shop") == "automagik-telemetry off 'my shop'"
        commands.run_as("bookshop admin telemetry")
        assert commands.command("off", application="my shop") == "bookshop admin telemetry off"
    finally:
        commands.forget()
