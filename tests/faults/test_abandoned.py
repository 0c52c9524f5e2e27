"""Work that is under way when its process dies is reported by the next one, once, as abandoned."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.process import run
from tests.faults.server import Endpoint, closed_port, reply

pytestmark = pytest.mark.slow

COMMAND = """
import click
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.cli import track_cli_command

@track_agent("simple")
def agent(end):
    end()

@click.group()
def cli():
    pass

@cli.command()
@track_cli_command("agents work")
def work():
    agent(lambda: None)
    agent(lambda: end(os.environ["END"]))

def end(how):
    eval(how)

try:
    cli(["work"], standalone_mode=False)
except ZeroDivisionError:
    pass
"""
ENDS = {
    "exit": "os._exit(0)",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
}


def variables(url: str) -> dict[str, str]:
    """Return the settings that send both traces and telemetry to one endpoint."""
    return {"LANGWATCH_API_KEY": "sk-lw-test", "LANGWATCH_ENDPOINT": url, "AUTOMAGIK_SAMPLING_RATE": "0"}


def arrived(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return all spans that arrived, each with its attributes as a dict."""
    spans: list[dict[str, Any]] = []
    for request in endpoint.requests:
        for resource in json.loads(request.body)["resourceSpans"]:
            spans += resource["scopeSpans"][0]["spans"]
    for span in spans:
        span["said"] = {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
    return spans


def files() -> list[Path]:
    """Return the files of work that is under way."""
    return list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.begun"))


@pytest.mark.fault(120)
@pytest.mark.parametrize("how", ENDS)
def test_command_whose_process_dies(how: str) -> None:
    """The next process sends the command and the run that was open, as abandoned, whatever ended the first."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    run(url, COMMAND, END=ENDS[how], **variables(url))
    assert {path.stat().st_mode & 0o777 for path in files()} == {0o600}
    with Endpoint(port=port) as endpoint:
        for _ in range(2):  # the second one finds nothing
            assert run(url, "emit(tracing.flush(20))", **variables(url)).lines == ["True"]
    spans = arrived(endpoint)
    (command,) = [span for span in spans if span["name"] == "cli.command"]
    assert (command["said"]["event.command"], command["said"]["event.abandoned"]) == ("agents work", True)
    assert command["said"]["event.success"] is False
    (trace,) = [span for span in spans if span["name"] == "simple"]
    assert (trace["status"], trace["said"]["error.type"]) == (
        {"code": 2, "message": "the process died before the end"},
        "Abandoned",
    )
    assert "abandoned" in trace["said"]["metadata"]
    assert not files()


CALLS = """
from automagik_telemetry.tracing.spans import open_span

root = open_span("run", "agent", input="a question")
root.backdate(60)  # it leaves room for all that is kept
with root.within():
    with open_span("helper", "agent").within():
        open_span("first", "llm", model="gpt-4o", output="the password: hunter2-Zx9", usage={"output_tokens": 3}).end()
        open_span("second", "tool").end(ValueError("no"))
        open_span("third", "tool")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def sent_by_the_next(code: str) -> tuple[bytes, list[dict[str, Any]]]:
    """Return what is on disk after a process that dies, and all spans that the next process sends."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    run(url, code, **variables(url))
    left = b"".join(path.read_bytes() for path in files())
    with Endpoint(port=port) as endpoint:
        assert run(url, "emit(tracing.flush(20))", **variables(url)).lines == ["True"]
    return left, arrived(endpoint)


@pytest.mark.fault(120)
def test_spans_that_had_ended() -> None:
    """The next process sends the trace so far, whole and scrubbed: each span that had ended, and those around it."""
    left, sent = sent_by_the_next(CALLS)
    assert b"first" in left
    assert b"hunter2" not in left
    spans = {span["name"]: span for span in sent}
    assert set(spans) == {"run", "helper", "first", "second"}
    assert {span["traceId"] for span in spans.values()} == {spans["run"]["traceId"]}
    parents = {name: span.get("parentSpanId") for name, span in spans.items()}
    helper = spans["helper"]["spanId"]
    assert parents == {"run": None, "helper": spans["run"]["spanId"], "first": helper, "second": helper}
    assert (spans["first"]["said"]["gen_ai.request.model"], spans["first"]["said"]["gen_ai.usage.output_tokens"]) == (
        "gpt-4o",
        "3",
    )
    assert spans["second"]["status"]["code"] == 2
    assert "unfinished" in spans["helper"]["said"]["metadata"]
    assert not files()


MANY = """
from automagik_telemetry.tracing.spans import open_span

root = open_span("long", "agent")
root.backdate(3_600)
with root.within():
    for number in range(60):
        open_span(f"call {number}", "llm", output="x" * 40_000).end()
runs = [open_span(f"later {number}", "agent") for number in range(50)]
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault(120)
def test_a_long_run_leaves_room_for_others() -> None:
    """The spans that are kept of one run take no room from the beginning of later runs."""
    names = [span["name"] for span in sent_by_the_next(MANY)[1]]
    assert {f"later {number}" for number in range(50)} < set(names)
    assert "call 0" in names
    assert len(set(names)) == len(names)


@pytest.mark.fault(120)
@pytest.mark.parametrize("end", ["None", "sys.exit(3)", "1 / 0"])
def test_command_that_ends(end: str) -> None:
    """A command that returns, exits or fails leaves nothing, and is sent once, without the mark."""
    with Endpoint() as endpoint:
        run(endpoint.url, COMMAND, END=end, **variables(endpoint.url) | {"AUTOMAGIK_SAMPLING_RATE": "1"})
        assert not files()
        assert run(endpoint.url, "emit(tracing.flush(20))", **variables(endpoint.url)).lines == ["True"]
    commands = [span for span in arrived(endpoint) if span["name"] == "cli.command"]
    assert [span["said"].get("event.abandoned") for span in commands] == [None]
    assert "Abandoned" not in str(arrived(endpoint))


@pytest.mark.fault(120)
@pytest.mark.parametrize("off", [{"DO_NOT_TRACK": "1"}, {"AUTOMAGIK_TELEMETRY_ENABLED": "false"}])
def test_opt_out_covers_what_a_dead_process_left(off: dict[str, str]) -> None:
    """Without consent nothing is kept, and what was kept before is not sent."""
    with Endpoint(reply(200)) as endpoint:
        run(endpoint.url, COMMAND, END=ENDS["killed"], **off)
        assert not files()
        run(endpoint.url, COMMAND, END=ENDS["killed"])
        assert len(files()) == 1
        run(endpoint.url, "tracing.flush(20)", **off)
    assert not [span for span in arrived(endpoint) if span["name"] == "cli.command"]


@pytest.mark.fault(120)
def test_consent_that_is_withdrawn_meanwhile() -> None:
    """A variable that is set while the command runs deletes what was kept of it."""
    end = "[os.environ.update(DO_NOT_TRACK='1'), tracing.flush(5), os._exit(0)]"
    with Endpoint() as endpoint:
        run(endpoint.url, COMMAND, END=end)
        assert not files()


@pytest.mark.fault(120)
def test_fork_in_a_request_sends_its_traces_once() -> None:
    """The ended runs of a request are the parent's; a child that ends the request, too, sends none of them."""
    code = """
        from automagik_telemetry.tracing._propagation import SpanContext
        from automagik_telemetry.tracing._scope import Scope
        from automagik_telemetry.tracing.spans import open_span
        request = Scope(SpanContext(), is_unit=True)
        with request.within():
            open_span("done", "agent").end(ValueError("x"))
            pid = os.fork()
        request.end()
        if pid == 0:
            tracing.flush(5)
            os._exit(0)
        os.waitpid(pid, 0)
        emit(tracing.flush(10))
    """
    with Endpoint() as endpoint:
        off = {"AUTOMAGIK_TELEMETRY_ENABLED": "false", "PYTHONWARNINGS": "default"}
        assert run("", code, **{**variables(endpoint.url), **off}).lines == ["True"]
    assert [span["name"] for span in arrived(endpoint)] == ["done"]


DAEMON = """
import click
import time
from automagik_telemetry.integrations.cli import track_cli_command

@click.command()
@track_cli_command("serve")
def serve():
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while not os.path.exists(os.environ["STOP"]):
        time.sleep(0.01)

serve([], standalone_mode=False)
"""


@pytest.mark.fault(120)
def test_command_that_becomes_a_daemon(tmp_path: Path) -> None:
    """It is not reported as abandoned while its child lives, and once when the child ends."""
    port = closed_port()
    url, stop = f"http://127.0.0.1:{port}", tmp_path / "stop"
    assert run(url, DAEMON, STOP=str(stop)).status == 0
    with Endpoint(port=port) as endpoint:
        assert run(url, "emit(tracing.flush(20))").lines == ["True"]
        assert arrived(endpoint) == []
        stop.touch()
        deadline = time.monotonic() + 20
        while not arrived(endpoint) and time.monotonic() < deadline:
            assert run(url, "emit(tracing.flush(20))").lines == ["True"]
    (command,) = arrived(endpoint)
    assert (command["said"]["event.success"], command["said"].get("event.abandoned")) == (True, None)
