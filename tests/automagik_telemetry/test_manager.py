"""The facade: documented snippets, metrics, and the application's own logging."""

from __future__ import annotations

import logging
import logging.config
import threading
from typing import TYPE_CHECKING, Any, get_type_hints, is_typeddict

import pytest
import structlog

from automagik_telemetry import ConfigurationError, Metrics, configure, get_tracing_manager
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.events.catalogue import EVENTS
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent, APIRequestEvent, TelemetryEvent
from tests.automagik_telemetry.conftest import fields

if TYPE_CHECKING:
    from pathlib import Path


def test_testing_snippet(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented test of an integration works as written."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    assert tracing.config.telemetry_enabled is True
    tracing.telemetry.track_feature_usage("test_feature")
    metrics = tracing.telemetry.get_metrics()
    print(f"Events queued: {metrics['tracer']['queued']}")  # noqa: T201 - as documented
    print(f"Events sent: {metrics['tracer']['processed']}")  # noqa: T201 - as documented
    assert capsys.readouterr().out == "Events queued: 1\nEvents sent: 0\n"
    assert metrics["circuit_breaker"]["state"] == "closed"
    assert metrics["feature_usage"] == {"test_feature": 1}
    assert tracing.flush(10)
    assert tracing.telemetry.get_metrics()["tracer"]["processed"] == 1


def test_manager_is_one_per_process() -> None:
    """Concurrent threads get the same manager."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(get_tracing_manager())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_off_by_default() -> None:
    """Without consent there is no facade, and flush and shutdown have no effect."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is None
    assert tracing.observability is None
    assert tracing.config.telemetry_enabled is False
    assert tracing.flush(1)
    tracing.shutdown()


def test_track_does_nothing_while_telemetry_is_off() -> None:
    """The manager's `track` needs no test for None: while telemetry is off, it does nothing."""
    get_tracing_manager().track(AgentExecutionEvent("simple", "agno", True, 1.0))
    assert get_tracing_manager().telemetry is None


def test_track_records_an_event(opted_in: Any, fields: Any) -> None:
    """With telemetry on, the event is sent; what is not an event is counted as dropped."""
    manager = get_tracing_manager()
    manager.track(AgentExecutionEvent("simple", "agno", True, 1.0))
    manager.track("no event")  # type: ignore[arg-type]
    assert manager.flush(10)
    (span,) = opted_in.spans()
    assert fields(span)["event.agent_name"] == "simple"
    assert manager.telemetry is not None
    assert manager.telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"unknown_event": 1}


def _shape(kind: Any) -> Any:
    """Return the keys of a TypedDict, with those of the ones inside."""
    if not is_typeddict(kind):
        return None
    return {key: _shape(value) for key, value in get_type_hints(kind).items()}


def _keys(value: Any, shape: Any) -> Any:
    """Return the keys of metrics, as deep as the shape names them."""
    return None if shape is None else {key: _keys(each, shape.get(key)) for key, each in value.items()}


def test_metrics_have_the_documented_shape(opted_in: Any) -> None:
    """Before the first event and after it, `get_metrics()` has exactly the keys of `Metrics`."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    assert _keys(telemetry.get_metrics(), _shape(Metrics)) == _shape(Metrics)
    telemetry.track_feature_usage("agents")
    assert _keys(telemetry.get_metrics(), _shape(Metrics)) == _shape(Metrics)


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


def test_metrics_balance(opted_in: Any) -> None:
    """Queued is processed plus dropped, by reason, plus pending, before and after delivery."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    for number in range(10):
        tracing.telemetry.track_feature_usage(f"feature-{number}")
    tracing.telemetry.track_event("no event")  # type: ignore[arg-type]
    logging.getLogger("automagik.agents").info("a line that is no event")
    for _ in range(2):
        result = tracing.telemetry.get_metrics()["tracer"]
        assert result["queued"] == result["processed"] + result["dropped"] + result["pending"] == 12
        assert result["dropped_by_reason"] == {"unknown_event": 2}
        assert tracing.flush(10)
    assert tracing.telemetry.get_metrics()["tracer"]["processed"] == 10


def test_levels_of_the_dial(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At ERROR only failures are sent, of any event."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "ERROR")
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_agent_run("simple", "agno", success=True, duration_ms=1.0)
    telemetry.track_agent_run("simple", "agno", success=False, duration_ms=1.0)
    telemetry.track_event(APIRequestEvent("/x", "GET", 500, 1.0))
    telemetry.track_feature_usage("agents")
    telemetry.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.run", "api.request"]


def test_every_event_has_fields_and_kinds() -> None:
    """The catalogue is complete: every event has a name, and every field a kind and a sentence."""
    names = [event.name for event in EVENTS]
    assert len(set(names)) == len(names) == 11
    for event in EVENTS:
        assert event.__doc__
        assert {"anonymous_id", "session_id"}.isdisjoint(event.kinds())


def test_bad_values_never_raise(opted_in: Any) -> None:
    """The facade raises nothing, for any arguments."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    nothing: Any = object()
    telemetry.track_agent_run(nothing, nothing, nothing, nothing)
    telemetry.track_feature_usage(nothing, nothing)
    telemetry.track_error(nothing, nothing)
    telemetry.track_http_request(nothing, nothing, nothing, nothing)
    telemetry.track_event(nothing)
    assert telemetry.flush(10)
    result = telemetry.get_metrics()["tracer"]
    assert result["processed"] == 4
    assert "object object" not in str(opted_in.requests)


class Listing(logging.Handler):
    """A handler of the application that stores messages, except for the note of where telemetry is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        if (record.name, record.levelno) != ("automagik_telemetry", logging.INFO):
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
def test_application_receives_its_own_records(
    opted_in: Any, attached: bool, levels: dict[str, int], logged: tuple[str, int], seen: bool
) -> None:
    """With our sinks attached, the application's own handlers get exactly the lines that they got without us."""
    listing = Listing()
    logging.getLogger().addHandler(listing)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    if attached:
        get_tracing_manager()
    name, level = logged
    logging.getLogger(name).log(level, "a line of the application")
    assert (listing.seen == ["a line of the application"]) is seen


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("handled", [False, True])
def test_last_resort_is_as_before(
    opted_in: Any, monkeypatch: pytest.MonkeyPatch, attached: bool, handled: bool
) -> None:
    """A warning without a handler of the application is printed by `logging` as before, and only then."""
    printed = Listing()
    monkeypatch.setattr(logging, "lastResort", printed)
    logging.getLogger().handlers.clear()
    if handled:
        logging.getLogger("automagik.agents").addHandler(logging.NullHandler())
    if attached:
        get_tracing_manager()
    logging.getLogger("automagik.agents").warning("a line of the application")
    assert printed.seen == ([] if handled else ["a line of the application"])


def test_application_does_not_receive_our_records(opted_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Events of the facade are in no handler and in no output of the application."""
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
def test_application_configures_logging_after_us(opted_in: Any, disable: bool, named: bool) -> None:
    """Sending continues after the application's dictConfig closes or detaches our handler, or disables our logger."""
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
    """A shutdown sends what is queued, and the next event starts everything again."""
    tracing = get_tracing_manager()
    assert tracing.telemetry is not None
    tracing.telemetry.track_feature_usage("first")
    assert tracing.shutdown()
    assert len(opted_in.spans()) == 1
    tracing.telemetry.track_feature_usage("second")
    assert tracing.flush(10)
    assert len(opted_in.spans()) == 2


def test_event_class_is_open_to_none_but_ours() -> None:
    """An event outside the catalogue has no kinds, so that none of its fields could be sent."""
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


MISTAKEN = """
version: 1
formatters:
  telemetry:
    (): automagik_telemetry.ChainFormatter
    processors:
      - (): automagik_telemetry.Anonymize
        allowlist: [secret-project]
        events: {shop.opened: {description: A shop opened., fields: {}}}
      - {(): automagik_telemetry.OTLP}
handlers:
  telemetry: {(): automagik_telemetry.telemetry_handler, service_name: shop, formatter: telemetry}
  other: {class: missing.Handler}
loggers:
  automagik: {handlers: [telemetry, other]}
"""


def test_a_rejected_configuration_declares_nothing(opted_in: Any, tmp_path: Path) -> None:
    """Its events, strings and application name have no effect."""
    configure()
    (tmp_path / "mistaken.yaml").write_text(MISTAKEN)
    with pytest.raises(ConfigurationError, match=r"handlers\.other"):
        configure(tmp_path / "mistaken.yaml")
    assert "shop.opened" not in CATALOGUE
    logging.getLogger("automagik").info("feature.used", extra={"feature_name": "secret-project"})
    logging.getLogger("automagik").info("feature.used", extra={"feature_name": "sofia"})
    assert get_tracing_manager().flush(10)
    names = [fields(span)["event.feature_name"] for span in opted_in.spans()]
    assert names[0].startswith("custom-")
    assert names[1] == "sofia"


def test_an_application_drops_our_warnings(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor of its own that drops our records does not end its calls."""
    del opted_in

    def drop(*_: Any) -> Any:
        raise structlog.DropEvent

    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=drop))
    logging.getLogger().addHandler(handler)
    monkeypatch.setenv("AUTOMAGIK_TRACE_BATCH_SIZE", "many")
    assert configure().consent.given
