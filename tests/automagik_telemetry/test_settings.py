"""Settings: each is read as declared, and an invalid value logs one warning with its effect."""

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
    ("AUTOMAGIK_TELEMETRY_IDENTITY", "none", "telemetry_identity", "none"),
    ("AUTOMAGIK_TELEMETRY_DEBUG", "1", "debug", "print"),
    ("AUTOMAGIK_TELEMETRY_DEBUG", "Verbose", "debug", "verbose"),
    ("AUTOMAGIK_TELEMETRY_DEBUG", "off", "debug", ""),
    ("AUTOMAGIK_SERVICE_NAME", "Ann's shop", "service_name", "Ann's shop"),
    ("AUTOMAGIK_SERVICE_VERSION", "1.2", "service_version", "1.2"),
    ("OTEL_SERVICE_NAME", "shop", "otel_service_name", "shop"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=my%20shop,", "otel_resource", {"service.name": "my shop"}),
    (
        *("OTEL_RESOURCE_ATTRIBUTES", "service%2Ename=a%2Cb%3D%C3%A9,service.version=1=2,x=", "otel_resource"),
        {"service.name": "a,b=\u00e9", "service.version": "1=2"},
    ),
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "true", "disable_all_tracing", True),
    ("AUTOMAGIK_TRACING_ENABLED", "no", "tracing_enabled", False),
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
    ("AUTOMAGIK_TELEMETRY_IDENTITY", "None", "telemetry_identity", "none"),
    ("AUTOMAGIK_TELEMETRY_DEBUG", "verbos", "debug", "print"),
    ("AUTOMAGIK_SERVICE_NAME", "a\tb", "service_name", None),
    ("AUTOMAGIK_SERVICE_VERSION", "1" * 256, "service_version", None),
    ("OTEL_SERVICE_NAME", "a\x1bb", "otel_service_name", None),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name", "otel_resource", None),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=ok,=1", "otel_resource", None),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=100%", "otel_resource", None),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=%FF", "otel_resource", None),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=%0A", "otel_resource", None),
    ("AUTOMAGIK_DISABLE_ALL_TRACING", "ja", "disable_all_tracing", True),
    ("OTEL_SDK_DISABLED", "2", "otel_sdk_disabled", True),
    ("AUTOMAGIK_ENABLE_TRACING_IN_CI", "perhaps", "enable_in_ci", False),
    ("AUTOMAGIK_STATE_DIR", "relative", "state_dir", None),
    ("AUTOMAGIK_TRACE_QUEUE_SIZE", "0", "max_queue_size", 20_000),
    ("AUTOMAGIK_TRACE_BATCH_SIZE", "many", "batch_size", 8_000),
    ("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "nan", "schedule_delay", 5.0),
    ("AUTOMAGIK_TRACE_EXPORT_TIMEOUT", "-1", "export_timeout", 10.0),
    ("AUTOMAGIK_TRACE_EXPORT_TIMEOUT", "1e10", "export_timeout", 10.0),
    ("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "86401", "schedule_delay", 5.0),
    ("AUTOMAGIK_TRACE_QUEUE_SIZE", "1" + "0" * 30, "max_queue_size", 20_000),
    ("AUTOMAGIK_TRACES_PER_MINUTE", "1" + "0" * 400, "traces_per_minute", 60),
    ("AUTOMAGIK_SAMPLING_RATE", "1.5", "default_sampling_rate", None),
    ("AUTOMAGIK_ERROR_SAMPLING_RATE", "NaN", "error_sampling_rate", None),
    ("AUTOMAGIK_OBSERVABILITY_ENABLED", "perhaps", "observability_enabled", False),
    ("AUTOMAGIK_SLOW_THRESHOLD_MS", "-1", "slow_threshold_ms", 5_000.0),
    ("AUTOMAGIK_TRACES_PER_MINUTE", "0", "traces_per_minute", 60),
    ("LANGWATCH_ENDPOINT", "app.langwatch.ai", "langwatch_endpoint", None),
    ("LANGWATCH_PROJECT_ID", "two words", "langwatch_project_id", None),
]

EFFECTS = {
    "AUTOMAGIK_TELEMETRY_ENABLED": "Telemetry is off",
    "AUTOMAGIK_TELEMETRY_ENDPOINT": "Telemetry is off",
    "AUTOMAGIK_TELEMETRY_LEVEL": "Telemetry is off",
    "AUTOMAGIK_TELEMETRY_IDENTITY": "No ID is sent",
    "AUTOMAGIK_TELEMETRY_DEBUG": "Events are printed, and nothing is sent",
    "AUTOMAGIK_DISABLE_ALL_TRACING": "Every sink is off",
    "OTEL_SDK_DISABLED": "Every sink is off",
    "AUTOMAGIK_OBSERVABILITY_ENABLED": "Full traces are off",
    "LANGWATCH_ENDPOINT": "Traces are not sent to LangWatch",
}


@pytest.mark.fault(58)
@pytest.mark.parametrize(("variable", "text", "name", "value"), GOOD)
def test_good_value_is_read(
    variable: str, text: str, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A valid value is used, without a warning."""
    assert getattr(Settings.from_environ({variable: text}), name) == value
    assert caplog.records == []


@pytest.mark.parametrize(("variable", "text", "name", "value"), BAD)
def test_bad_value_is_one_warning(
    variable: str, text: str, name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid value logs one warning with the variable, the value and the effect."""
    assert getattr(Settings.from_environ({variable: text}), name) == value
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert variable in message
    unset = "It is ignored" if value is None else f"Using {value!r}"
    assert message.endswith(f". {EFFECTS.get(variable, unset)}.")
    if "secret" not in text:
        assert ("'***'" if variable == "OTEL_RESOURCE_ATTRIBUTES" else repr(text)) in message
    assert "secret" not in message


def test_bad_value_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
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
    """A valid key is masked in every form of the settings; an invalid one is not in the warning."""
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
    written += [repr(pickle.loads(pickle.dumps(good.langwatch_api_key)).reveal()), repr(copy.copy(good))]  # noqa: S301 - our own pickle
    assert "LANGWATCH_API_KEY='***' is not a string of visible ASCII" in caplog.text
    assert not any("hidd" in text for text in written)


def test_defaults() -> None:
    """Without a variable nothing is sent, and it would go to the project's endpoint."""
    nothing = Settings.from_environ({})
    assert nothing.telemetry_enabled is None
    assert nothing.telemetry_endpoint == DEFAULT_ENDPOINT
    assert settings.Settings() == nothing
