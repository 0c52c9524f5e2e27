"""Settings: each is read as declared, and a bad value is one warning that says what is used instead."""

from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest

from automagik_telemetry import settings
from automagik_telemetry.settings import DEFAULT_ENDPOINT, OFF, Settings, describe

GOOD = [
    ("AUTOMAGIK_TELEMETRY_ENABLED", "YES", "telemetry_enabled", True),
    ("AUTOMAGIK_TELEMETRY_ENABLED", " off ", "telemetry_enabled", False),
    ("AUTOMAGIK_TELEMETRY_ENDPOINT", "http://[::1]:4318", "telemetry_endpoint", "http://[::1]:4318"),
    ("AUTOMAGIK_TELEMETRY_LEVEL", "error", "telemetry_level", logging.ERROR),
    ("AUTOMAGIK_TELEMETRY_LEVEL", "Off", "telemetry_level", OFF),
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "true", "disable_all_tracing", True),
    ("DO_NOT_TRACK", "anything", "do_not_track", True),
    ("DO_NOT_TRACK", "0", "do_not_track", False),
    ("OTEL_SDK_DISABLED", "True", "otel_sdk_disabled", True),
    ("AUTOMAGIK_ENABLE_TRACING_IN_CI", "1", "enable_in_ci", True),
    ("AUTOMAGIK_LOGGING_CONFIG", "/etc/logging.yaml", "logging_config", "/etc/logging.yaml"),
    ("AUTOMAGIK_STATE_DIR", "/var/lib/x", "state_dir", "/var/lib/x"),
    ("AUTOMAGIK_TRACE_QUEUE_SIZE", "17", "max_queue_size", 17),
    ("AUTOMAGIK_TRACE_BATCH_SIZE", "1", "batch_size", 1),
    ("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "0.5", "schedule_delay", 0.5),
    ("AUTOMAGIK_TRACE_EXPORT_TIMEOUT", "3", "export_timeout", 3.0),
    ("AUTOMAGIK_SAMPLING_RATE", "0", "default_sampling_rate", 0.0),
    ("AUTOMAGIK_ERROR_SAMPLING_RATE", "1", "error_sampling_rate", 1.0),
    ("AUTOMAGIK_OBSERVABILITY_ENABLED", "no", "observability_enabled", False),
    ("AUTOMAGIK_SLOW_THRESHOLD_MS", "250.5", "slow_threshold_ms", 250.5),
    ("AUTOMAGIK_TRACES_PER_MINUTE", "5", "traces_per_minute", 5),
    ("LANGWATCH_ENDPOINT", "https://here/api/v1/traces", "langwatch_endpoint", "https://here/api/v1/traces"),
    ("LANGWATCH_PROJECT_ID", "project_1", "langwatch_project_id", "project_1"),
]
BAD = [
    ("AUTOMAGIK_TELEMETRY_ENABLED", "maybe", "telemetry_enabled", False),
    ("AUTOMAGIK_TELEMETRY_ENDPOINT", "localhost:4318", "telemetry_endpoint", None),
    ("AUTOMAGIK_TELEMETRY_ENDPOINT", "https://user:secret@host/", "telemetry_endpoint", None),
    ("AUTOMAGIK_TELEMETRY_ENDPOINT", "http://host:99999", "telemetry_endpoint", None),
    ("AUTOMAGIK_TELEMETRY_LEVEL", "LOUD", "telemetry_level", OFF),
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "ja", "disable_all_tracing", True),
    ("OTEL_SDK_DISABLED", "2", "otel_sdk_disabled", True),
    ("AUTOMAGIK_ENABLE_TRACING_IN_CI", "perhaps", "enable_in_ci", False),
    ("AUTOMAGIK_STATE_DIR", "relative", "state_dir", None),
    ("AUTOMAGIK_TRACE_QUEUE_SIZE", "0", "max_queue_size", 100_000),
    ("AUTOMAGIK_TRACE_BATCH_SIZE", "many", "batch_size", 8_000),
    ("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "nan", "schedule_delay", 5.0),
    ("AUTOMAGIK_TRACE_EXPORT_TIMEOUT", "-1", "export_timeout", 10.0),
    ("AUTOMAGIK_SAMPLING_RATE", "1.5", "default_sampling_rate", None),
    ("AUTOMAGIK_ERROR_SAMPLING_RATE", "NaN", "error_sampling_rate", None),
    ("AUTOMAGIK_OBSERVABILITY_ENABLED", "perhaps", "observability_enabled", False),
    ("AUTOMAGIK_SLOW_THRESHOLD_MS", "-1", "slow_threshold_ms", 5_000.0),
    ("AUTOMAGIK_TRACES_PER_MINUTE", "0", "traces_per_minute", 60),
    ("LANGWATCH_ENDPOINT", "app.langwatch.ai", "langwatch_endpoint", None),
    ("LANGWATCH_PROJECT_ID", "two words", "langwatch_project_id", None),
]


@pytest.mark.fault(58)
@pytest.mark.parametrize(("variable", "text", "name", "value"), GOOD)
def test_good_value_is_read(
    variable: str, text: str, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A good value counts, without a word."""
    assert getattr(Settings.from_environ({variable: text}), name) == value
    assert caplog.records == []


@pytest.mark.parametrize(("variable", "text", "name", "value"), BAD)
def test_bad_value_is_one_warning(
    variable: str, text: str, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad value is one warning that names the variable, the value and what is used instead."""
    assert getattr(Settings.from_environ({variable: text}), name) == value
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert variable in message
    assert repr(value) in message
    if "secret" not in text:
        assert repr(text) in message
    assert "secret" not in message


def test_bad_value_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Reading the same environment again does not repeat the warning."""
    for _ in range(3):
        Settings.from_environ({"AUTOMAGIK_TRACE_BATCH_SIZE": "few"})
    assert len(caplog.records) == 1


def test_every_setting_is_in_the_tables() -> None:
    """No setting goes untested, and each describes itself."""
    rows = describe()
    tested = {variable for variable, *_ in GOOD} | {"LANGWATCH_API_KEY"}
    assert {variable for variable, *_ in rows} == tested
    assert all(sentence.endswith(".") and kind for _, kind, _, sentence in rows)


def test_a_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A key that can be read is hidden wherever the settings are written down; one that can't is not in the warning."""
    good = Settings.from_environ({"LANGWATCH_API_KEY": "sk-lw-hidden"})
    assert good.langwatch_api_key is not None
    assert good.langwatch_api_key.reveal() == "sk-lw-hidden"
    for bad in ("sk-lw-hidden\nX-Evil: 1", "sk-lw-hidden two", "sk-lw-hidd\u00e9n"):
        assert Settings.from_environ({"LANGWATCH_API_KEY": bad}).langwatch_api_key is None
    written = [
        repr(good),
        str(good._asdict()),
        json.dumps(good._asdict(), default=str),
        caplog.text,
    ]
    written += [repr(pickle.loads(pickle.dumps(good.langwatch_api_key)).reveal()), repr(copy.copy(good))]  # noqa: S301
    assert "LANGWATCH_API_KEY='***' is not a text of visible ASCII" in caplog.text
    assert not any("hidd" in text for text in written)


def test_defaults_are_as_the_guide_says() -> None:
    """Without a variable nothing is sent, and it would go to the project's endpoint."""
    nothing = Settings.from_environ({})
    assert nothing.telemetry_enabled is None
    assert nothing.telemetry_endpoint == DEFAULT_ENDPOINT
    assert settings.Settings() == nothing
