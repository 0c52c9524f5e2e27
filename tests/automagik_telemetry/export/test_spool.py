"""A folder of segments is this user's alone, and a segment is one process's at a time."""

# ruff: noqa: PTH101, PTH102, PTH110, PTH116, PTH123, PTH211 - paths as the spool gives them

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry._private_files import UnsafeDirectoryError, private_directory
from automagik_telemetry.export._spool import Spool, open_spool

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty folder."""
    return Spool(str(tmp_path / "state" / "queue"))


@pytest.mark.fault(34)
def test_files_and_folders_are_private(tmp_path: Path) -> None:
    """The modes are 0700 and 0600 with any umask."""
    before = os.umask(0)
    try:
        spool = open_spool(str(tmp_path / "state"), "sink", "url")
        assert spool is not None
        spool.create()
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").rglob("*")}
    modes[tmp_path / "state"] = stat.S_IMODE((tmp_path / "state").stat().st_mode)
    assert len(modes) == 4
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


@pytest.mark.fault(33, 34)
@pytest.mark.parametrize("level", ["state", "state/queue"])
@pytest.mark.parametrize("fault", ["loose", "link", "foreign", "file"])
def test_a_directory_that_is_not_ours_alone_is_refused(tmp_path: Path, level: str, fault: str) -> None:
    """An unsafe directory is not used or repaired, and events are kept in memory."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place = tmp_path / level
    if level != "state":
        place.mkdir(mode=0o700)
    if fault == "loose":
        place.chmod(0o750)
    elif fault == "foreign":
        if os.geteuid() != 0:
            pytest.skip("only root may give a directory away")
        os.chown(place, 12345, 12345)
    else:
        place.rmdir()
        place.symlink_to(tmp_path / "elsewhere") if fault == "link" else place.write_text("")
    assert open_spool(str(tmp_path / "state"), "sink") is None
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.fault(34)
def test_a_link_with_a_slash_behind_it_is_refused(tmp_path: Path) -> None:
    """A slash at the end would follow the link."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeDirectoryError):
        private_directory(f"{tmp_path}/state/")


def test_a_relative_directory_is_refused() -> None:
    """It would be another one after a chdir."""
    with pytest.raises(UnsafeDirectoryError):
        private_directory("state")


@pytest.mark.fault(32, 33)
def test_a_segment_is_held_until_it_is_closed(spool: Spool) -> None:
    """Neither this process nor another one can lock it meanwhile."""
    file = spool.create()
    (name,) = spool.names()
    other = Spool(spool.directory)
    assert spool.adopt(name) is None
    assert other.adopt(name) is None
    file.close()
    adopted = other.adopt(name)
    assert adopted is not None
    assert spool.adopt(name) is None
    adopted.remove()
    assert spool.adopt(name) is None
    assert spool.names() == []


@pytest.mark.fault(33)
def test_a_child_that_holds_the_descriptor_does_not_hold_the_lock(spool: Spool) -> None:
    """A process that was forked without our hooks has the descriptor too; letting go must not wait for its end."""
    file = spool.create()
    (name,) = spool.names()
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[file.descriptor.number]
    ) as child:
        file.close()
        assert Spool(spool.directory).adopt(name) is not None
        child.communicate()


@pytest.mark.fault(34)
@pytest.mark.parametrize("fault", ["hard link", "symbolic link", "loose", "directory", "fifo"])
def test_a_file_that_is_not_a_segment_of_ours_is_refused(spool: Spool, tmp_path: Path, fault: str) -> None:
    """A special file of any name is ignored, and opening it does not block."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o600)
    path = spool.path(f"{time.time_ns() // 1_000_000:013d}-{'0' * 16}.json")
    if fault == "hard link":
        os.link(precious, path)
    elif fault == "symbolic link":
        os.symlink(precious, path)
    elif fault == "directory":
        os.mkdir(path, 0o700)
    elif fault == "fifo":
        os.mkfifo(path, 0o600)
    else:
        spool.create().close()
        (name,) = spool.names()
        path = spool.path(name)
        os.chmod(path, 0o644)
    assert [spool.adopt(name) for name in spool.names()] == [None]
    assert precious.read_text() == "precious"


def test_a_draft_that_a_crash_left_is_deleted_when_it_is_old(spool: Spool) -> None:
    """A new draft is kept, because another process may be about to rename it."""
    drafts = [spool.path(f".{1:013d}-{number:016x}.json") for number in range(2)]
    for draft in drafts:
        with open(draft, "wb"):
            pass
    os.utime(drafts[0], (1, 1))
    assert spool.names() == []
    assert [os.path.exists(draft) for draft in drafts] == [False, True]


def test_a_deferred_segment_holds_all_back(spool: Spool) -> None:
    """A delay that a server set for one process holds for all."""
    file = spool.create()
    other = Spool(spool.directory)
    assert other.not_before() <= time.time()
    file.defer(until := time.time() + 100)
    assert other.not_before() == pytest.approx(until)


def test_a_file_that_cannot_be_deleted_is_emptied(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be sent again and again."""
    file = spool.create()
    file.write(b"sent", 0)

    def refuse(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    file.remove()
    assert os.stat(file.path).st_size == 0
