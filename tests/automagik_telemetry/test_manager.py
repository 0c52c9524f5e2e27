"""The facade: the guide's snippets, the account, and what happens around the host's own logging."""

from __future__ import annotations

import logging
import logging.config
import threading
from typing import Any

import pytest

from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry.events.catalogue import EVENTS
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent, APIRequestEvent, TelemetryEvent


def test_testing_snippet_of_the_guide(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The guide's way to test an integration works as written."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    assert tracing.config.telemetry_enabled is True
    tracing.telemetry.track_feature_usage("test_feature")
    metrics = tracing.telemetry.get_metrics()
    print(f"Events queued: {metrics['tracer']['queued']}")  # noqa: T201 - the guide's own line
    print(f"Events sent: {metrics['tracer']['processed']}")  # noqa: T201 - the guide's own line
    assert capsys.readouterr().out == "Events queued: 1\nEvents sent: 0\n"
    assert metrics["circuit_breaker"]["state"] == "closed"
    assert metrics["feature_usage"] == {"test_feature": 1}
    assert tracing.flush(10)
    assert tracing.telemetry.get_metrics()["tracer"]["processed"] == 1


def test_manager_is_one_per_process() -> None:
    """Threads that ask at the same time get the same manager."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(get_tracing_manager())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_off_by_default() -> None:
    """Without consent there is no facade, and flush and shutdown have nothing to do."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is None
    assert tracing.observability is None
    assert tracing.config.telemetry_enabled is False
    assert tracing.flush(1)
    tracing.shutdown()


def test_each_call_of_the_facade(opted_in: Any, fields: Any) -> None:
    """Every `track_*` sends its event with its fields, at its level."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_agent_run("simple", "agno", success=True, duration_ms=1.0)
    telemetry.track_feature_usage("agents", category="cli")
    telemetry.track_error(error_type="ValueError", component="agent.simple")
    telemetry.track_http_request("GET", "/private/path", 503, 2.0)
    telemetry.track_event(AgentExecutionEvent("simple", "agno", False, 5, anonymous_id="x", session_id="y"))
    telemetry.flush(10)
    run, feature, error, request, failed = opted_in.spans()
    system = {key: value for key, value in fields(run).items() if key.startswith("system.")}
    assert fields(run) == {
        "event.agent_name": "simple",
        "event.framework": "agno",
        "event.success": True,
        "event.duration_ms": 1.0,
        "event.has_multimodal": False,
        **system,
    }
    assert fields(feature) == {"event.feature_name": "agents", "event.category": "cli", **system}
    assert fields(error) == {"event.error_type": "ValueError", "event.component": "agent.simple", **system}
    assert fields(request)["event.endpoint"].startswith("custom-")
    assert fields(request)["event.status_code"] == 503
    assert fields(request)["event.success"] is False
    assert [event["status"]["code"] for event in (run, feature, error, request, failed)] == [1, 0, 2, 2, 2]


def test_account_balances(opted_in: Any) -> None:
    """Queued is processed plus dropped, by reason, plus pending, before and after delivery."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    for number in range(10):
        tracing.telemetry.track_feature_usage(f"feature-{number}")
    tracing.telemetry.track_event("no event")  # type: ignore[arg-type]
    logging.getLogger("automagik.agents").info("a line that is no event")
    for _ in range(2):
        account = tracing.telemetry.get_metrics()["tracer"]
        assert account["queued"] == account["processed"] + account["dropped"] + account["pending"] == 12
        assert account["dropped_by_reason"] == {"unknown_event": 2}
        assert tracing.flush(10)
    assert tracing.telemetry.get_metrics()["tracer"]["processed"] == 10


def test_levels_of_the_dial(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At ERROR only failures leave, and a failure of any event is one."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "ERROR")
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_agent_run("simple", "agno", success=True, duration_ms=1.0)
    telemetry.track_agent_run("simple", "agno", success=False, duration_ms=1.0)
    telemetry.track_event(APIRequestEvent("/x", "GET", 500, 1.0))
    telemetry.track_feature_usage("agents")
    telemetry.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.run", "api.request"]


def test_every_event_says_its_fields_and_kinds() -> None:
    """The catalogue is complete: every event is named, and every field that leaves has a kind and a sentence."""
    names = [event.name for event in EVENTS]
    assert len(set(names)) == len(names) == 10
    for event in EVENTS:
        assert event.__doc__
        assert {"anonymous_id", "session_id"}.isdisjoint(event.kinds())


def test_bad_values_never_raise(opted_in: Any) -> None:
    """Whatever is given to the facade, the caller is not told by an exception."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    nothing: Any = object()
    telemetry.track_agent_run(nothing, nothing, nothing, nothing)
    telemetry.track_feature_usage(nothing, nothing)
    telemetry.track_error(nothing, nothing)
    telemetry.track_http_request(nothing, nothing, nothing, nothing)
    telemetry.track_event(nothing)
    assert telemetry.flush(10)
    account = telemetry.get_metrics()["tracer"]
    assert account["processed"] == 4
    assert "object object" not in str(opted_in.requests)


class Listing(logging.Handler):
    """A handler of the host's that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.seen.append(record.getMessage())


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize(
    ("levels", "logged", "seen"),
    [
        ({}, ("automagik.agents", logging.INFO), False),
        ({}, ("automagik.agents", logging.WARNING), True),
        ({"": logging.DEBUG}, ("automagik.agents", logging.DEBUG), True),
        ({"automagik": logging.DEBUG}, ("automagik.agents", logging.DEBUG), True),
        ({"automagik": logging.ERROR}, ("automagik.agents", logging.WARNING), False),
        ({"automagik.agents": logging.DEBUG}, ("automagik.agents", logging.DEBUG), True),
        ({"automagik.agents": logging.ERROR}, ("automagik.agents", logging.INFO), False),
    ],
)
def test_host_sees_what_it_saw_before(
    opted_in: Any, attached: bool, levels: dict[str, int], logged: tuple[str, int], seen: bool
) -> None:
    """With our sinks attached, the host's own handlers get exactly the lines that they got without us."""
    listing = Listing()
    logging.getLogger().addHandler(listing)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    if attached:
        get_tracing_manager()
    name, level = logged
    logging.getLogger(name).log(level, "a line of the host's")
    assert (listing.seen == ["a line of the host's"]) is seen


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("heard", [False, True])
def test_last_resort_is_as_before(opted_in: Any, monkeypatch: pytest.MonkeyPatch, attached: bool, heard: bool) -> None:
    """A warning that no handler of the host's hears is printed by `logging` as before, and only then."""
    printed = Listing()
    monkeypatch.setattr(logging, "lastResort", printed)
    logging.getLogger().handlers.clear()
    if heard:
        logging.getLogger("automagik.agents").addHandler(logging.NullHandler())
    if attached:
        get_tracing_manager()
    logging.getLogger("automagik.agents").warning("a line of the host's")
    assert printed.seen == ([] if heard else ["a line of the host's"])


def test_host_does_not_see_what_it_did_not_log(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Events of the facade appear on no handler of the host's, and nowhere on its output."""
    listing = Listing()
    logging.getLogger().addHandler(listing)
    logging.getLogger().setLevel(logging.DEBUG)
    for start in (get_tracing_manager, configure):
        telemetry = start().telemetry
        assert telemetry is not None
        telemetry.track_error("ValueError", "api")
        assert telemetry.flush(10)
    assert [line for line in listing.seen if "agent.error" in line] == []
    assert "agent.error" not in "".join(capsys.readouterr())
    assert len(opted_in.spans()) == 2


@pytest.mark.fault(44)
@pytest.mark.parametrize("disable", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_host_configures_logging_after_us(opted_in: Any, disable: bool, named: bool) -> None:
    """The host's dictConfig closes our handler, and may detach it and disable our logger: we go on."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    tracing.telemetry.track_feature_usage("before")
    config: dict[str, Any] = {"version": 1, "disable_existing_loggers": disable}
    if named:
        config["loggers"] = {"automagik": {"level": "INFO", "handlers": []}}
    logging.config.dictConfig(config)
    tracing.telemetry.track_feature_usage("after")
    assert tracing.flush(10)
    assert len(opted_in.spans()) == 2


def test_shutdown_and_on(opted_in: Any) -> None:
    """After a shutdown nothing is sent, nothing is lost, and the next event starts everything again."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    tracing.telemetry.track_feature_usage("first")
    tracing.shutdown()
    assert opted_in.requests == []
    tracing.telemetry.track_feature_usage("second")
    assert tracing.flush(10)
    assert len(opted_in.spans()) == 2


def test_event_class_is_open_to_none_but_ours() -> None:
    """An event that the catalogue does not hold has no kinds, so that nothing of it could leave."""
    assert TelemetryEvent.kinds() == {}


def test_feature_counts_are_bounded(opted_in: Any) -> None:
    """Names without end, and names that are none, neither grow the counts for ever nor raise."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    for number in range(1_010):
        telemetry.track_feature_usage(f"feature-{number}")
    telemetry.track_feature_usage(Hostile())  # type: ignore[arg-type]
    telemetry.track_feature_usage("feature-5")
    counts = telemetry.get_metrics()["feature_usage"]
    assert len(counts) == 1_000
    assert counts["feature-5"] == 2
