"""The account on disk: what several processes tell adds up, whatever they find there."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automagik_telemetry.delivery.exporter import ExportResult, Outcome
from automagik_telemetry.delivery.ledger import Ledger
from automagik_telemetry.delivery.told import Teller, Told, read_told
from tests.faults.bench import REJECTED, RETRY, SUCCESS, Bench, Sink

if TYPE_CHECKING:
    from pathlib import Path

NOW = Told(endpoint="http://x", last_success=1.0, last_error=None, failures=0, retry_at=0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a destination's folder."""
    (tmp_path / "queue").mkdir(mode=0o700)
    return tmp_path / "queue"


def counted(processed: int, **dropped: int) -> Ledger:
    """Return a ledger that has counted so much."""
    ledger = Ledger()
    ledger.processed = processed
    ledger.dropped.update(dropped)
    return ledger


def test_processes_add_up(folder: Path) -> None:
    """Each tells what is new since it last did."""
    ledgers = counted(3, rejected=1), counted(4, rejected=1, expired=2)
    tellers = Teller(str(folder)), Teller(str(folder))
    for teller, ledger in zip(tellers, ledgers, strict=True):
        teller.tell(ledger, NOW)
        teller.tell(ledger, NOW)
    ledgers[0].processed += 10
    tellers[0].tell(ledgers[0], NOW)
    told = read_told(str(folder))
    assert (told["processed"], told["dropped"]) == (17, {"rejected": 2, "expired": 2})
    assert stat.S_IMODE((folder / "account").stat().st_mode) == 0o600


def test_a_listener_tells_after_each_request(tmp_path: Path) -> None:
    """What came of it, and when the next may be."""
    made = Bench(tmp_path / "state", Sink(REJECTED), max_export_batch_size=1)
    (folder,) = (tmp_path / "state" / "queue").iterdir()
    made.log(0)
    made.tick()
    assert read_told(str(folder))["dropped"] == {"rejected": 1}
    made.sink.answer = RETRY
    made.log(1)
    made.tick()
    assert (read_told(str(folder))["failures"], read_told(str(folder))["last_success"]) == (1, None)
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    told = read_told(str(folder))
    assert (told["failures"], told["processed"]) == (0, 1)
    assert told["last_success"]
    made.sink.answer = ExportResult(Outcome.RETRY, retry_after=1000.0)
    made.log(2)
    made.tick()
    assert read_told(str(folder))["retry_at"] > told["retry_at"] + 900


@pytest.mark.fault(34)
@pytest.mark.parametrize("fault", ["hard link", "symbolic link", "loose", "directory"])
def test_a_file_that_is_not_ours_alone_is_left_alone(folder: Path, tmp_path: Path, fault: str) -> None:
    """Neither written nor believed; and shipping goes on."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o644 if fault == "loose" else 0o600)
    place = folder / "account"
    if fault == "directory":
        place.mkdir()
    elif fault == "symbolic link":
        place.symlink_to(precious)
    elif fault == "hard link":
        place.hardlink_to(precious)
    else:
        precious.rename(place)
        precious = place
    Teller(str(folder)).tell(counted(1), NOW)
    assert precious.read_text() == "precious"
    assert read_told(str(folder)) == {}


@settings(suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300) | st.sampled_from([b"[]", b"{}", b'{"dropped": {"x": "y"}}', b"null", b"9" * 400]))
def test_whatever_stands_there(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A torn or hostile file counts as none, and is written anew."""
    folder = tmp_path_factory.mktemp("queue")
    descriptor = os.open(folder / "account", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, content)
    os.close(descriptor)
    read_told(str(folder))
    Teller(str(folder)).tell(counted(1), NOW)
    assert read_told(str(folder))["processed"] == 1
