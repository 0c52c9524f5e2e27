"""The test kit: the fixture `telemetry` and the context manager `capture`."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import subprocess
import sys
import threading
import unittest
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from automagik_telemetry import configure, declare, get_tracing_manager
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.integrations.click import track_cli_command
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent
from automagik_telemetry.testing import CapturedTelemetry, Drop, capture, hashed

RUN: dict[str, Any] = {"agent_name": "simple", "framework": "agno", "success": True, "duration_ms": 1234.5}
OWN_FILE = """
version: 1
formatters:
  telemetry:
    (): automagik_telemetry.ChainFormatter
    processors:
      - {(): automagik_telemetry.Anonymize, allowlist: [shopkeeper]}
      - {(): automagik_telemetry.Sample, rate: 0.0}
      - {(): automagik_telemetry.OTLP}
handlers:
  telemetry: {(): automagik_telemetry.telemetry_handler, service_name: shop, formatter: telemetry}
  copy: {class: logging.StreamHandler}
loggers:
  shop: {level: INFO, propagate: false, handlers: [telemetry, copy]}
"""


def log_run(**fields: Any) -> None:
    """Log a run of an agent with the standard library."""
    logging.getLogger("automagik.agents").info("agent.run", extra={**RUN, **fields})


def state() -> dict[str, Any]:
    """Return the state of logging, structlog and the environment that a capture must restore."""
    names = ["", "shop", loggers.LOGGER, "automagik.agents"]
    found = {name: logging.getLogger(name) for name in names} | {
        name: loggers.own(name) for name in loggers.OWN_LOGGERS
    }
    return {
        "loggers": {
            name: (list(each.handlers), each.level, bool(each.propagate), list(each.filters), each.disabled)
            for name, each in found.items()
        },
        "structlog": list(structlog.get_config()["processors"]),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }


def test_each_way_is_captured(telemetry: CapturedTelemetry) -> None:
    """Standard logging, structlog and the facade give the same event, with its fields as they would be sent."""
    log_run()
    structlog.get_logger().info("agent.run", **RUN)
    client = get_tracing_manager().telemetry
    assert client is not None
    client.track_event(AgentExecutionEvent(**RUN))
    assert len(telemetry.events) == 3
    assert {(event.name, event.level, event.sample_rate, event.hashed) for event in telemetry.events} == {
        ("agent.run", logging.INFO, 1.0, ())
    }
    sent = {**RUN, "duration_ms": 1230.0}
    assert [event.fields for event in telemetry.events] == [sent, sent, {**sent, "has_multimodal": False}]
    assert len({event.span_id for event in telemetry.events}) == 3
    assert telemetry.dropped == []


def test_what_is_not_sent_has_a_reason(telemetry: CapturedTelemetry) -> None:
    """An unknown event, an unknown field and a wrong kind are dropped with their reason and the nearest name."""
    mistakes = {"agent_nam": "x", "token_count": "many", "password": "hunter2"}
    log_run(**mistakes)
    logging.getLogger("automagik.agents").info("agent.rum")
    assert set(telemetry.dropped) == {
        Drop("agent.run", "agent_nam", "unknown_field", "agent_name"),
        Drop("agent.run", "token_count", "wrong_kind"),
        Drop("agent.run", "password", "unknown_field"),
        Drop("agent.rum", None, "unknown_event", "agent.run"),
    }
    assert "hunter2" not in str(telemetry.dropped)
    client = get_tracing_manager().telemetry
    assert client is not None
    tracer = client.get_metrics()["tracer"]
    assert (tracer["queued"], tracer["pending"], tracer["storage"]) == (2, 1, "memory")
    assert tracer["dropped_fields"] == {"agent.run.token_count": 1}
    assert get_tracing_manager().flush(1)
    assert client.get_metrics()["tracer"]["processed"] == 1


def test_expected_values_mean_what_is_sent(telemetry: CapturedTelemetry) -> None:
    """Numbers are rounded as in the event, None is a field that is not sent, and a hash is expected by `hashed`."""
    log_run(agent_name="my-agent", duration_ms=timedelta(seconds=1.2345))
    event = telemetry.assert_sent(
        "agent.run", agent_name=hashed("my-agent"), duration_ms=1234.5, token_count=None, success=True
    )
    assert event.hashed == ("agent_name",)
    assert event.fields["agent_name"] == "custom-7983b680f17ccd8b"
    telemetry.assert_sent("agent.run", duration_ms=timedelta(seconds=1.2345))
    telemetry.assert_sent("agent.run", duration_ms=pytest.approx(1234, rel=0.01))
    declare("my-agent")
    log_run(agent_name="my-agent")
    telemetry.assert_sent("agent.run", agent_name="my-agent")


def test_a_failed_assertion_explains(telemetry: CapturedTelemetry) -> None:
    """The message has the nearest event, each difference with its remedy, and everything sent and dropped."""
    log_run(agent_name="someone", colour="red")
    with pytest.raises(AssertionError) as failure:
        telemetry.assert_sent("agent.run", agent_name="someone", duration_ms=5, error_type="KeyError")
    message = str(failure.value)
    for part in (
        "no event 'agent.run' with agent_name='someone', duration_ms=5, error_type='KeyError' was sent.",
        "the hash of 'someone', because that is not on the allowlist",
        "automagik_telemetry.declare('someone')",
        "agent_name=hashed('someone')",
        "duration_ms is 1230.0, expected 5",
        "error_type is not sent, expected 'KeyError'",
        "Sent:\n  agent.run INFO agent_name='custom-",
        "Dropped:\n  agent.run: field colour: unknown_field",
    ):
        assert part in message
    with pytest.raises(AssertionError, match=r"Did you mean 'agent\.run'\?"):
        telemetry.assert_sent("agent.rum")
    with pytest.raises(AssertionError, match=r"nothing was expected to be sent\."):
        telemetry.assert_nothing_sent()
    telemetry.clear()
    telemetry.assert_nothing_sent()
    with pytest.raises(AssertionError, match=r"Sent: nothing\nDropped: nothing"):
        telemetry.assert_sent("agent.run")


def test_traces_are_readable(telemetry: CapturedTelemetry) -> None:
    """A trace has its spans as objects, after secrets were scrubbed."""
    observability = get_tracing_manager().observability
    assert observability is not None
    with observability.trace_agent_run("simple", message_preview="hello") as run:
        with run.span("chat model", type="llm", input="password=hunter2"):
            pass
        run.set_output("bye")
    (trace,) = telemetry.traces
    assert (trace.root.name, trace.root.type, trace.root.input, trace.root.output) == (
        "agent.simple",
        "agent",
        "hello",
        "bye",
    )
    assert trace.root.attributes == {"agent.name": "simple"}
    assert trace.children(trace.root) == [trace.span("chat model")]
    assert trace.span("chat model").input == "password=[scrubbed]"
    assert (trace.root.error, trace.root.model, trace.root.usage) == (None, None, {})
    assert trace.root.duration_ms >= 0
    with pytest.raises(AssertionError, match=r"the trace has agent\.simple, chat model"):
        trace.span("tool")
    with pytest.raises(ZeroDivisionError), observability.trace_agent_run("failing"):
        raise ZeroDivisionError
    assert telemetry.traces[1].root.error is not None
    assert telemetry.traces[1].root.error["type"] == "ZeroDivisionError"
    assert observability.flush(1)


def test_every_trace_is_kept(telemetry: CapturedTelemetry) -> None:
    """Neither the sampling rate nor the budget of a minute drops a trace."""
    observability = get_tracing_manager().observability
    assert observability is not None
    for _ in range(200):
        with observability.trace_agent_run("simple"):
            pass
    assert len(telemetry.traces) == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable",
    [
        *("DO_NOT_TRACK", "OTEL_SDK_DISABLED", "AUTOMAGIK_DISABLE_ALL_TRACING", "CI", "AUTOMAGIK_STATE_DIR"),
        *("AUTOMAGIK_LOGGING_CONFIG", "AUTOMAGIK_TELEMETRY_LEVEL", "AUTOMAGIK_TELEMETRY_ENDPOINT"),
    ],
)
def test_the_developers_settings_do_not_count(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables, the saved choice and the opt-out file of the developer change nothing, and no file is made."""
    monkeypatch.setenv(variable, "ERROR" if variable.endswith("LEVEL") else "1")
    preferences.change(lambda saved: saved.refused(None, "a test"))
    Path("~/.automagik-no-tracing").expanduser().touch()
    files = sorted(tmp_path.rglob("*"))
    before, threads = state(), set(threading.enumerate())
    with capture() as telemetry:
        assert os.environ.get(variable) == (None if variable != "CI" else "1")
        log_run(agent_name="undeclared")
        client = get_tracing_manager().telemetry
        assert client is not None
        assert client.anonymous_id
        assert set(threading.enumerate()) <= threads
    telemetry.assert_sent("agent.run", agent_name=hashed("undeclared"))
    assert state() == before
    assert sorted(tmp_path.rglob("*")) == files


def test_variables_of_the_test_count(telemetry: CapturedTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An opt-out or a level that the test sets itself has its effect."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "ERROR")
    configure()
    log_run()
    telemetry.assert_nothing_sent()
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert configure().telemetry is None
    logging.getLogger("automagik.agents").error("agent.run", extra=RUN)
    telemetry.assert_nothing_sent()


def test_variables_of_the_test_do_not_stay() -> None:
    """A variable of ours that the test sets is removed at the end; others stay."""
    with capture():
        os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "true"
        os.environ["SOME_OTHER"] = "1"
    assert "AUTOMAGIK_TELEMETRY_ENABLED" not in os.environ
    assert os.environ.pop("SOME_OTHER") == "1"


def test_a_manager_of_before_is_on_and_then_as_it_was() -> None:
    """An application that called `configure()` at import keeps its manager, which records during the capture."""
    older, tracing = configure(), configure()
    assert tracing.telemetry is None
    before, attributes = state(), dict(vars(tracing))
    with capture() as telemetry:
        assert get_tracing_manager() is tracing
        for held in (older, tracing):
            assert held.telemetry is not None
            held.telemetry.track_feature_usage("cli")
        assert tracing.observability is not None
    assert len(telemetry.events) == 2
    assert vars(tracing) == attributes
    assert get_tracing_manager() is tracing
    assert state() == before


@pytest.mark.parametrize("when", ["before", "inside"])
def test_a_configuration_of_the_applications_own(when: str, tmp_path: Path) -> None:
    """`configure(path)` before or inside the capture gives the events of that file, unsampled, and is undone."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN_FILE)
    if when == "before":
        configure(path)
    before = state()
    with capture() as telemetry:
        if when == "inside":
            configure(path)
        logging.getLogger("shop").info("agent.run", extra={**RUN, "agent_name": "shopkeeper"})
    telemetry.assert_sent("agent.run", agent_name="shopkeeper")
    assert state() == before
    with capture(sampling=True) as telemetry:
        if when == "inside":
            configure(path)
        logging.getLogger("shop").info("agent.run", extra=RUN)
    assert telemetry.events == []
    assert telemetry.dropped == [Drop("agent.run", None, "sampled")]
    assert state() == before


def test_a_configuration_is_replaced_for_the_test_only(tmp_path: Path) -> None:
    """`configure()` inside the capture replaces the application's file, which applies again afterwards."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN_FILE)
    tracing = configure(path)
    before = state()
    with capture() as telemetry:
        inside = configure()
        assert inside is not tracing
        log_run()
    assert len(telemetry.events) == 1
    assert get_tracing_manager() is tracing
    assert inside.telemetry is None
    assert inside.consent.reason == "the test has ended"
    log_run()
    assert len(telemetry.events) == 1
    assert state() == before


def test_sinks_of_a_dictconfig(telemetry: CapturedTelemetry) -> None:
    """A telemetry handler in the application's own `dictConfig` is captured too."""
    chain = ["ext://automagik_processors.merge_context", {"()": "automagik_telemetry.Anonymize"}]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "chain": {
                    "()": "automagik_telemetry.ChainFormatter",
                    "processors": [*chain, {"()": "automagik_telemetry.OTLP"}],
                }
            },
            "handlers": {"usage": {"()": "automagik_telemetry.telemetry_handler", "formatter": "chain"}},
            "loggers": {"shop": {"level": "INFO", "handlers": ["usage"]}},
        }
    )
    logging.getLogger("shop").info("agent.run", extra=RUN)
    logging.getLogger("shop").handlers.clear()
    assert len(telemetry.events) == 1


def test_an_import_inside_a_test_counts_in_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A module that configures while it is imported, which happens once, is configured in later captures too."""
    from automagik_telemetry import _capture

    request.addfinalizer(lambda: setattr(_capture, "_imported", None))
    path = tmp_path / "own.yaml"
    path.write_text(OWN_FILE)
    (tmp_path / "shop_of_test.py").write_text(
        f"import automagik_telemetry\nautomagik_telemetry.configure({str(path)!r})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = state()
    for _ in range(2):
        with capture() as telemetry:
            import shop_of_test  # type: ignore[import-not-found]  # noqa: F401 - configures

            logging.getLogger("shop").info("agent.run", extra={**RUN, "agent_name": "shopkeeper"})
        telemetry.assert_sent("agent.run", agent_name="shopkeeper")
        assert state() == before
    with capture() as telemetry:
        configure()
        logging.getLogger("shop").info("agent.run", extra=RUN)
    telemetry.assert_nothing_sent()


def test_hashes_of_a_capture_stay_in_it(opted_in: Any, fields: Any) -> None:
    """A capture in a process that sends has its own hash key and sends nothing. Later events have the real key."""

    def name() -> str:
        tracing.flush(10)
        return str(fields(opted_in.spans()[-1])["event.agent_name"])

    tracing = configure()
    log_run(agent_name="undeclared")
    real = name()
    with capture() as telemetry:
        log_run(agent_name="undeclared")
        assert tracing.flush(10)
    telemetry.assert_sent("agent.run", agent_name=hashed("undeclared"))
    assert len(opted_in.spans()) == 1
    assert tracing.telemetry is not None
    assert tracing.telemetry.get_metrics()["tracer"]["queued"] == 1
    log_run(agent_name="undeclared")
    assert name() == real != hashed("undeclared")
    assert len(opted_in.spans()) == 2


@pytest.mark.parametrize("suffix", ["/v1/traces", "/v1/logs"])
def test_both_signals_are_read(suffix: str) -> None:
    """An event is read from an OTLP span and from an OTLP log record."""
    with capture() as telemetry:
        os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = f"http://127.0.0.1:9{suffix}"
        configure()
        log_run()
    assert telemetry.assert_sent("agent.run", **RUN).fields == {**RUN, "duration_ms": 1230.0}


def test_threads_and_tasks(telemetry: CapturedTelemetry) -> None:
    """Events of threads and of asyncio tasks are all captured."""

    async def several() -> None:
        await asyncio.gather(*(asyncio.to_thread(log_run) for _ in range(20)))
        log_run()

    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(telemetry.events) == 84
    assert len({event.span_id for event in telemetry.events}) == 84


def test_a_capture_in_a_capture(telemetry: CapturedTelemetry) -> None:
    """The innermost capture gets the events."""
    with capture() as inner:
        log_run()
        get_tracing_manager().track(AgentExecutionEvent(**RUN))
    log_run(agent_name="undeclared")
    assert (len(inner.events), len(telemetry.events)) == (2, 1)
    telemetry.assert_sent("agent.run", agent_name=hashed("undeclared"))


@pytest.mark.slow
def test_child_processes_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that the test starts is off, though the developer has opted in, and without pytest's variables."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    scope = Scope("automagik-agents", "https://telemetry.namastex.ai")
    preferences.change(lambda saved: saved.granted(scope, "a test"))
    code = "import automagik_telemetry as us; print(us.configure().consent.reason)"
    with capture():
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        printed = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
    assert printed.stdout == "a test run: AUTOMAGIK_TELEMETRY_TESTING is set\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_nothing() -> None:
    """The child of a fork still records into memory, and its events are not the parent's."""
    with capture() as telemetry:
        log_run()
        child = os.fork()
        if not child:
            log_run()
            os._exit(0 if len(telemetry.events) == 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        log_run()
    assert len(telemetry.events) == 2


def test_commands_are_captured(telemetry: CapturedTelemetry) -> None:
    """A tracked command is captured, without a notice."""
    import click

    @click.command()
    @track_cli_command("agent list")
    def list_agents() -> None:
        click.echo("none")

    result = CliRunner().invoke(list_agents, [])
    assert (result.exit_code, result.output) == (0, "none\n")
    telemetry.assert_sent("cli.command", command="agent list", success=True)


def act() -> None:
    """Log what a test may look at: events, warnings, and content in a trace."""
    logging.getLogger("automagik.agents").info("agent.run", extra=RUN)
    logging.getLogger("automagik.agents").warning("agent.run", extra=RUN)
    logging.getLogger("shop").warning("a message")
    observability = get_tracing_manager().observability
    if observability is not None:
        with observability.trace_agent_run("simple", message_preview="content"):
            pass


def seen(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> list[object]:
    """Return what caplog, capsys and assertLogs see."""
    found: list[object] = []
    for level in ("WARNING", "INFO"):
        with caplog.at_level(level):
            caplog.clear()
            act()
            found.append([record.getMessage() for record in caplog.records])
    for name in ("automagik.agents", "automagik", None):
        with unittest.TestCase().assertLogs(name, "INFO") as logs:
            act()
            logging.getLogger("automagik").warning("at least one")
        found.append(logs.output)
    return [*found, capsys.readouterr()]


def test_other_fixtures_see_what_they_would_see(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """caplog, capsys and assertLogs see the same with a capture and without one."""
    before = seen(caplog, capsys)
    with capture() as telemetry:
        inside = seen(caplog, capsys)
    assert inside == before == seen(caplog, capsys)
    assert len(telemetry.events) > 4
    assert "content" not in str(inside)


def test_unittest(request: pytest.FixtureRequest) -> None:
    """The context manager works in a unittest.TestCase, and isolates its tests."""

    class Case(unittest.TestCase):
        def setUp(self) -> None:
            self.telemetry = self.enterContext(capture())

        def test_one(self) -> None:
            """Send an event."""
            log_run()
            self.telemetry.assert_sent("agent.run", agent_name="simple")

        def test_two(self) -> None:
            """Send nothing."""
            self.telemetry.assert_nothing_sent()

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])


def test_no_provider_of_another_distribution_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed provider of traces is not asked, because it would send."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: pytest.fail("asked"))
    with capture() as telemetry:
        observability = get_tracing_manager().observability
        assert observability is not None
        with observability.trace_agent_run("simple"):
            pass
    assert len(telemetry.traces) == 1


def test_an_interpreter_that_can_not_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that can send nothing is one error, and nothing was changed."""
    monkeypatch.setattr("automagik_telemetry.consent._environment._is_subinterpreter", lambda: True)
    with pytest.raises(RuntimeError, match="Telemetry can't be captured: a subinterpreter"), capture():
        pass


@pytest.mark.slow
def test_what_was_queued_before_stays_queued(opted_in: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test that changes consent neither sends nor deletes what the process has queued outside of it."""
    tracing = configure()
    assert tracing.telemetry is not None
    tracing.telemetry.track_feature_usage("agents")
    assert tracing.flush(10)
    tracing.telemetry.track_feature_usage("agents")
    pipeline = loggers.sinks()["telemetry"]._pipeline
    assert pipeline is not None
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    with capture():
        preferences.change(lambda saved: saved.refused(None, "a test"))
        assert not pipeline.flush(1.2)
    assert len(opted_in.spans()) == 1
    assert len(list(tmp_path.rglob("queue/*/*.json"))) == 1
