"""The file of the saved choice: an odd or hostile one turns telemetry off at once, and no change is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ON = "enabled = true\n"
DEFAULT = Scope("automagik-agents", "https://telemetry.namastex.ai")
SHOP = Scope("shop", "https://shop.example")


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _folder(file: Path) -> None:
    file.mkdir()


def _dangling(file: Path) -> None:
    file.symlink_to("nowhere")


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _huge(file: Path) -> None:
    file.touch()
    os.truncate(file, 2_000_000_000)


def _world_writable(file: Path) -> None:
    file.write_text(ON)
    file.chmod(0o666)


def _of_another_user(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file.write_text(ON)
    os.chown(file, 12_345, -1)


def _text(text: str | bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


@pytest.mark.fault(97)
@pytest.mark.parametrize(
    "make",
    [
        *(_pipe, _device, _folder, _dangling, _loop, _huge, _world_writable, _of_another_user),
        _text("enabled = " + "[" * 30_000),
        _text("a" + ".a" * 30_000 + " = 1"),
        _text('"\u2028"' + ".a" * 20_000 + " = 1"),
        _text(("a" + ".a" * 100 + " = 1\n") * 200),
        _text("enabled = " + '"' * 60_000),
        _text("enabled = 1"),
        _text('enabled = "false"'),
        _text(ON + "other = 1"),
        _text(ON + "level = 'LOUD'"),
        _text(ON + "level = [1]"),
        _text(b"enabled = true # \xff"),
        _text(ON + ON),
        _text("applications = 1"),
        _text("[[applications]]\nrecipient = 'https://shop.example'\nenabled = true"),
        _text("[[applications]]\nname = 1\nenabled = true"),
        _text("[[applications]]\nname = 'shop'\nenabled = 'true'"),
        _text("[[applications]]\nname = 'shop'\nenabled = true\nother = 1"),
        _text("[[applications]]\nname = 'shop'\n[[applications]]\nname = 'shop'"),
    ],
)
def test_a_file_that_is_not_a_choice(make: Callable[[Path], None]) -> None:
    """It counts as off, without waiting and without an exception."""
    file = preferences.path()
    file.parent.mkdir(parents=True)
    make(file)
    assert preferences.load() is preferences.UNREADABLE


@pytest.mark.fault(97)
def test_a_link_to_a_choice() -> None:
    """The file may be kept elsewhere, as dotfiles often are."""
    file = preferences.path()
    file.parent.mkdir(parents=True)
    (file.parent / "elsewhere").write_text(ON)
    file.symlink_to("elsewhere")
    assert preferences.load().everything.enabled is None
    assert preferences.load().of(DEFAULT).enabled is True


@pytest.mark.slow
@pytest.mark.fault(97)
def test_no_opt_out_is_lost() -> None:
    """While other processes mark the notice as shown, an opt-out and a level are saved once each."""
    program = """
import sys
from automagik_telemetry.consent import _preferences as p
from automagik_telemetry.consent._application import Scope
for n in range(40):
    p.change(lambda saved: saved.with_notice(Scope(sys.argv[1], "https://shop.example"), str(n)))
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, f"shop {number}"]) for number in range(3)]
    lost = 0
    while any(writer.poll() is None for writer in writers):
        preferences.change(lambda saved: saved.refused(None, "off"))
        lost += preferences.load().refusal(SHOP) is None
        preferences.change(lambda saved: saved.granted(SHOP, "on"))
        lost += preferences.load().of(SHOP).enabled is not True or preferences.load().refusal(SHOP) is not None
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert lost == 0
    notices = {scope: choice.notice for scope, choice in preferences.load().scopes.items() if scope != SHOP}
    assert notices == {Scope(f"shop {number}", "https://shop.example"): "39" for number in range(3)}


@pytest.mark.slow
@pytest.mark.fault(97)
def test_a_writer_that_was_stopped() -> None:
    """Another process that keeps the lock delays a change by a second, and does not prevent it."""
    preferences.change(lambda saved: saved.granted(SHOP, "on"))
    code = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print(flush=True)
input()
"""
    folder = str(preferences.path().parent)
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert preferences.change(lambda saved: saved.refused(None, "off")).everything.enabled is False
        assert preferences.load().everything.enabled is False
        other.communicate("\n")
