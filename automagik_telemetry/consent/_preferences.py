"""The saved choices of the user, in one small readable file of the configuration directory.

Each choice is about one application and one recipient. A refusal may also be about all recipients of an application, or
about all applications.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._descriptors import Descriptor, standard_descriptors_kept
from automagik_telemetry._fork_lock import importing
from automagik_telemetry._private_files import owner_of_home
from automagik_telemetry.consent._application import DEFAULT_NAME, Scope
from automagik_telemetry.settings import DEFAULT_ENDPOINT, LEVELS, OFF, origin_of

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_MAX_BYTES = 65_536
_MAX_DOTS, _MAX_ALL_DOTS = 130, 5_000
"""In one line, and in the file. The name of an endpoint's host has up to 127."""
_LOCK_TIMEOUT, _LOCK_INTERVAL = 1.0, 0.005  # seconds
_MAX_ATTEMPTS = 20

_HEAD = """\
# The choices that were saved by `automagik-telemetry`. Without this file, there are none.
# `enabled = false` at the top turns every application off; `others_off` turns off all that are not enabled below.
"""
GRANTED = "granted"
"""The notice of a grant, before the application has run again with its own events."""
ASKED = "ask"
"""The source of a choice that is the user's answer to the application, not a command."""
ANY = ""
"""The recipient of a refusal that covers every recipient of the application."""


class Choice(NamedTuple):
    """A saved choice: `enabled` and `level` are None until set.

    `notice` is the digest of the notice shown last, and `by` the command that set `enabled`. If `local` is true, events
    are recorded and not sent.
    """

    enabled: bool | None = None
    level: int | None = None
    notice: str | None = None
    by: str | None = None
    local: bool = False

    @property
    def refuses(self) -> bool:
        """True if nothing may be sent."""
        return self.enabled is False or self.level == OFF


class Choices(NamedTuple):
    """All saved choices: the one that covers every application, and those of single scopes.

    `others_off` is the command of a global opt-out that a later grant narrowed: scopes without a grant of their own
    stay off. It is None if there was none.
    """

    everything: Choice = Choice()
    scopes: Mapping[Scope, Choice] = {}
    others_off: str | None = None

    def of(self, scope: Scope | None) -> Choice:
        """Return the choice of a scope; an empty one if there is none."""
        return self.scopes.get(scope, Choice()) if scope is not None else Choice()

    def is_about(self, scope: Scope | None) -> bool:
        """Return whether there is a grant to a scope, or a refusal of it alone."""
        if scope is None:
            return False
        choices = map(self.of, (scope, scope._replace(recipient=ANY)))
        return any(choice.enabled or choice.refuses for choice in choices)

    def refusal(self, scope: Scope | None) -> Choice | None:
        """Return the choice that turns a scope off, the most general first, or None."""
        candidates = [self.everything]
        if not self.of(scope).enabled:  # a grant of its own is newer than a refusal that covers more
            if scope is not None:
                candidates += [self.of(scope._replace(recipient=ANY)), self.of(scope)]
            if self.others_off is not None:
                candidates.append(Choice(enabled=False, by=self.others_off or None))
        return next((each for each in candidates if each.enabled is False), None)

    def level(self, scope: Scope | None) -> int | None:
        """Return the strictest saved level that concerns a scope, or None."""
        anyone = None if scope is None else scope._replace(recipient=ANY)
        levels = (self.everything.level, self.of(anyone).level, self.of(scope).level)
        return max((level for level in levels if level is not None), default=None)

    def granted(self, scope: Scope, by: str | None, *, local: bool = False) -> Choices:
        """Return the choices with a grant to this scope, which counts as its notice; `local` is one to record only.

        After a global opt-out everything else stays off, earlier grants included, because a grant covers one scope.
        """
        scopes, others_off, everything = dict(self.scopes), self.others_off, self.everything
        if everything.refuses:
            others_off = everything.by or ""
            scopes = {
                other: choice._replace(enabled=False, by=everything.by) if choice.enabled else choice
                for other, choice in scopes.items()
            }
            everything = everything._replace(level=_unless_off(everything.level))
            if everything.enabled is False:
                everything = everything._replace(enabled=None, by=None)
        anyone = scope._replace(recipient=ANY)
        if anyone in scopes:  # its refusal still covers all other recipients
            scopes[anyone] = scopes[anyone]._replace(level=_unless_off(scopes[anyone].level))
        before = scopes.get(scope, Choice())
        scopes[scope] = before._replace(
            enabled=True, by=by, notice=GRANTED, level=_unless_off(before.level), local=local
        )
        return Choices(everything, scopes, others_off)

    def refused(self, application: str | None, by: str | None) -> Choices:
        """Return the choices with a refusal of an application and all its recipients, or of all applications."""
        if application is None:
            return self._replace(everything=self.everything._replace(enabled=False, by=by))
        scopes = {
            scope: choice._replace(enabled=False, by=by) if scope.application == application else choice
            for scope, choice in self.scopes.items()
        }
        anyone = Scope(application, ANY)
        scopes[anyone] = scopes.get(anyone, Choice())._replace(enabled=False, by=by)
        return self._replace(scopes=scopes)

    def with_level(self, application: str | None, level: int) -> Choices:
        """Return the choices with a level for an application and all its recipients, or for all applications."""
        if application is None:
            return self._replace(everything=self.everything._replace(level=level))
        anyone = Scope(application, ANY)
        return self._replace(
            scopes={
                scope: choice._replace(level=level) if scope.application == application else choice
                for scope, choice in {anyone: Choice(), **self.scopes}.items()
            }
        )

    def essential(self) -> Choices:
        """Return the choices without entries that neither grant nor refuse, to fit the size limit."""
        if self.everything.refuses:
            return Choices(self.everything, {}, self.others_off)
        return self._replace(
            scopes={scope: each for scope, each in self.scopes.items() if each.enabled or each.refuses}
        )

    def with_notice(self, scope: Scope, digest: str) -> Choices:
        """Return the choices with the digest of the notice that was shown."""
        return self._replace(scopes={**self.scopes, scope: self.of(scope)._replace(notice=digest)})


def _unless_off(level: int | None) -> int | None:
    return None if level == OFF else level


UNREADABLE = Choices(Choice(enabled=False, level=OFF))
"""The choices that a malformed file counts as: everything is off."""


simulated: Choices | None = None
"""The choices in place of the saved ones, while a test captures telemetry. The user's files don't count then."""


def path() -> Path:
    """Return the path of the saved choices. The file need not exist."""
    import platformdirs

    return platformdirs.user_config_path("automagik-telemetry", appauthor=False) / "choice.toml"


def can_save() -> bool:
    """Return whether the choices can probably be saved. It creates nothing."""
    folder = path().parent
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def load() -> Choices:
    """Return the saved choices; empty ones if there are none, `UNREADABLE` if the file is not valid."""
    return _load()[0]


def _load() -> tuple[Choices, tuple[int, ...] | None]:
    """Return the saved choices, and the version of their file: empty if there is no file, None if it can't be read."""
    if simulated is not None:
        return simulated, None
    try:
        text, version = _read(path())
    except (FileNotFoundError, NotADirectoryError):
        return Choices(), ()
    except (OSError, RuntimeError, ValueError):
        return UNREADABLE, None
    # A key of n dotted parts takes `tomllib` a time of n * n: half a minute for a file of the allowed size.
    dots = [line.count(".") for line in text.split("\n")]
    if max(dots) > _MAX_DOTS or sum(dots) > _MAX_ALL_DOTS:
        return UNREADABLE, version
    with importing:
        import tomllib

    try:
        return _parse(tomllib.loads(text)), version
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, RecursionError):
        return UNREADABLE, version


def _read(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return the text of a small file that only this user or root may change, and the file's version.

    Raises:
        FileNotFoundError: There is no such file, and no link.
        OSError: It can't be read, or is not such a file.
        UnicodeDecodeError: It is not UTF-8.
    """
    try:
        with standard_descriptors_kept():
            # O_NONBLOCK, because opening a named pipe would wait for its writer.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.EINVAL, "a link to a file that does not exist", str(path)) from None
        raise
    descriptor = Descriptor.of_file(number, os.path.realpath(path))  # a dotfile may well be a link
    try:
        status = os.fstat(descriptor.number)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise OSError(errno.EINVAL, f"not a file of at most {_MAX_BYTES} bytes", str(path))
        if os.name == "posix" and (not _is_trusted(status.st_uid) or status.st_mode & stat.S_IWOTH):
            raise OSError(errno.EPERM, "a file that another user may change", str(path))
        return os.read(descriptor.number, _MAX_BYTES).decode("utf-8"), _version(status)
    finally:
        descriptor.close()


def _is_trusted(owner: int) -> bool:
    return owner in {os.geteuid(), 0} or owner == owner_of_home()


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _parse(table: dict[str, object]) -> Choices:
    """Parse the file. Raises KeyError, TypeError or ValueError if it is malformed.

    A grant at the top, as earlier versions saved it, had no recipient. It counts for the application and the endpoint
    that are the defaults, and for no other.
    """
    entries, others_off = table.pop("applications", []), table.pop("others_off", None)
    everything = _choice(table)
    if not isinstance(entries, list) or not isinstance(others_off, str | None):
        raise TypeError
    scopes: dict[Scope, Choice] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise TypeError
        application, recipient = entry.pop("name"), entry.pop("recipient", ANY)
        if not isinstance(application, str) or not isinstance(recipient, str):
            raise TypeError
        scope = Scope(application, recipient)
        if scope in scopes:
            raise ValueError
        scopes[scope] = _choice(entry)
    if everything.enabled or everything.notice:
        scopes.setdefault(_DEFAULT_SCOPE, Choice(everything.enabled or None, None, everything.notice, everything.by))
        everything = everything._replace(enabled=None if everything.enabled else everything.enabled, notice=None)
    return Choices(everything, scopes, others_off)


_DEFAULT_SCOPE = Scope(DEFAULT_NAME, origin_of(DEFAULT_ENDPOINT))


def _choice(table: dict[str, object]) -> Choice:
    enabled, level = table.pop("enabled", None), table.pop("level", None)
    notice, by, local = table.pop("notice", None), table.pop("by", None), table.pop("local", False)
    if not isinstance(local, bool):
        raise TypeError
    if table or not isinstance(enabled, bool | None) or not all(isinstance(each, str | None) for each in (notice, by)):
        raise TypeError
    return Choice(enabled, None if level is None else LEVELS[str(level)], notice, by, local)  # type: ignore[arg-type]  # checked


def change(changed: Callable[[Choices], Choices]) -> Choices:
    """Change the saved choices and return them. Raises OSError if the file can't be written.

    Args:
        changed: Returns the choices to save instead of the given ones. It may be called several times.
    """
    global simulated  # noqa: PLW0603 - one per process
    if simulated is not None:
        simulated = changed(simulated)
        return simulated
    target = path()
    _make_folder(target.parent)
    with _locked(str(target.parent)):
        for _ in range(_MAX_ATTEMPTS):
            before, version = _load()
            choices = changed(before)  # of a file that can't be read, everything is off, and stays off
            if len(_text(choices).encode()) > _MAX_BYTES:
                choices = choices.essential()
            if _replaced(target, _text(choices), version):
                return choices
    raise OSError(errno.EAGAIN, "other processes keep changing it", str(target))


def _replaced(target: Path, text: str, version: tuple[int, ...] | None) -> bool:
    """Replace the file; return False if it has changed since it had this version.

    It can change even under the lock, because other writers wait for the lock only a second.
    """
    content = text.encode()
    if len(content) > _MAX_BYTES:
        raise OSError(errno.EFBIG, "it has too many choices", str(target))
    draft = target.with_name(f"{target.name}.{os.urandom(8).hex()}")
    with standard_descriptors_kept():
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            if (owner := owner_of_home()) is not None and sys.platform != "win32":
                os.fchown(number, owner, -1)
            file.write(content)
        try:
            now = _version(target.stat())
        except OSError:
            now = ()
        if version is not None and now != version:
            return False
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents. They belong to the owner of the home directory, though root may create them."""
    if folder.exists():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if (owner := owner_of_home()) is not None and sys.platform != "win32":
        os.chown(folder, owner, -1, follow_symlinks=False)


def _text(choices: Choices) -> str:
    parts = [_HEAD, *_lines(choices.everything)]
    if choices.others_off is not None:
        parts.append(f"others_off = {_quoted(choices.others_off)}\n")
    for scope, choice in sorted(choices.scopes.items()):
        if choice == Choice():
            continue
        parts += ["\n[[applications]]\n", f"name = {_quoted(scope.application)}\n"]
        if scope.recipient != ANY:
            parts.append(f"recipient = {_quoted(scope.recipient)}\n")
        parts += _lines(choice)
    return "".join(parts)


def _lines(choice: Choice) -> Iterator[str]:
    names = {number: name for name, number in LEVELS.items()}
    if choice.enabled is not None:
        yield f"enabled = {str(choice.enabled).lower()}\n"
    if choice.level is not None:
        yield f'level = "{names[choice.level]}"\n'
    if choice.local:
        yield "local = true\n"
    for key in ("notice", "by"):
        if (value := getattr(choice, key)) is not None:
            yield f"{key} = {_quoted(value)}\n"


def _quoted(text: str) -> str:
    """Return a string of TOML. Names are printable, so JSON's form without its escapes of other characters is one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _is_locked(number: int) -> bool:
    """Lock an open directory; return False if another process has locked it. Raises OSError if it can't be locked."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the lock of writers, so that no change of another process is lost in between.

    A process that keeps the lock for a second, because it was stopped, does not stop this one. Windows can't lock a
    directory: there, two processes that write in the same moment may lose one change.
    """
    if sys.platform == "win32":
        yield
        return
    with standard_descriptors_kept():
        number = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        with contextlib.suppress(OSError):  # a file system without locks
            while not _is_locked(number) and time.monotonic() < deadline:
                time.sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(number)
