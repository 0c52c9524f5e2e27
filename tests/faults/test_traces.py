"""A trace arrives with its process or the next, for any lifetime of the process and any latency of the endpoint."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.export._spool import open_spool
from automagik_telemetry.export._stats import DeliveryStats
from tests.faults.bench import Bench, Sink
from tests.faults.process import run
from tests.faults.sending import ids
from tests.faults.server import Distant, Endpoint, certificate, closed_port, reply

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

COMMAND = """
from automagik_telemetry.tracing.spans import open_span
root = open_span(os.environ["NAME"], "agent", input="hi")
time.sleep(float(os.environ.get("TAKES", "1")))
root.end()
emit("last")
"""
COMMANDS = 3
Record = "Callable[[str, object], None]"


def variables(url: str) -> dict[str, str]:
    """Return the settings that opt in to traces alone."""
    return {"AUTOMAGIK_TELEMETRY_ENABLED": "false", "LANGWATCH_API_KEY": "sk-lw-test", "LANGWATCH_ENDPOINT": url}


@pytest.mark.fault(84)
def test_traces_of_commands_arrive_over_a_distance(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With TLS and a round trip of 200 ms, each command's trace arrives with it or with the next."""
    files = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with Endpoint(tls=context) as endpoint, Distant(endpoint, 0.1) as distant:
        known = variables(f"https://127.0.0.1:{distant.port}") | {"SSL_CERT_FILE": files[0]}
        for number in range(COMMANDS):
            ended = run("", COMMAND, NAME=f"run {number}", **known)
            assert (ended.status, ended.lines) == (0, ["last"])
            record_property("exit traced command", f"{ended.seconds:.2f} s")
        assert run("", "emit(tracing.flush(20))", **known).lines == ["True"]
    bodies = b"".join(request.body for request in endpoint.requests)
    assert all(f'"run {number}"'.encode() in bodies for number in range(COMMANDS))
    assert len(set(endpoint.accepted)) == COMMANDS


@pytest.mark.fault(84)
@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_trace_outlives_its_process(end: str) -> None:
    """The next process sends the trace once, in whichever way the first one ends."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    run("", f"{COMMAND}\n{end}", NAME="run", TAKES="0", **variables(url))
    with Endpoint(port=port) as endpoint:
        assert run("", "emit(tracing.flush(20))", **variables(url)).lines == ["True"]
    assert len(endpoint.accepted) == 1


@pytest.mark.fault(84)
def test_an_idle_worker_sends_at_once(tmp_path: Path) -> None:
    """An event does not wait for a batch; events right after a request share the next one."""
    made = Bench(tmp_path / "state", Sink(), schedule_delay=0.0)
    made.log(0)
    made.tick()
    assert made.metrics()["processed"] == 1
    made.log(1)
    made.log(2)
    made.pass_time(0.1)
    assert made.sink.attempts == [ids(0)]
    made.pass_time(0.1)
    assert made.sink.attempts == [ids(0), ids(1, 2)]
    made.pass_time(1.0)
    made.log(3)
    made.tick()
    assert made.sink.attempts[2:] == [ids(3)]


@pytest.mark.fault(84)
@pytest.mark.parametrize("for_traces", [True, False])
def test_what_is_too_old_is_dropped_for_other_destinations_too(tmp_path: Path, *, for_traces: bool) -> None:
    """A trace is dropped after a day, an event after a week, even if no process sends there; both are counted."""
    spool = open_spool(str(tmp_path / "state"), "langwatch", "elsewhere", for_traces=for_traces)
    assert spool is not None
    days = 2 if for_traces else 8
    for age in (0, days):
        file = spool.create()
        file.write(b"{\n{},\n{},\n", 0)
        path = Path(file.path)
        file.close()
        path.rename(path.with_name(f"{int((time.time() - age * 86_400) * 1000):013d}{path.name[13:]}"))
    Bench(tmp_path / "state", Sink()).tick()
    assert spool.waiting()[:2] == (1, 2)
    assert spool.totals().dropped == {"expired": 2}


@pytest.mark.fault(84)
def test_commands_of_ours_list_and_purge_what_waits() -> None:
    """`status` and `doctor` count traces that wait, with and without the key; `purge` deletes them."""
    from click.testing import CliRunner

    from automagik_telemetry.cli import main

    with Endpoint(reply(503)) as endpoint:
        run("", COMMAND, NAME="run", TAKES="0", **variables(endpoint.url))
    (path,) = Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*-traces/*.json")
    size = len(path.read_bytes().rstrip(b"\0"))
    said = CliRunner().invoke(main, ["status", "-v"]).output
    assert "delivery of traces" in said
    assert f"queued on disk: {size:,} bytes in 1 batch" in said
    assert (
        f"1 trace queued in 1 batch, {size:,} bytes, held until it is on."
        in CliRunner().invoke(main, ["doctor"]).output
    )
    CliRunner().invoke(main, ["purge"])
    assert not path.exists()
    assert "purged" not in CliRunner().invoke(main, ["status", "-v"]).output
    assert "1 deleted by `automagik-telemetry purge`" in CliRunner().invoke(main, ["status", "-v"]).output


def test_status_counts_what_waits_and_not_what_is_allocated(tmp_path: Path) -> None:
    """A live segment is a file of a mebibyte, and two events in it are less than a kibibyte."""
    made = Bench(tmp_path / "state", Sink())
    made.log(0, 1)
    spool = made.pipeline.spool
    assert spool is not None
    segments, events, size = spool.waiting()
    assert (segments, events) == (1, 2)
    assert 300 < size < 1024 < spool.usage()
    other = DeliveryStats()
    assert not spool.drop(other, spool.names()[0], "purged"), "it is held"
