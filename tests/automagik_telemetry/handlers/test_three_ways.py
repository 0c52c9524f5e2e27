"""Three entry points, one pipeline: the same event gives the same bytes."""

from __future__ import annotations

import logging
import logging.config
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import yaml

import automagik_telemetry
from automagik_telemetry import configure, emit_event, get_tracing_manager
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: dict[str, Any] = {
    "agent_name": "simple",
    "framework": "agno",
    "success": True,
    "duration_ms": 1234.5678,
    "has_multimodal": False,
    "token_count": 123_456,
}
SENT = {
    "event.agent_name": "simple",
    "event.framework": "agno",
    "event.success": True,
    "event.duration_ms": 1230.0,
    "event.has_multimodal": False,
    "event.token_count": 123_000,
}
LOGGING_YAML = Path(automagik_telemetry.__file__).parent.parent / "logging.yaml"


def normal(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without ids, times and attributes of the machine."""
    kept = {key: value for key, value in event.items() if not key.endswith(("Id", "UnixNano"))}
    kept["attributes"] = [pair for pair in event["attributes"] if not pair["key"].startswith(("system.", "log."))]
    return kept


def by_logging() -> None:
    """Log with the standard library."""
    logging.getLogger("automagik.agents").info("agent.run", extra=dict(reversed(FIELDS.items())))


def by_structlog() -> None:
    """Log with structlog."""
    structlog.get_logger("automagik.agents").info("agent.run", **FIELDS)


def by_unnamed_structlog() -> None:
    """Log with a structlog logger that has no name."""
    structlog.get_logger().info("agent.run", **FIELDS)


def by_facade() -> None:
    """Track with the facade."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_event(AgentExecutionEvent(**FIELDS))


WAYS = [by_logging, by_structlog, by_unnamed_structlog, by_facade]


@pytest.mark.parametrize("suffix", ["", "/v1/traces", "/v1/logs"])
def test_same_event_gives_same_bytes(opted_in: Any, fields: Any, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """All three send the declared fields, equal except for ids and times, as spans or as log records."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", opted_in.url + suffix)
    manager = configure()
    for way in WAYS:
        way()
    assert manager.flush(10)
    events = opted_in.records() if suffix == "/v1/logs" else opted_in.spans()
    assert {path for path, _, _ in opted_in.requests} == {suffix or "/v1/traces"}
    assert len(events) == len(WAYS)
    assert all(normal(event) == normal(events[0]) for event in events)
    assert fields(events[0]).items() >= SENT.items()
    unique = "log.record.uid" if suffix == "/v1/logs" else None
    assert len({fields(event)[unique] if unique else event["spanId"] for event in events}) == len(WAYS)


def test_span_says_name_time_and_status(opted_in: Any) -> None:
    """A span has its event's name, duration and success as its name, length and status."""
    telemetry = configure().telemetry
    assert telemetry is not None
    telemetry.track_event(AgentExecutionEvent("simple", "agno", success=True, duration_ms=250))
    telemetry.track_event(AgentExecutionEvent("simple", "agno", success=False, duration_ms=250))
    telemetry.flush(10)
    good, bad = opted_in.spans()
    assert (good["name"], good["kind"]) == ("agent.run", 1)
    assert int(good["endTimeUnixNano"]) - int(good["startTimeUnixNano"]) == 250_000_000
    assert (good["status"]["code"], bad["status"]["code"]) == (1, 2)


def test_resource_says_who_sends(opted_in: Any) -> None:
    """The resource holds only the attributes of the format."""
    manager = configure(service_version="1.2")
    assert manager.telemetry is not None
    by_facade()
    manager.flush(10)
    (resource,) = opted_in.requests[0][2]["resourceSpans"]
    attributes = {pair["key"]: pair["value"]["stringValue"] for pair in resource["resource"]["attributes"]}
    assert attributes == {
        "service.name": "automagik-agents",
        "service.version": "1.2",
        "service.organization": "namastex",
        "user.id": manager.telemetry.anonymous_id,
        "session.id": manager.telemetry.session_id,
        "telemetry.sdk.name": "automagik-telemetry",
        "telemetry.sdk.version": automagik_telemetry.__version__,
        "telemetry.sdk.language": "python",
    }


@pytest.mark.fault(52)
def test_context_is_the_calling_threads(opted_in: Any, fields: Any) -> None:
    """Bound values of contextvars are sent with the context of the logging call."""
    manager = configure()

    def work(framework: str) -> None:
        with structlog.contextvars.bound_contextvars(framework=framework, hidden="no kind, no way out"):
            logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})

    for name in ("agno", "pydantic_ai"):
        thread = threading.Thread(target=work, args=(name,))
        thread.start()
        thread.join()
    structlog.get_logger().info("agent.run", agent_name="simple")
    manager.flush(10)
    assert [fields(span).get("event.framework") for span in opted_in.spans()] == ["agno", "pydantic_ai", None]
    assert "no kind" not in str(opted_in.requests)


def test_file_works_with_the_standard_library_alone(opted_in: Any) -> None:
    """logging.yaml is an ordinary dictConfig file: nothing of ours needs to be called."""
    logging.config.dictConfig(yaml.safe_load(LOGGING_YAML.read_text(encoding="utf-8")))
    by_logging()
    manager = get_tracing_manager()
    by_facade()
    assert manager.flush(10)
    assert len(opted_in.spans()) == 2


def test_our_handler_in_the_hosts_dictconfig(opted_in: Any) -> None:
    """An application that adds our handler to its own configuration needs nothing else, and counts no event twice."""
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "anonymous": {
                "()": "automagik_telemetry.ChainFormatter",
                "processors": [{"()": "automagik_telemetry.Anonymize"}, {"()": "automagik_telemetry.OTLP"}],
            }
        },
        "handlers": {
            "usage": {"()": "automagik_telemetry.telemetry_handler", "level": "INFO", "formatter": "anonymous"}
        },
        "root": {"level": "INFO", "handlers": ["usage"]},
    }
    logging.config.dictConfig(config)
    logging.getLogger("some.app").info("agent.run", extra=FIELDS)
    by_facade()
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 2


def test_applications_own_structlog_stays(opted_in: Any) -> None:
    """An application that configured structlog keeps its configuration; our processor in its chain sends the events."""
    rendered: list[dict[str, Any]] = []

    def render(_logger: object, _method: str, event_dict: Any) -> str:
        rendered.append(dict(event_dict))
        raise structlog.DropEvent

    structlog.configure(processors=[emit_event, render])
    before = structlog.get_config()
    manager = configure()
    assert structlog.get_config() == before
    structlog.get_logger().info("agent.run", **FIELDS)
    structlog.get_logger().info("something of the application's own", place="hunter2")
    assert manager.flush(10)
    assert [normal(span)["name"] for span in opted_in.spans()] == ["agent.run"]
    assert rendered == [
        {"event": "agent.run", **FIELDS},
        {"event": "something of the application's own", "place": "hunter2"},
    ]
    assert manager.telemetry is not None
    assert manager.telemetry.get_metrics()["tracer"]["dropped"] == 0


@pytest.mark.parametrize("on", [True, False])
def test_processor_needs_nothing_else(opted_in: Any, monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    """In a chain that ends in the application's own loggers the one line sends, and the application's output stays."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", str(on))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, emit_event, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if (record.name, record.levelno) != ("automagik_telemetry", logging.INFO):  # where telemetry is sent
                seen.append(record.name)

    handler = Keep()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    structlog.get_logger("some.app").info("agent.run", **FIELDS)
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.run"] * on
    assert seen == ["some.app"]


def test_structlog_through_processor_formatter(opted_in: Any, fields: Any) -> None:
    """Records that structlog wrapped for its own ProcessorFormatter are understood, and not changed."""
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    seen: list[Any] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.msg)

    manager = configure()
    logging.getLogger("automagik").addHandler(Keep())
    structlog.get_logger("automagik.agents").info("agent.run", **FIELDS)
    assert manager.flush(10)
    assert fields(opted_in.spans()[0]).items() >= SENT.items()
    assert seen == [{"event": "agent.run", **FIELDS}]


@pytest.mark.parametrize("name", ["name", "args", "message", "module"])
def test_structlog_field_that_logging_keeps_for_itself(opted_in: Any, name: str) -> None:
    """A field with a name that `logging` refuses does not raise into the application."""
    manager = configure()
    structlog.get_logger().info("agent.run", **{name: "x"}, **FIELDS)
    assert manager.flush(10)
    assert len(opted_in.spans()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_quieter_logger_means_less_telemetry(opted_in: Any, way: Callable[[], None]) -> None:
    """A logger's level stops events on every path: the level of the used logger, or of ours for tracked events."""
    manager = configure()
    logging.getLogger("automagik" if way is by_logging else "automagik_telemetry.events").setLevel(logging.ERROR)
    way()
    assert manager.flush(10)
    assert opted_in.requests == []
