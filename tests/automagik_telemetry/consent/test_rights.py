"""A user's rights: the old ID is shown once and what carries it is deleted, and an application may send no ID."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.handlers import _loggers as loggers

if TYPE_CHECKING:
    from tests.automagik_telemetry.conftest import Receiver

LOGGING = Path(__file__).parents[3] / "logging.yaml"


def use() -> None:
    """Use a feature."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_feature_usage("an undeclared name")


def files(pattern: str) -> list[Path]:
    """Return the files in the state directory."""
    return list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob(pattern))


def resources(receiver: Receiver) -> list[dict[str, Any]]:
    """Return the attributes of each request's resource."""
    return [
        {each["key"]: each["value"]["stringValue"] for each in resource["resource"]["attributes"]}
        for _, _, body in receiver.requests
        for resource in body["resourceSpans"]
    ]


@pytest.mark.fault(103)
def test_the_old_id_is_shown_once(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that the recipient has. What carries it is deleted, and this process sends no more of it."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    configure(service_name="bookshop")
    use()
    assert get_tracing_manager().flush(10)
    use()
    assert files("queue/*/*.json")
    (sent,) = {each["user.id"] for each in resources(opted_in)}
    done = CliRunner().invoke(main, ["reset-id", "bookshop"])
    assert f"bookshop was {sent} to {opted_in.url}." in done.output
    assert "The anonymous IDs of bookshop are reset.\nDeleted 0 queued batches.\n" in done.output
    assert not files("queue/*/*.json")
    assert not files("secret")
    assert sent not in CliRunner().invoke(main, ["reset-id", "bookshop"]).output
    assert get_tracing_manager().telemetry is None
    configure(service_name="bookshop")
    use()
    assert get_tracing_manager().flush(10)
    assert resources(opted_in)[-1]["user.id"] != sent
    assert len({each["user.id"] for each in resources(opted_in)}) == 2


@pytest.mark.fault(103)
def test_each_recipient_has_another_id(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are shown, as JSON too; those of another application stay."""
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENDPOINT")
    for name, endpoint in (("bookshop", opted_in.url), ("bookshop", "https://b.example"), ("bakery", opted_in.url)):
        configure(service_name=name, endpoint=endpoint)
        use()
    secrets = len(files("secret"))
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    done = json.loads(CliRunner().invoke(main, ["reset-id", "bookshop", "--json"]).stdout)
    assert [each["recipient"] for each in done["old"]] == sorted([opted_in.url, "https://b.example"])
    assert len({each["id"] for each in done["old"]}) == 2
    assert len(files("secret")) == secrets - 1 == 1


RUNS = """
import os, time
from automagik_telemetry import configure
configure(service_name="bookshop").telemetry.track_feature_usage("agents")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_running_program_holds_is_reported(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not deleted, and the command says that it will be sent with the old ID."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", RUNS], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        printed = CliRunner().invoke(main, ["reset-id", "bookshop"]).output
        process.kill()
    assert "Deleted 0 queued batches.\nSkipped 1 batch of running programs, which still send them with" in printed
    assert files("queue/*/*.json")


@pytest.mark.fault(103)
def test_a_variable_hides_no_recipient(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ID and the history are those of the recipient that has data, and not of the one that is named now."""
    configure(service_name="bookshop")
    use()
    assert get_tracing_manager().flush(10)
    (sent,) = {each["user.id"] for each in resources(opted_in)}
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", "https://b.example")
    rows = json.loads(CliRunner().invoke(main, ["history", "bookshop", "--json"]).stdout)
    assert {each["recipient"] for each in rows} == {opted_in.url}
    done = json.loads(CliRunner().invoke(main, ["reset-id", "bookshop", "--json"]).stdout)
    assert done["old"] == [{"application": "bookshop", "recipient": opted_in.url, "id": sent}]


@pytest.mark.parametrize("by", ["file", "variable", "mistyped"])
def test_no_id_is_sent(opted_in: Receiver, by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is none in the request, and none on disk."""
    path = tmp_path / "logging.yaml"
    sink = "(): automagik_telemetry.telemetry_handler "
    text = LOGGING.read_text(encoding="utf-8")
    path.write_text(text.replace(sink, f"identity: none\n    {sink}") if by == "file" else text)
    if by != "file":
        monkeypatch.setenv("AUTOMAGIK_TELEMETRY_IDENTITY", {"variable": "none", "mistyped": "None!"}[by])
    configure(path, service_name="bookshop")
    use()
    assert get_tracing_manager().flush(10)
    (resource,) = resources(opted_in)
    assert resource["service.name"] == "bookshop"
    assert {"user.id", "session.id"}.isdisjoint(resource)
    assert not files("secret")
    assert CliRunner().invoke(main, ["reset-id"]).output == "There are no anonymous IDs.\n"


def test_what_was_queued_before(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events with an ID are not sent by an application without one; those without an ID are sent by any process."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    for before, after, sent in (("random", "none", 0), ("none", "random", 1)):
        monkeypatch.setenv("AUTOMAGIK_TELEMETRY_IDENTITY", before)
        configure(service_name="bookshop")
        use()
        for sink in loggers.sinks().values():
            sink.drain()
        monkeypatch.setenv("AUTOMAGIK_TELEMETRY_IDENTITY", after)
        identity.forget()
        opted_in.requests.clear()
        configure(service_name="bookshop")
        assert get_tracing_manager().flush(10)
        assert len([span for span in opted_in.spans() if span["name"] == "feature.used"]) == sent
