"""The doctor says what is wrong, what to do, and by its exit code whether anything is."""

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
    """Return the exit code, and what is said and advised, by its state."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", url)
    result = CliRunner().invoke(main, ["doctor", "--json", "--timeout", "2"], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["well"] == (result.exit_code == 0)
    found: dict[str, list[str]] = {"ok": [], "note": [], "wrong": []}
    for each in told["findings"]:
        assert bool(each["do"]) == (each["state"] == "wrong"), each
        found[each["state"]].append(f"{each['about']}: {each['says']} {each['do']}".rstrip())
    return result.exit_code, found


def test_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request without an event is sent, and exit code 0 says it all."""
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, found["wrong"]) == (0, [])
    assert [request.body for request in endpoint.requests] == [b'{"resourceSpans":[]}']
    assert any("answers in" in line for line in found["ok"])
    assert "clock: agrees with the endpoint's." in found["ok"]


@pytest.mark.parametrize(
    ("answer", "says", "do"),
    [
        (reply(401, b""), "does not accept the key", "Renew"),
        (reply(403, b""), "may not do this", "key"),
        (reply(404, b""), "nothing at this path", "/v1/traces"),
        (reply(429, b""), "asks for patience", "Wait"),
        (reply(503, b""), "out of service", "Wait"),
        (reply(302, b"", location="/login"), "something else answers", "Log in"),
        (reply(200, b"<html>", content_type="text/html"), "something else answers", "Log in"),
        (reply(400, b""), "refuses what is sent", "OTLP"),
        (black_hole, "does not answer in time", "firewalls"),
    ],
)
def test_an_endpoint_that_does_not_take_events(
    answer: Any, says: str, do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plain words, with what to do, and exit code 1."""
    with Endpoint(answer) as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    (wrong,) = found["wrong"]
    assert (code, says in wrong, do in wrong) == (1, True, True), wrong


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9", "nobody listens there"),
        ("http://telemetry.namastex.ai", "its name is unknown"),
        ("localhost:4318", "AUTOMAGIK_TELEMETRY_ENDPOINT='localhost:4318' is not"),
    ],
)
def test_an_endpoint_that_is_not_there(url: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or that is none."""
    code, found = doctor(url, monkeypatch)
    assert code == 1
    assert says in found["wrong"][0]


def test_a_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there should be one with it."""
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url.replace("http", "https"), monkeypatch)
    assert (code, "no secure connection" in found["wrong"][0]) == (1, True), found


def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time that the endpoint says."""

    def late(exchange: Exchange) -> None:
        exchange.date_time_string = lambda *_: formatdate(time.time() - 4000, usegmt=True)  # type: ignore[method-assign]
        reply()(exchange)

    with Endpoint(late) as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, len(found["wrong"])) == (1, 1)
    assert "s ahead of the endpoint's. Set it right" in found["wrong"][0]


def test_a_state_directory_that_is_open_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are not written there, and the advice mends it."""
    place = Path(os.environ[STATE])
    place.mkdir(mode=0o755)
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
        assert (code, len(found["wrong"])) == (1, 1)
        assert "chmod -R go=" in found["wrong"][0]
        place.chmod(0o700)
        assert doctor(endpoint.url, monkeypatch)[0] == 0


def test_a_state_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another must be named."""
    monkeypatch.setenv(STATE, "/proc/nowhere")
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, "AUTOMAGIK_STATE_DIR" in found["wrong"][0]) == (1, True)


def test_events_that_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many, since when, what the last attempts met, and when the next is; `status` says it, too."""
    with Endpoint(reply(503, b"", retry_after="3600")) as endpoint:
        run(endpoint.url, "log(0); tracing.flush(5)")
        for path in Path(os.environ[STATE]).rglob("*.json"):
            path.rename(path.with_name(f"{(time.time_ns() // 10**6) - 3 * 86_400_000:013d}{path.name[13:]}"))
        code, found = doctor(endpoint.url, monkeypatch)
        status = CliRunner().invoke(main, ["status"], catch_exceptions=False).stdout
    assert code == 1
    assert "1 event in 1 batch waits" in found["wrong"][0]
    assert "the oldest for 3.0 days" in found["wrong"][0]
    (note,) = [line for line in found["note"] if line.startswith("telemetry: ")]
    assert "the last attempt failed: HTTP 503; the next is in 3,5" in note or "in 3,600 s" in note
    assert "failing       1 times in a row: HTTP 503" in status


def test_what_was_delivered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every process, in one account; what was dropped by reason."""
    with Endpoint(reply(), reply(400), reply()) as endpoint:
        for number in range(3):
            run(endpoint.url, f"log({number}); tracing.flush(5)")
        code, found = doctor(endpoint.url, monkeypatch)
        (told,) = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)["destinations"]
    assert (code, found["wrong"]) == (0, [])
    assert "telemetry: 1 refused by the endpoint; see the last error." in found["note"]
    assert (told["delivered"], told["dropped"], told["failures"]) == (2, {"rejected": 1}, 0)
    assert told["last_success"] == pytest.approx(time.time(), abs=600)


def test_off_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """And touches nothing."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    with Endpoint() as endpoint:
        code, found = doctor(endpoint.url, monkeypatch)
    assert (code, found["wrong"], endpoint.requests) == (0, [], [])
    assert any("DO_NOT_TRACK is set" in line for line in found["note"])
    assert not Path(os.environ[STATE]).exists()


def test_a_configuration_that_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its place and what is allowed."""
    (tmp_path / "logging.yaml").write_text("version: 2")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(tmp_path / "logging.yaml"))
    code, found = doctor("http://127.0.0.1:9", monkeypatch)
    assert (code, "it must be 1" in found["wrong"][0]) == (1, True)


def test_langwatch_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its endpoint is asked, too, with the key, which is never shown."""
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-planted")
    with Endpoint() as telemetry, Endpoint(reply(401, b"")) as langwatch:
        monkeypatch.setenv("LANGWATCH_ENDPOINT", langwatch.url)
        code, found = doctor(telemetry.url, monkeypatch)
    (wrong,) = found["wrong"]
    assert (code, "langwatch endpoint" in wrong, "Renew" in wrong) == (1, True, True)
    assert langwatch.requests[0].headers["X-Auth-Token"] == "sk-lw-planted"
    assert "planted" not in str(found)
