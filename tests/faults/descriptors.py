"""An application that closes descriptors that it did not open and uses their numbers: run in a process of its own."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import itertools
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import daemon

from automagik_telemetry.export._body import gzip
from tests.faults.server import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from automagik_telemetry import TracingManager

CONTENT = bytes(range(256)) * 64
POSITION = 1000
GREETING = b"from the other side"
MAX_ROUNDS = 16


# Python imports modules by descriptor, too, so that no thread may import any while numbers are taken over.
IMPORTED_BY_A_REQUEST = (
    "automagik_telemetry.export.http._transport",
    "ctypes",
    "encodings.idna",
    "h11",
)
for _name in IMPORTED_BY_A_REQUEST:
    importlib.import_module(_name)
gzip(b"")  # which imports isal where it is required

_list_directory = os.listdir
_listing = threading.RLock()


def _listdir_alone(path: str) -> list[str]:
    """List a directory while no number is taken over: the C library closes the directory's by number."""
    with _listing:
        return _list_directory(path)


os.listdir = cast("Any", _listdir_alone)
os.register_at_fork(before=_listing.acquire, after_in_parent=_listing.release, after_in_child=_listing.release)


def numbers_in_use() -> set[int]:
    """Return the descriptors of this process."""
    found = set(map(int, _list_directory("/proc/self/fd")))
    return {number for number in found if _is_open(number)}  # one was that of the folder


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class OwnFile(NamedTuple):
    """A descriptor that the application opened, and its identity then."""

    number: int
    identity: tuple[int, int]
    path: Path | None
    """Set for a file: its content stays `CONTENT`, and its position `POSITION`."""
    greeted: bool = False
    """True if exactly `GREETING` waits to be read from it."""


class Possessions:
    """All descriptors of the application."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, OwnFile] = {}
        self._counter = itertools.count()

    @property
    def numbers(self) -> set[int]:
        """The descriptors."""
        return set(self._files)

    def add(self, number: int, path: Path | None = None, *, greeted: bool = False) -> int:
        """Own a descriptor."""
        status = os.fstat(number)
        self._files[number] = OwnFile(number, (status.st_dev, status.st_ino), path, greeted)
        return number

    def open_file(self) -> int:
        """Open a file with known content."""
        path = self._folder / f"own-{next(self._counter)}"
        path.write_bytes(CONTENT)
        number = os.open(path, os.O_RDWR)
        os.lseek(number, POSITION, os.SEEK_SET)
        return self.add(number, path)

    def open_pair(self) -> None:
        """Open a pair of sockets, each with bytes to read."""
        for side in (pair := socket.socketpair()):
            side.send(GREETING)
        for side in pair:
            self.add(side.detach(), greeted=True)

    def open_connection(self) -> None:
        """Open a server and a client that are connected, each with bytes to read."""
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        client.send(GREETING)
        accepted.send(GREETING)
        self.add(server.detach())
        for side in (client, accepted):
            self.add(side.detach(), greeted=True)

    def occupy(self, numbers: set[int]) -> None:
        """Open files and sockets until all these numbers are in use."""
        for opened in itertools.cycle((self.open_file, self.open_pair, self.open_file, self.open_connection)):
            if numbers <= numbers_in_use():
                return
            opened()

    def damages(self) -> Iterator[str]:
        """Yield the descriptors that have changed since the application opened them."""
        for number, identity, path, greeted in self._files.values():
            try:
                status = os.fstat(number)
            except OSError:
                yield f"{number} was closed"
                continue
            if (status.st_dev, status.st_ino) != identity:
                yield f"{number} is another file"
            elif path is not None:
                if path.read_bytes() != CONTENT:
                    yield f"{number} has other content"
                if os.lseek(number, 0, os.SEEK_CUR) != POSITION:
                    yield f"{number} is at another position"
            elif greeted:
                received = _waiting_bytes(number)
                if received != GREETING:
                    yield f"{number} received {received!r}"


def _waiting_bytes(number: int) -> bytes:
    """Return what waits to be read from a socket, and leave it there."""
    side = socket.socket(fileno=number)
    try:
        return side.recv(65_536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
    finally:
        side.detach()


class Closing:
    """The application's calls on descriptors; `before` were open before ours."""

    def __init__(self, possessions: Possessions, before: set[int]) -> None:
        self.own = possessions
        self._before = before

    def not_own(self) -> set[int]:
        """Return the descriptors that the application did not open."""
        return numbers_in_use() - self._before - self.own.numbers

    def closerange(self) -> Iterator[None]:
        """Close all at once, as a process does that becomes a daemon."""
        freed = self.not_own()
        os.closerange(3, 4096)
        self.own.occupy(freed)
        yield

    def each(self) -> Iterator[None]:
        """Close one after the other, each time with events in between."""
        tried: set[int] = set()
        while len(tried) < MAX_ROUNDS and (left := self.not_own() - tried):
            number = min(left)
            tried.add(number)
            with contextlib.suppress(OSError):  # it has been closed by now
                os.close(number)
            self.own.occupy({number})
            yield

    def dup2(self) -> Iterator[None]:
        """Put a file of its own on each number."""
        for number in sorted(self.not_own()):
            self._put_on(number)
        yield

    def standard(self) -> Iterator[None]:
        """Put files of its own on the standard descriptors."""
        for number in range(3):
            self._put_on(number)
        yield

    def _put_on(self, number: int) -> None:
        source = self.own.open_file()
        os.dup2(source, number)
        path = self.own._files[source].path
        self.own.add(number, path)


class Program:
    """Log, close, reuse and log again; print the damage and the numbers of events and runs; exit."""

    def __init__(self, tracing: TracingManager, log: Callable[[int], None], folder: str, state: str) -> None:
        self.own = Possessions(Path(folder))
        self.report = 1
        self._tracing = tracing
        self._log = log
        self._folder = folder
        self._state = state
        self._events = itertools.count()
        self._runs = itertools.count()
        self._modules: set[str] = set()

    def work(self) -> None:
        """Log three events, and a run of an agent if runs are recorded."""
        for _ in range(3):
            self._log(next(self._events))
        if self._state == "durable":
            assert self._tracing.observability is not None
            traces: Any = self._tracing.observability.providers["langwatch"]
            with traces.start_trace(name=f"run {next(self._runs)}", kind="agent_run"):
                pass

    def prepare(self) -> None:
        """Come into the state in which descriptors are to be closed."""
        self.work()
        if self._state == "flushed":
            assert self._tracing.flush(PATIENCE)
            self.work()
        if self._state == "waiting":
            threading.Thread(target=self._tracing.flush, args=(PATIENCE,), daemon=True).start()
            sys.stdin.readline()

    def look(self, when: str) -> None:
        """Print the damage."""
        gc.collect()
        damages = itertools.chain(self.own.damages(), (f"imported {name}" for name in set(sys.modules) - self._modules))
        os.write(self.report, "".join(f"{when}: {damage}\n" for damage in damages).encode())

    def run(self, closing: str, end: str, before: set[int]) -> None:
        """Do it all; `before` are the descriptors that were open before any of ours was."""
        atexit.register(self.look, "at the end")
        if closing == "standard":
            self.report = self.own.add(os.dup(1))
        self.prepare()
        self._modules = set(sys.modules)
        if closing.startswith("daemon"):
            with _listing:
                _become_a_daemon(self.own, self._folder, detach=closing == "daemon, detached")
            rounds: Iterator[None] = iter([None])
        else:
            rounds = getattr(Closing(self.own, before), closing)()
        while True:
            with _listing:
                if next(rounds, self) is self:
                    break
            self.work()
            self._tracing.flush(0.5 if self._state == "waiting" else 5.0)
            self.work()
            self.look("after a flush")
        self._tracing.shutdown()
        self.look("after a shutdown")
        os.write(self.report, f"events {next(self._events)}\nruns {next(self._runs)}\n".encode())
        if end == "os._exit":
            os._exit(0)
        if end == "sys.exit":
            sys.exit(0)


def _become_a_daemon(own: Possessions, folder: str, *, detach: bool) -> None:
    """Enter python-daemon's context, which preserves no file, and take all numbers that it frees."""
    freed = numbers_in_use()
    output, errors = ((Path(folder) / name).open("w") for name in ("output", "errors"))
    for each in (output, errors):
        atexit.register(each.close)  # or it would be a ResourceWarning
    context = daemon.DaemonContext(detach_process=detach, stdout=output, stderr=errors, files_preserve=None)
    context.open()
    signal.alarm(60)  # or the test would not end a daemon that hangs
    own.occupy(freed)
