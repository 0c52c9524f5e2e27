"""The doctor reports each failed check with an action, and by its exit code."""

from __future__ import annotations

import json
import os
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main
from tests.faults.process import run
from tests.faults.server import Endpoint, Exchange, black_hole, reply

STATE = "AUTOMAGIK_STATE_DIR"


@pytest.fixture(autouse=True)
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opt in."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")


def doctor(url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, list[str]]]:
    """Return the exit code, and the findings by status."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", url)
    result = CliRunner().invoke(main, ["doctor", "--json", "--timeout", "2"], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report["ok"] == (result.exit_code == 0)
    found: dict[str, list[str]] = {"ok": [], "note": [], "fail": []}
    for each in report["findings"]:
        assert bool(each["action"]) == (each["status"] == "fail"), each
        found[each["status"]].append(f"{each['subject']}: {each['message']} {each['action']}".rstrip())
    return result.exit_code, found


def test_all_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request without an event is sent, and the exit code is 0."""
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, found["fail"]) == (0, [])
    assert [request.body for request in endpoint.requests] == [b'{"resourceSpans":[]}']
    assert any("success in" in line for line in found["ok"])
    assert "clock: in sync with the endpoint." in found["ok"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "problem", "action"),
    [
        (reply(401, b""), "key not accepted", "Renew"),
        (reply(403, b""), "key without permission", "write access"),
        (reply(404, b""), "no endpoint at this path", "/v1/traces"),
        (reply(429, b""), "too many requests", "Wait"),
        (reply(503, b""), "service unavailable", "Wait"),
        (reply(302, b"", location="/login"), "another server responded", "Log in"),
        (reply(200, b"<html>", content_type="text/html"), "a web page responded", "Log in"),
        (reply(400, b""), "request rejected", "OTLP"),
        (black_hole, "timeout", "firewalls"),
    ],
)
def test_an_endpoint_that_does_not_take_events(
    answer: Any, problem: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is reported with an action, and exit code 1."""
    with Endpoint(answer) as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    (failed,) = found["fail"]
    assert (code, problem in failed, action in failed) == (1, True, True), failed


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://telemetry.namastex.ai", "unknown host name"),
        ("localhost:4318", "AUTOMAGIK_TELEMETRY_ENDPOINT='localhost:4318' is not"),
    ],
)
def test_an_endpoint_that_is_not_there(url: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable or invalid endpoint fails the check."""
    code, found = doctor(url, monkeypatch)
    assert code == 1
    assert problem in found["fail"][0]


def test_a_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An https:// URL of a server without TLS fails the check."""
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url.replace("http", "https"), monkeypatch)
    assert (code, "TLS handshake failed" in found["fail"][0]) == (1, True), found


def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that differs from the Date header of the endpoint fails the check."""

    def late(exchange: Exchange) -> None:
        exchange.date_time_string = lambda *_: formatdate(time.time() - 4000, usegmt=True)  # type: ignore[method-assign]
        reply()(exchange)

    with Endpoint(late) as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, len(found["fail"])) == (1, 1)
    assert "s ahead of the endpoint. Set the clock" in found["fail"][0]


def test_a_state_directory_that_is_open_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are not written there, and the action repairs it."""
    place = Path(os.environ[STATE])
    place.mkdir(mode=0o755)
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
        assert (code, len(found["fail"])) == (1, 1)
        assert "chmod -R go=" in found["fail"][0]
        place.chmod(0o700)
        assert doctor(endpoint.url, monkeypatch)[0] == 0


def test_a_state_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The action is to set another directory."""
    monkeypatch.setenv(STATE, "/proc/nowhere")
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, "AUTOMAGIK_STATE_DIR" in found["fail"][0]) == (1, True)


@pytest.mark.slow
def test_events_that_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number, the age, the last error and the next attempt are reported, also by `status`."""
    with Endpoint(reply(503, b"", retry_after="3600")) as endpoint:
        run(endpoint.url, "log(0); tracing.flush(5)")
        for path in Path(os.environ[STATE]).rglob("*.json"):
            path.rename(path.with_name(f"{(time.time_ns() // 10**6) - 3 * 86_400_000:013d}{path.name[13:]}"))
        code, found = doctor(endpoint.url, monkeypatch)
        status = CliRunner().invoke(main, ["status", "-v"], catch_exceptions=False).stdout
    assert code == 1
    assert "1 event queued in 1 batch" in found["fail"][0]
    assert "the oldest is 3.0 days old" in found["fail"][0]
    (note,) = [line for line in found["note"] if line.startswith("telemetry: ")]
    assert "the last attempt failed: HTTP 503. The next attempt is in 3,5" in note or "in 3,600 s" in note
    assert "failing       1 attempt in a row: HTTP 503" in status


@pytest.mark.slow
def test_deliveries_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries of all processes are added up, and drops are counted by reason."""
    with Endpoint(reply(), reply(400), reply()) as endpoint:
        for number in range(3):
            run(endpoint.url, f"log({number}); tracing.flush(5)")
        code, found = doctor(endpoint.url, monkeypatch)
        (destination,) = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)["destinations"]
    assert (code, found["fail"]) == (0, [])
    assert "telemetry: 1 rejected by the endpoint; see the last error." in found["note"]
    assert (destination["delivered"], destination["dropped"], destination["failures"]) == (2, {"rejected": 1}, 0)
    assert destination["last_success"] == pytest.approx(time.time(), abs=600)


def test_off_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without consent the doctor sends nothing and creates nothing."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, found["fail"], endpoint.requests) == (0, [], [])
    assert any("DO_NOT_TRACK is set" in line for line in found["note"])
    assert not Path(os.environ[STATE]).exists()


def test_a_configuration_that_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error has the place in the file and the allowed value."""
    (tmp_path / "logging.yaml").write_text("version: 2")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(tmp_path / "logging.yaml"))
    code, found = doctor("http://127.0.0.1:9", monkeypatch)
    assert (code, "it must be 1" in found["fail"][0]) == (1, True)


def test_langwatch_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its endpoint is checked as well, with the key, which is never shown."""
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-planted")
    with Endpoint() as telemetry, Endpoint(reply(401, b"")) as langwatch:
        monkeypatch.setenv("LANGWATCH_ENDPOINT", langwatch.url)
        code, found = doctor(telemetry.url, monkeypatch)
    (failed,) = found["fail"]
    assert (code, "langwatch endpoint" in failed, "Renew" in failed) == (1, True, True)
    assert langwatch.requests[0].headers["X-Auth-Token"] == "sk-lw-planted"
    assert "planted" not in str(found)
