"""The name, version, organization and endpoint of an application: their sources, and what each process sends."""

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
from automagik_telemetry import (
    OTLP,
    Anonymize,
    ChainFormatter,
    ConfigurationError,
    configure,
    get_tracing_manager,
    telemetry_handler,
)
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _application as application
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events.catalogue import FeatureUsageEvent

YAML = """
version: 1
formatters:
  telemetry:
    (): automagik_telemetry.ChainFormatter
    processors: [{(): automagik_telemetry.Anonymize}, {(): automagik_telemetry.OTLP}]
handlers:
  telemetry:
    (): automagik_telemetry.telemetry_handler
    service_name: from-yaml
    service_version: 2-yaml
    organization: org-yaml
    formatter: telemetry
loggers:
  automagik: {level: INFO, handlers: [telemetry]}
"""
SOURCES = str(Path(automagik_telemetry.__file__).parents[1])


def resource(receiver: Any) -> dict[str, str]:
    """Send an event, and return the resource of its request."""
    manager = get_tracing_manager()
    manager.track(FeatureUsageEvent("memory"))
    assert manager.flush(10)
    (found,) = receiver.requests[-1][2]["resourceSpans"]
    return {pair["key"]: pair["value"]["stringValue"] for pair in found["resource"]["attributes"]}


def in_process(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has `folder` on its path, and the environment of the test."""
    path = os.pathsep.join([str(folder), SOURCES, str(Path(SOURCES, "processors"))])
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": path, "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.1", **variables}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    """A configuration that names its application."""
    path = tmp_path / "logging.yaml"
    path.write_text(YAML)
    return path


def test_sources_in_their_order(opted_in: Any, yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument precedes a handler's parameter, then come our variables, then those of OpenTelemetry."""
    found = []
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=otel-list,service.version=5-otel,host.name=laptop")
    configure()
    found.append(resource(opted_in))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "otel-name")
    configure()
    found.append(resource(opted_in))
    monkeypatch.setenv("AUTOMAGIK_SERVICE_NAME", "ours")
    monkeypatch.setenv("AUTOMAGIK_SERVICE_VERSION", "4-ours")
    configure()
    found.append(resource(opted_in))
    configure(yaml)
    found.append(resource(opted_in))
    configure(yaml, service_name="argument", service_version="1-argument", organization="org-argument")
    found.append(resource(opted_in))
    assert [each["service.name"] for each in found] == ["otel-list", "otel-name", "ours", "from-yaml", "argument"]
    versions = [each["service.version"] for each in found]
    assert versions == ["5-otel", "5-otel", "4-ours", "2-yaml", "1-argument"]
    organizations = [each.get("service.organization") for each in found]
    assert organizations == [None, None, None, "org-yaml", "org-argument"]
    assert {each["telemetry.sdk.language"] for each in found} == {"python"}
    assert "laptop" not in str(opted_in.requests)


def test_an_applications_own_handler_has_the_arguments_too(opted_in: Any) -> None:
    """A handler that the application makes after `configure()` sends under the name that this was given."""
    configure(service_name="shop")
    sink = telemetry_handler(service_name="other")
    sink.setFormatter(ChainFormatter([Anonymize(), OTLP()]))
    assert sink.build().spool is not None
    found = [path.read_text() for path in Path(os.environ["AUTOMAGIK_STATE_DIR"]).glob("queue/*/application")]
    assert found == ["shop"]


def test_applications_have_queues_of_their_own(opted_in: Any) -> None:
    """Each name has its folder, which holds the name."""
    for name in ("shop", "bank"):
        configure(service_name=name)
        resource(opted_in)
    found = {path.read_text() for path in Path(os.environ["AUTOMAGIK_STATE_DIR"]).glob("queue/*/application")}
    assert found == {"shop", "bank"}


def test_the_default_endpoint_belongs_to_one_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name and without an endpoint there is no sink, no file and no id, and `consent` has the reason."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    manager = configure(service_name="shop")
    assert manager.telemetry is None
    assert not manager.consent.given
    assert manager.consent.reason == (
        "shop has no telemetry endpoint, because the default one belongs to automagik-agents; "
        "pass one to configure(endpoint=...) or set AUTOMAGIK_TELEMETRY_ENDPOINT"
    )
    assert manager.config.telemetry_enabled is False
    logging.getLogger("automagik.shop").info("feature.used", extra={"feature_name": "memory"})
    assert not Path(os.environ["AUTOMAGIK_STATE_DIR"]).exists()
    assert configure().telemetry is not None
    assert configure(service_name="automagik-agents").telemetry is not None
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    assert configure().telemetry is None
    assert get_tracing_manager().telemetry is None


def test_endpoints_in_their_order(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument is used, with the signal of its path; the variable overrides it."""
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENDPOINT")
    configure(service_name="shop", endpoint=f"{opted_in.url}/v1/logs")
    get_tracing_manager().track(FeatureUsageEvent("memory"))
    assert get_tracing_manager().flush(10)
    assert [record["eventName"] for record in opted_in.records()] == ["feature.used"]
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", f"{opted_in.url}/there")
    configure(service_name="shop", endpoint="http://127.0.0.1:9")
    resource(opted_in)
    assert [path for path, _, _ in opted_in.requests] == ["/v1/logs", "/there/v1/traces"]


def test_otel_exporter_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint and headers that are meant for OpenTelemetry's exporter give telemetry no destination."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    for signal in ("", "TRACES_", "LOGS_"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}HEADERS", "authorization=secret")
    assert configure(service_name="shop").telemetry is None


BAD = [
    ({"service_name": ""}, ValueError, "service_name must be a string of 1 to 255 printable characters"),
    ({"service_name": " shop"}, ValueError, "without spaces around it, got ' shop'"),
    ({"service_name": "a\nb"}, ValueError, r"got 'a\\nb'"),
    ({"service_name": "x" * 256}, ValueError, r"\(256 characters\)"),
    ({"service_name": 5}, TypeError, "service_name must be a str, got int"),
    ({"service_version": "\x1b[31m"}, ValueError, "service_version"),
    ({"service_version": 1.2}, TypeError, "service_version must be a str, got float"),
    ({"organization": "\ud800"}, ValueError, "organization"),
    ({"endpoint": "localhost:4318"}, ValueError, "endpoint must be a valid http:// or https:// URL"),
    ({"endpoint": "https://ann:hunter2@host"}, ValueError, r"got 'https://\*\*\*@host'"),
    ({"endpoint": b"http://host"}, TypeError, "endpoint must be a str, got bytes"),
    ({"sample_rate": 2}, ValueError, "sample_rate must be between 0 and 1, got 2"),
    ({"sample_rate": float("nan")}, ValueError, "sample_rate must be between 0 and 1, got nan"),
    ({"sample_rate": "0.5"}, TypeError, "sample_rate must be a number, got str"),
    ({"debug": "loud"}, ValueError, "debug must be True, False or 'verbose', got 'loud'"),
    ({"debug": 1}, ValueError, "debug must be True, False or 'verbose'"),
    ({"allow": "my-agent"}, TypeError, r'allow must be a list of names, such as \["my-agent"\], got str'),
    ({"allow": 7}, TypeError, "allow must be a list"),
    ({"allow": ["ok", ""]}, ValueError, "allow: a declared name must begin with"),
    ({"allow": [b"x"]}, TypeError, "allow: a declared name must be a str, got bytes"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD)
def test_a_bad_argument_is_one_clear_error(arguments: Any, kind: type[Exception], message: str, opted_in: Any) -> None:
    """The error names the argument, never a password, and nothing has changed."""
    before = configure(service_name="shop"), application.given(), set(allowlist)
    with pytest.raises(kind, match=message) as caught:
        configure(**arguments)
    assert "hunter2" not in str(caught.value)
    assert (get_tracing_manager(), application.given(), set(allowlist)) == before


def test_a_mistake_in_the_file_changes_nothing(opted_in: Any, tmp_path: Path) -> None:
    """The arguments of a call that raises are forgotten."""
    configure(service_name="shop")
    (tmp_path / "broken.yaml").write_text("version: 3")
    with pytest.raises(ConfigurationError):
        configure(tmp_path / "broken.yaml", service_name="bank", allow=["not-yet"])
    assert resource(opted_in)["service.name"] == "shop"
    assert "not-yet" not in allowlist


@pytest.mark.parametrize("parameter", ["service_name", "service_version", "organization", "endpoint", "identity"])
def test_a_handlers_parameters_are_checked(parameter: str) -> None:
    """A mistake in logging.yaml is found when the handler is made."""
    with pytest.raises(ValueError, match=f"{parameter} must be"):
        telemetry_handler(**{parameter: "\n"})  # type: ignore[arg-type]  # what is tested


def test_allowed_names_are_sent_verbatim(opted_in: Any, fields: Any) -> None:
    """`allow` adds to the allowlist; other names stay hashes."""
    manager = configure(allow=("my feature", "other"))
    manager.track(FeatureUsageEvent("my feature", "mine"))
    assert manager.flush(10)
    (event,) = map(fields, opted_in.spans())
    assert event["event.feature_name"] == "my feature"
    assert event["event.category"].startswith("custom-")


def test_the_sampling_rate(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument replaces the rate in logging.yaml, except for failures; the variable replaces both."""
    manager = configure(sample_rate=0)
    manager.track(FeatureUsageEvent("memory"))
    assert manager.telemetry is not None
    manager.telemetry.track_error("ValueError", "agent")
    assert manager.telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"sampled": 1}
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "1")
    manager = configure(sample_rate=0)
    manager.track(FeatureUsageEvent("memory"))
    assert manager.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["agent.error", "feature.used"]


def test_status_and_doctor_name_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both report the missing endpoint, by the environment or by the application that `doctor` imports."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("AUTOMAGIK_SERVICE_NAME", "shop")
    status = CliRunner().invoke(main, ["status"]).output
    reason = "shop has no telemetry endpoint, because the default one belongs to automagik-agents; pass one to"
    assert f"shop: off ({reason}" in status
    assert "Would send" not in status
    doctor = CliRunner().invoke(main, ["doctor"])
    assert doctor.exit_code == 0, doctor.output
    assert f"telemetry: off: {reason}" in doctor.output
    enabled = CliRunner().invoke(main, ["enable"]).output
    assert reason in enabled
    monkeypatch.delenv("AUTOMAGIK_SERVICE_NAME")
    (tmp_path / "bakery_application.py").write_text(
        "import automagik_telemetry\nautomagik_telemetry.configure(service_name='bakery')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    doctor = CliRunner().invoke(main, ["doctor", "--import", "bakery_application"])
    assert "telemetry: off: bakery has no telemetry endpoint" in doctor.output
    assert "logging: bakery_application has no sink: bakery has no telemetry endpoint" in doctor.output


def install(folder: Path, distribution: str, package: str, version: str, *, source: Path | None = None) -> None:
    """Lay out a distribution as pip does: one whose package is in `source` is editable."""
    (source or folder).joinpath(package).mkdir(parents=True)
    code = "import automagik_telemetry\ndef start(**given): return automagik_telemetry.configure(**given)\n"
    (source or folder).joinpath(package, "__init__.py").write_text(code)
    (source or folder).joinpath(package, "__main__.py").write_text("from . import start\nstart()\n")
    info = folder / f"{distribution}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nText.\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n" if source is None else "editable.pth,,\n")
    if source is not None:
        (info / "direct_url.json").write_text(f'{{"dir_info": {{"editable": true}}, "url": "{source.as_uri()}"}}')


SEND = (
    "manager.track(FeatureUsageEvent('memory')); assert manager.flush(10)\n"
    "assert 'importlib.metadata' not in set(sys.modules) - theirs\n"
)
IMPORT = (
    "import sys, structlog  # an old one imports importlib.metadata itself\n"
    "theirs = set(sys.modules)\n"
    "from automagik_telemetry.telemetry.cli_events import FeatureUsageEvent\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distribution", "package", "is_editable"),
    [("my_shop", "my_shop", False), ("Acme.Shop", "storefront", False), ("shop", "shop", True), ("acme", "shop", True)],
)
def test_the_version_is_that_of_the_calling_distribution(
    opted_in: Any, tmp_path: Path, distribution: str, package: str, is_editable: bool
) -> None:
    """It is found by the name, the record or the source of the distribution, without `importlib.metadata`."""
    site, source = tmp_path / "site", tmp_path / "my source"
    site.mkdir()
    install(site, "decoy", "decoy", "0.1")
    install(site, distribution, package, "3.1.4rc1", source=source if is_editable else None)
    code = f"import sys; sys.path[:0] = {[str(site), str(source)]!r}\n{IMPORT}"
    code += f"import {package}; manager = {package}.start(service_name='shop')\n{SEND}"
    done = in_process(code, tmp_path)
    assert done.stderr == ""
    assert opted_in.requests, done
    attributes = opted_in.requests[0][2]["resourceSpans"][0]["resource"]["attributes"]
    assert {"key": "service.version", "value": {"stringValue": "3.1.4rc1"}} in attributes


def test_a_script_has_no_version(opted_in: Any, tmp_path: Path) -> None:
    """A module without a distribution has an unknown version, though another distribution has a similar name."""
    install(tmp_path, "main", "main", "9")
    done = in_process(f"{IMPORT}from automagik_telemetry import configure\nmanager = configure()\n{SEND}", tmp_path)
    assert done.stderr == ""
    attributes = opted_in.requests[0][2]["resourceSpans"][0]["resource"]["attributes"]
    assert {"key": "service.version", "value": {"stringValue": "unknown"}} in attributes


def test_a_distribution_of_the_same_name_elsewhere_is_another_one(tmp_path: Path) -> None:
    """A local package is not taken for a distribution of the same name that is installed in another directory."""
    (tmp_path / "site").mkdir()
    install(tmp_path / "site", "shop", "shop", "9")
    (tmp_path / "here" / "shop").mkdir(parents=True)
    (tmp_path / "here" / "shop" / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = {[str(tmp_path / 'here'), str(tmp_path / 'site')]!r}\nimport shop\n"
    code += "from automagik_telemetry.consent._distribution import version_of; print(version_of('shop'))"
    assert in_process(code, tmp_path).stdout == "None\n"


def test_off_looks_up_nothing(tmp_path: Path) -> None:
    """While telemetry is off, `configure` neither looks for a distribution nor imports what does."""
    code = (
        "import sys, automagik_telemetry\nautomagik_telemetry.configure(service_name='shop', organization='acme')\n"
        "print([name for name in sys.modules if name.endswith(('_distribution', '_names', '_debug', 'catalogue'))])"
    )
    assert in_process(code, tmp_path).stdout == "[]\n"
