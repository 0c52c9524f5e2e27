"""Without a disk that takes it, an event waits in memory: counted, silent, and never a SIGBUS."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.faults.process import run, sent
from tests.faults.server import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPORT = "; emit(tracing.telemetry.get_metrics()['tracer']['storage']); emit(tracing.flush(15))"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Provide a file system of 256 KiB, less than a segment."""
    place = tmp_path / "small"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode != 0:
        pytest.skip(f"a small file system can't be mounted here: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.fault(30)
def test_a_full_disk(small: Path) -> None:
    """Preallocation fails, so events are kept in memory and sent from there."""
    with Endpoint() as endpoint:
        ended = run(endpoint.url, "log(0); log(1)" + REPORT, AUTOMAGIK_STATE_DIR=str(small / "state"))
        assert ended.lines == ["memory", "True"]
    assert len(endpoint.accepted) == 2


@pytest.mark.fault(30)
def test_a_disk_that_fills_up_under_a_segment(tmp_path: Path, small: Path) -> None:
    """Preallocated space can be written on a full disk: no signal, no loss."""
    assert tmp_path in small.parents
    remounted = subprocess.run(["mount", "-o", "remount,size=3m", str(small)], capture_output=True, check=False)
    assert remounted.returncode == 0
    code = f"""
        log(0)
        try:
            with open({str(small / "filler")!r}, "wb") as filler:
                while True:
                    filler.write(bytes(65536))
                    filler.flush()
        except OSError:
            pass
        for number in range(1, 2500):
            log(number)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, AUTOMAGIK_STATE_DIR=str(small / "state"))
        assert (ended.status, ended.lines) == (0, ["True"])
    assert len(set(endpoint.accepted)) == len(endpoint.accepted) == 2500


@pytest.mark.fault(30)
@pytest.mark.parametrize("state", ["/proc/nowhere", "/dev/null/state"])
def test_no_writable_place(state: str) -> None:
    """Events are sent from memory."""
    with Endpoint() as endpoint:
        ended = run(endpoint.url, "log(0)" + REPORT, AUTOMAGIK_STATE_DIR=state)
        assert ended.lines == ["memory", "True"]
    assert len(endpoint.accepted) == 1


@pytest.mark.fault(34)
def test_a_place_that_is_open_to_others(tmp_path: Path) -> None:
    """It is refused, and nothing is written there."""
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o755)
    with Endpoint() as endpoint:
        ended = run(endpoint.url, "log(0)" + REPORT, AUTOMAGIK_STATE_DIR=str(place))
        assert ended.lines == ["memory", "True"]
    assert len(endpoint.accepted) == 1
    assert list(place.iterdir()) == []


@pytest.mark.fault(30)
def test_a_file_system_that_cannot_be_mapped() -> None:
    """Its segments are buffered, and an event is on disk at the end of the process, a request under way or not."""
    code = """
        from automagik_telemetry.export import _spool as spool
        spool._MAPPABLE = frozenset()
        log(0)
        emit(tracing.telemetry.get_metrics()["tracer"]["storage"])
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["buffered"]
        assert run(endpoint.url, code.rstrip() + "\n        emit(tracing.flush(15))").lines == ["buffered", "True"]
    assert endpoint.accepted == sent(0, 0)
    assert os.environ["AUTOMAGIK_STATE_DIR"]
