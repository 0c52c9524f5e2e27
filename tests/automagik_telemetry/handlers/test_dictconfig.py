"""A mistake in logging.yaml is one clear error, with its place and the allowed values, before anything starts."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

import automagik_telemetry
from automagik_telemetry import ConfigurationError, configure, get_tracing_manager
from automagik_telemetry.handlers import _loggers as loggers

SHIPPED = Path(automagik_telemetry.__file__).parent.parent / "logging.yaml"

# The line to replace, its replacement, and the expected parts of the error.
MISTAKES = [
    ("    level: DEBUG\n    formatter: tel", "    level: LOUD\n    formatter: tel",
     ["handlers.telemetry.level", "'LOUD'", "OFF, CRITICAL, ERROR, INFO, DEBUG"]),
    ("    formatter: telemetry", "    formatter: telemtry",
     ["handlers.telemetry.formatter", "'telemtry'", "telemetry, langwatch, json"]),
    ("    formatter: telemetry", "    formatter: json", ["handlers.telemetry.formatter", "ChainFormatter"]),
    ("rate: 1.0", "rate: 2", ["formatters.telemetry.processors[2]", "Sample", "2", "0 to 1"]),
    ("rate: 1.0", "rat: 1.0", ["formatters.telemetry.processors[2]", "rat"]),
    ("automagik_telemetry.Sample ", "automagik_telemetry.Smple ", ["formatters.telemetry.processors[2]", "Smple"]),
    ("ext://automagik_processors.merge_context", "5", ["formatters.telemetry.processors[0]", "5"]),
    ("allowlist: []", "allowlist: simple", ["formatters.telemetry.processors[1]", "'simple'", "list"]),
    ("allowlist: []", "allowlist: [3]", ["formatters.telemetry.processors[1]", "int"]),
    ("      - (): automagik_telemetry.OTLP ", "      - ext://automagik_processors.merge_context # ",
     ["formatters.telemetry.processors[3]", "merge_context", "OTLPSpan, OTLPLogRecord or the encoder"]),
    ("(): automagik_telemetry.telemetry_handler", "(): automagik_telemetry.telemetry_handler\n    endpoint: nowhere",
     ["handlers.telemetry", "endpoint", "'nowhere'", "http"]),
    ("handlers: [telemetry]", "handlers: [telemetree]",
     ["loggers.automagik.handlers", "'telemetree'"]),
    ("version: 1", "version: 2", ["version", "2", "1"]),
    ("version: 1", "version: 1\nhandler: {}", ["handler", "handlers"]),
    ("disable_existing_loggers: false", "disable_existing_loggers: 7", ["disable_existing_loggers", "7"]),
    ("formatters:", "formatters: [", ["not YAML", "line"]),
    ("loggers:\n  automagik: ", "loggers:\n  automagik: 5 #", ["not YAML"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_mistake_is_one_clear_error(opted_in: Any, tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    """The error names the file, the key's path and the bad value, and nothing has been started or changed."""
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    threads = threading.active_count()
    with pytest.raises(ConfigurationError) as caught:
        configure(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message
    assert logging.getLogger("automagik").handlers == []
    assert threading.active_count() == threads
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("content", ["", "[]", "just text"])
def test_file_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    """The error names the other content of a file that is not a mapping."""
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="mapping"):
        configure(path)


def test_file_that_is_missing(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(ConfigurationError, match=r"none\.yaml: can't be read"):
        configure(tmp_path / "none.yaml")


def test_users_own_file_by_variable(opted_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTOMAGIK_LOGGING_CONFIG names the file, for the facade too, and a mistake in it is raised at start-up."""
    path = tmp_path / "mine.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace("level: DEBUG", "level: ERROR", 1), encoding="utf-8")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(path))
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_feature_usage("agents")
    telemetry.track_error("ValueError", "api")
    telemetry.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.error"]


@pytest.mark.parametrize("level", ["OFF", '"OFF"', "'off'.upper()"[:3] + "'"])
def test_bare_off_means_off(opted_in: Any, tmp_path: Path, level: str) -> None:
    """A bare OFF, which YAML reads as false, and a quoted one both close the sink."""
    path = tmp_path / "mine.yaml"
    quoted = level if level.strip("'\"") == "OFF" else "OFF"
    path.write_text(
        SHIPPED.read_text(encoding="utf-8").replace("level: DEBUG", f"level: {quoted}", 1), encoding="utf-8"
    )
    telemetry = configure(path).telemetry
    assert telemetry is not None
    telemetry.track_error("ValueError", "api")
    assert telemetry.flush(10)
    assert opted_in.requests == []


def test_bare_off_with_the_standard_library_alone(opted_in: Any) -> None:
    """The same holds if only logging.config reads the file."""
    import logging.config

    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8").replace("level: DEBUG", "level: OFF", 1))
    assert config["handlers"]["telemetry"]["level"] is False
    logging.config.dictConfig(config)
    logging.getLogger("automagik.agents").critical("agent.run")
    assert get_tracing_manager().flush(10)
    assert opted_in.requests == []


def test_local_file_is_off_until_listed(opted_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON-lines file appears when it is listed, with the event's fields, and not before."""
    monkeypatch.chdir(tmp_path)
    configure()
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    assert not (tmp_path / "automagik-events.jsonl").exists()
    path = tmp_path / "mine.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("[telemetry]", "[telemetry, file]", 1)
    path.write_text(text, encoding="utf-8")
    configure(path)
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    (line,) = (tmp_path / "automagik-events.jsonl").read_text(encoding="utf-8").splitlines()
    written = json.loads(line)
    assert (written["message"], written["agent_name"]) == ("agent.run", "simple")
    for handler in logging.getLogger("automagik").handlers:
        handler.close()


def test_words_of_the_file_leave_verbatim(opted_in: Any, fields: Any, tmp_path: Path) -> None:
    """A name on the file's allowlist is sent as it is; an undeclared one is sent as a hash."""
    path = tmp_path / "mine.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("allowlist: []", "allowlist: [my-agent]", 1)
    path.write_text(text, encoding="utf-8")
    manager = configure(path)
    for name in ("my-agent", "project-x"):
        logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": name})
    manager.flush(10)
    mine, other = [fields(span)["event.agent_name"] for span in opted_in.spans()]
    assert mine == "my-agent"
    assert other.startswith("custom-")
    assert "project-x" not in str(opted_in.requests)


def test_off_is_as_cheap_as_a_disabled_logger() -> None:
    """With telemetry off, no logger of the file makes a record without a handler for it."""
    configure()
    assert not logging.getLogger("automagik.agents").isEnabledFor(logging.INFO)
    assert logging.getLogger("automagik.agents").isEnabledFor(logging.WARNING)


def test_configuring_again_moves_over(opted_in: Any) -> None:
    """A second call replaces the sinks: nothing is lost, nothing is sent twice."""
    for _ in range(3):
        configure()
        logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple"})
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 3


def test_a_replaced_sink_is_detached(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is so where `removeHandler` sets a new list of handlers, too, as newer patch releases of Python do."""

    def remove(self: logging.Logger, hdlr: logging.Handler) -> None:
        self.handlers = [each for each in self.handlers if each is not hdlr]

    monkeypatch.setattr(logging.Logger, "removeHandler", remove)
    configure()
    replaced = loggers.sinks()["telemetry"]
    configure()
    sink = loggers.sinks()["telemetry"]
    assert sink is not replaced
    assert loggers.own(loggers.EVENT_LOGGER).handlers == [sink]


@pytest.mark.parametrize(
    ("variable", "name"),
    [("AUTOMAGIK_SAMPLING_RATE", "feature.used"), ("AUTOMAGIK_ERROR_SAMPLING_RATE", "agent.error")],
)
def test_sampling_by_variable(opted_in: Any, monkeypatch: pytest.MonkeyPatch, variable: str, name: str) -> None:
    """The variables take precedence over the file's rates for their kinds of events, and dropped events are counted."""
    monkeypatch.setenv(variable, "0")
    telemetry = configure().telemetry
    assert telemetry is not None
    for _ in range(20):
        telemetry.track_feature_usage("agents")
        telemetry.track_error("ValueError", "api")
    assert telemetry.flush(10)
    names = [span["name"] for span in opted_in.spans()]
    assert len(names) == 20
    assert name not in names
    assert telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"sampled": 20}
