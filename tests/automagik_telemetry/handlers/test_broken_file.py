"""An unusable file in AUTOMAGIK_LOGGING_CONFIG causes one warning, telemetry is off, and the application starts."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import automagik_telemetry
from automagik_telemetry import ConfigurationError, configure, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.cli import track_cli_command

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.fault(77)

DEFAULT = (Path(automagik_telemetry.__file__).parent.parent / "logging.yaml").read_text(encoding="utf-8")


def missing(path: Path) -> None:
    """Create nothing."""


def directory(path: Path) -> None:
    """Make a directory."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Make a pipe, whose reader waits for a writer."""
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    """Make a socket."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.close()


def endless(path: Path) -> None:
    """Make a link to an endless device."""
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path)


def holding(content: str | bytes) -> Callable[[Path], None]:
    """Return a function that writes a file with this content."""
    data = content.encode() if isinstance(content, str) else content

    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (missing, "can't be read: No such file"),
    "directory": (directory, "can't be read: Is a directory"),
    "pipe": (pipe, "can't be read: it is not a file"),
    "socket": (a_socket, "can't be read"),
    "endless": (endless, "can't be read: it is not a file"),
    "loop": (loop, "can't be read"),
    "large": (holding(b"#" * 2_000_000), "can't be read: it is larger than"),
    "binary": (holding(b"\x00\xff\xfe" * 10), "not YAML"),
    "empty": (holding(""), "a mapping is needed"),
    "a text": (holding("hello"), "a mapping is needed"),
    "not YAML": (holding("version: ["), "not YAML in line"),
    "not a configuration": (holding("a: 1"), "version"),
    "a mistake": (holding(DEFAULT.replace("level: DEBUG", "level: LOUD", 1)), "handlers.telemetry.level"),
    "a sink that can't be built": (holding(DEFAULT.replace("rate: 1.0", "rate: 7")), "processors[2]"),
}
if os.name == "posix":
    FILES["a path that is too long"] = (missing, "can't be read")


@pytest.fixture(params=FILES)
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opted_in: Any
) -> tuple[Path, str]:
    """Provide the path of an unusable file, named by the variable, and its expected message."""
    make, message = FILES[request.param]
    path = tmp_path / ("x" * 5000 if "too long" in request.param else "mine.yaml")
    make(path)
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(path))
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-key")
    return path, message


def by_configure() -> None:
    """Configure, twice."""
    configure()
    configure()


def by_the_manager() -> None:
    """Ask for the manager."""
    get_tracing_manager()


def by_an_agent() -> None:
    """Track an agent's run."""
    assert track_agent("simple", "agno")(lambda: 7)() == 7


@pytest.mark.parametrize("first", [by_configure, by_the_manager, by_an_agent])
def test_the_application_starts(
    broken: tuple[Path, str], caplog: pytest.LogCaptureFixture, opted_in: Any, first: Callable[[], None]
) -> None:
    """Any first call logs one warning with the variable, file and mistake, and nothing is sent."""
    path, message = broken
    loggers = {name: list(logging.getLogger(name).handlers) for name in ("", "automagik", "automagik.agents")}
    first()
    manager = get_tracing_manager()
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    assert (manager.telemetry, manager.observability, manager.config.telemetry_enabled) == (None, None, False)
    assert manager.flush(1)
    (warning,) = [record for record in caplog.records if record.name == "automagik_telemetry"]
    for said in (warning.getMessage(), manager.consent.reason):
        assert "AUTOMAGIK_LOGGING_CONFIG can't be used: " in said
        assert message in said
        assert str(path)[:100] in said
    assert warning.levelno == logging.WARNING
    assert opted_in.requests == []
    assert {name: logging.getLogger(name).handlers for name in loggers} == loggers


def test_commands_say_so(broken: tuple[Path, str]) -> None:
    """`status`, `doctor` and `flush` name the reason, and a tracked command works."""
    _, message = broken
    status = CliRunner().invoke(main, ["status", "--json"], catch_exceptions=False)
    sinks = json.loads(status.stdout)["sinks"]
    assert (status.exit_code, [sink["on"] for sink in sinks]) == (0, [False, False])
    assert all(message in sink["reason"] for sink in sinks)
    doctor = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    assert (doctor.exit_code, message in doctor.output) == (1, True)
    assert "nothing is sent: AUTOMAGIK_LOGGING_CONFIG can't be used" in doctor.output
    flush = CliRunner().invoke(main, ["flush"], catch_exceptions=False)
    assert (flush.exit_code, message in flush.output) == (0, True)


def test_an_explicit_call_raises(broken: tuple[Path, str], caplog: pytest.LogCaptureFixture) -> None:
    """`configure(path)` reports the mistake to its caller, without a warning."""
    path, message = broken
    with pytest.raises(ConfigurationError) as caught:
        configure(path)
    assert message in str(caught.value)
    assert caplog.records == []


def test_a_tracked_command_works(
    opted_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command returns its own result, and prints nothing of ours."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(tmp_path / "none.yaml"))

    @track_cli_command("agent run")
    def command() -> int:
        return 7

    assert command() == 7
    assert capsys.readouterr() == ("", "")


def test_a_file_that_breaks_later(opted_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks that were attached before stop sending, and another call with a good file starts them again."""
    path = tmp_path / "mine.yaml"
    path.write_text(DEFAULT, encoding="utf-8")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(path))
    assert configure().telemetry is not None
    path.write_text("version: 2", encoding="utf-8")
    assert configure().telemetry is None
    logging.getLogger("automagik.agents").info("agent.run")
    path.write_text(DEFAULT, encoding="utf-8")
    assert configure().telemetry is not None
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 1


def test_a_home_that_nobody_has(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of a missing user counts as a missing file."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", "~nobody-at-all/logging.yaml")
    assert "a relative path is not allowed" in configure().consent.reason


@pytest.mark.skipif(sys.platform == "darwin", reason="whose file systems refuse such names")
def test_a_path_that_is_not_text(
    opted_in: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler of the application can write the warning."""
    monkeypatch.setitem(os.environb, b"AUTOMAGIK_LOGGING_CONFIG", b"/no/\xff\n.yaml")
    logging.basicConfig(force=True)
    configure()
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert r"/no/\udcff .yaml: can't be read" in written
