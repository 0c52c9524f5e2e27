"""Development mode prints what would be sent and what is not, with the reason; it sends nothing and makes nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import automagik_telemetry
from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.events.catalogue import AgentExecutionEvent, FeatureUsageEvent, ToolExecutionEvent

OURS = logging.getLogger("automagik_telemetry")
SECRET = "hunter2-s3cr3t"  # noqa: S105 - it is planted
SOURCES = str(Path(automagik_telemetry.__file__).parents[1])
START = "telemetry: Development mode: events are printed, and nothing is sent.\n"


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of a user who was never asked."""
    home = folder / "user"
    home.mkdir()
    path = os.pathsep.join([SOURCES, str(Path(SOURCES, "processors"))])
    given = {"HOME": str(home), "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **given, **variables},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


EVERYTHING = """
import logging, os, sys, threading
from automagik_telemetry import configure
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent
from automagik_telemetry.integrations.click import track_cli_command
tracing = configure({arguments})
telemetry = tracing.telemetry
telemetry.track_event(AgentExecutionEvent("simple", "agno", True, 812.5, anonymous_id=telemetry.anonymous_id))
logging.getLogger("automagik.shop").info("feature.used", extra={{"feature_name": "hunter2-s3cr3t"}})
track_cli_command("agent list")(lambda: ["simple"])()
telemetry.get_metrics(); telemetry.resume()
assert tracing.flush(1) and tracing.shutdown(1)
assert threading.active_count() == 1
assert not tracing.consent.given and tracing.config.telemetry_enabled is False
print(sys.modules.get("httpx"), os.listdir("."))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"AUTOMAGIK_TELEMETRY_DEBUG": "1"},
        {"AUTOMAGIK_TELEMETRY_DEBUG": "1", "DO_NOT_TRACK": "1", "CI": "true"},
        {"AUTOMAGIK_TELEMETRY_DEBUG": "1", "AUTOMAGIK_TELEMETRY_ENABLED": "true", "LANGWATCH_API_KEY": "sk"},
        {"AUTOMAGIK_TELEMETRY_DEBUG": "1", "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"},
        {"AUTOMAGIK_TELEMETRY_DEBUG": "verbose"},
        {},
    ],
)
def test_events_are_printed_and_nothing_is_made(variables: dict[str, str], tmp_path: Path) -> None:
    """Each event is printed, whatever is set, and there is no request, thread, id or file."""
    done = run(EVERYTHING.format(arguments="" if variables else "debug=True"), tmp_path, **variables)
    assert done.stdout == "None []\n", done.stderr
    assert START in done.stderr
    assert "telemetry: agent.run agent_name=simple framework=agno success=true\n    duration_ms=813.0" in done.stderr
    assert "telemetry: feature.used feature_name=custom-" in done.stderr
    assert "feature_name holds a string that is not on the\n    allowlist. It is sent as a hash." in done.stderr
    assert "telemetry: cli.command command=agent list success=true" in done.stderr.replace("'", "").replace("\n   ", "")
    assert SECRET not in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 80


def test_the_missing_endpoint_is_named(tmp_path: Path) -> None:
    """The reason is printed if an application of another name would send nothing."""
    done = run(EVERYTHING.format(arguments="service_name='shop', debug=True"), tmp_path)
    assert done.stderr.startswith(START)
    assert "shop has no\n    telemetry endpoint" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("break_it", ["sys.stderr.close()", "sys.stderr = None", "os.close(2)", "sys.stderr = 5"])
def test_a_stream_that_can_not_be_written_changes_nothing(break_it: str, tmp_path: Path) -> None:
    """A closed or missing stderr raises nothing."""
    code = EVERYTHING.format(arguments="debug=True").replace("tracing = configure", f"{break_it}\ntracing = configure")
    assert run(code, tmp_path).stdout == "None []\n"


def test_each_thing_that_is_not_sent_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are nearly right are corrected, and no value is shown."""
    manager = configure(debug=True)
    assert manager.telemetry is not None
    log = logging.getLogger("automagik.shop")
    log.info("agent.rnu", extra={"agent_name": SECRET})
    log.info("agent_run", extra={"agent_name": SECRET})
    log.info("checkout.finished", extra={"items": SECRET})
    log.info("agent.run", extra={"framwork": SECRET, "success": SECRET, "duration_ms": 1})
    log.info("Customer %s: %s", SECRET, SECRET)
    log.info(f"{SECRET} has paid")  # noqa: G004 - as applications do
    manager.track(ToolExecutionEvent(SECRET))
    manager.track({"event": SECRET})  # type: ignore[arg-type]
    manager.telemetry.log("info", {"event": "agents.run"})
    manager.telemetry.log("info", {"event": f"{SECRET} logged in"})
    log.info("\x1b[31magent.run")
    shown = capsys.readouterr().err
    assert SECRET not in shown
    assert "\x1b" not in shown
    assert shown.replace("\n    ", " ").splitlines()[1:] == [
        "telemetry: agent.rnu is not a declared event and is dropped. Did you mean agent.run?",
        "telemetry: agent_run is not a declared event and is dropped. Did you mean agent.run?",
        (
            "telemetry: checkout.finished is not a declared event and is dropped. "
            "List the declared events: automagik-telemetry events"
        ),
        "telemetry: agent.run duration_ms=1.0",
        "telemetry: agent.run: success is not a valid flag and is dropped",
        "telemetry: agent.run: 'framwork' is not a field of this event and is dropped. Did you mean framework?",
        "telemetry: Messages of automagik.shop that are not events are not sent. This is shown once.",
        "telemetry: tool.executed is not sent, because its level is below INFO, the level of the sink.",
        "telemetry: A dict is not an instance of a declared event class, and is dropped.",
        "telemetry: agents.run is not a declared event and is dropped. Did you mean agent.run?",
        "telemetry: Messages of structlog that are not events are not sent. This is shown once.",
    ]


def test_what_is_sampled_out_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Sampling is part of what would be sent."""
    configure(debug=True, sample_rate=0).track(FeatureUsageEvent("memory"))
    assert "telemetry: feature.used is not sent, because it was sampled out.\n" in capsys.readouterr().err


def test_a_broken_configuration_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file that the environment names can't be used, so that nothing is recorded; the reason is printed."""
    (tmp_path / "broken.yaml").write_text("version: 3")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(tmp_path / "broken.yaml"))
    assert configure(debug=True).telemetry is None
    assert "telemetry: Telemetry is off: AUTOMAGIK_LOGGING_CONFIG can't be used" in capsys.readouterr().err


def test_verbose_sends_as_well(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With consent, each event is printed and sent. After consent is withdrawn, each is reported as not sent."""
    manager = configure(debug="verbose")
    assert manager.consent.given
    manager.track(AgentExecutionEvent("simple", "agno", True, 1.0))
    assert manager.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.run"]
    os.environ["DO_NOT_TRACK"] = "1"
    try:
        manager.track(AgentExecutionEvent("simple", "agno", True, 1.0))
        manager.flush(5)
    finally:
        del os.environ["DO_NOT_TRACK"]
    assert len(opted_in.spans()) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"telemetry: Development mode: events are printed, and sent to\n    {opted_in.url}.\n")
    assert shown.count("telemetry: agent.run agent_name=simple") == 1
    assert "telemetry: agent.run is not sent, because consent was withdrawn.\n" in shown


def test_the_variable_comes_before_the_argument(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable turns off a mode that the code turns on."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_DEBUG", "0")
    assert configure(debug=True).consent.given
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_DEBUG", "1")
    assert not configure().consent.given
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_DEBUG")
    assert configure().consent.given


class Logging:
    """A stream that logs each text, as some applications redirect stderr."""

    def write(self, text: str) -> None:
        """Log the text, below our logger and as an event."""
        logging.getLogger("automagik.stderr").error(text)
        logging.getLogger("automagik.stderr").error("agent.run")

    def flush(self) -> None:
        """Fail."""
        raise RuntimeError


def test_a_stream_that_logs_is_no_recursion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that a stream logs of our output is not printed again."""
    monkeypatch.setattr(sys, "stderr", Logging())
    manager = configure(debug=True)
    manager.track(FeatureUsageEvent("memory"))
    assert manager.telemetry is not None
    assert manager.telemetry.get_metrics()["tracer"]["dropped_by_reason"]["reentrant"] > 0


def test_commands_report_the_mode_and_send_nothing(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` has the reason, and `flush` does not send what earlier processes queued."""
    configure().track(FeatureUsageEvent("memory"))
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_DEBUG", "1")
    configure()
    shown = " ".join(CliRunner().invoke(main, ["status"]).output.split())
    assert "off (development mode, which prints events and sends none)." in shown
    assert "Nothing was sent" in CliRunner().invoke(main, ["flush"]).output
    assert opted_in.requests == []
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_DEBUG")
    configure()
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 1


def test_unknown_names_are_logged_at_debug_in_every_mode(opted_in: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each is logged once, with the nearest name; a message with a value is not."""
    caplog.set_level(logging.DEBUG, "automagik_telemetry")
    manager = configure()
    for _ in range(2):
        logging.getLogger("automagik.shop").info("agent.rnu")
        logging.getLogger("automagik.shop").info(f"{SECRET} has paid")  # noqa: G004 - as applications do
        assert manager.telemetry is not None
        manager.telemetry.log("info", {"event": "featur.used"})
    ours = [
        record.getMessage() for record in caplog.records if record.name == OURS.name and record.levelno < logging.INFO
    ]
    assert ours == [
        "agent.rnu is not a declared event and is dropped. Did you mean agent.run?",
        "featur.used is not a declared event and is dropped. Did you mean feature.used?",
    ]


@pytest.mark.parametrize("variables", [{}, {"DO_NOT_TRACK": "1"}])
def test_development_mode_is_no_permission(
    opted_in: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """A process that has sent events sends none once the mode is on, whatever else is set."""
    tracing = configure()
    tracing.track(FeatureUsageEvent("agents"))
    assert tracing.flush(10)
    for variable, value in {"AUTOMAGIK_TELEMETRY_DEBUG": "1", **variables}.items():
        monkeypatch.setenv(variable, value)
    tracing.track(FeatureUsageEvent("agents"))
    tracing.flush(1)
    assert len(opted_in.spans()) == 1


def test_a_stream_that_logs_events(opted_in: Any) -> None:
    """Standard error may log with structlog, and our processor in its chain finds no manager half made."""
    del opted_in
    code = """
import sys, structlog, automagik_telemetry
class Stream:
    def write(self, text): structlog.get_logger().info("feature.used", feature_name="agents")
    def flush(self): pass
def end(logger, name, event): raise structlog.DropEvent
structlog.configure(processors=[automagik_telemetry.emit_event, end])
sys.stderr = Stream()
tracing = automagik_telemetry.configure(debug=True)
tracing.telemetry.track_feature_usage("agents")
print("done")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "done\n"
