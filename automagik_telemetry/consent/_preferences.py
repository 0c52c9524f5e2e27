"""What the user told the command line, in one small readable file of the configuration directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry.settings import LEVELS, OFF

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "# What `automagik-telemetry` was told. Without this file, nothing was.\n"


class Choice(NamedTuple):
    """`enabled` and `level` are None until chosen; `notice` is the digest of the catalogue that the user was shown."""

    enabled: bool | None = None
    level: int | None = None
    notice: str | None = None


UNREADABLE = Choice(enabled=False, level=OFF)
"""What a file that can't be understood counts as: the more private reading."""


def path() -> Path:
    """Return where the choice is kept. The file need not exist."""
    import platformdirs  # noqa: PLC0415 - only a process that is not switched off otherwise needs it

    return platformdirs.user_config_path("automagik-telemetry", appauthor=False) / "choice.toml"


def load() -> Choice:
    """Return the saved choice; an empty one if there is none, `UNREADABLE` if it can't be understood."""
    try:
        text = path().read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Choice()
    except (OSError, RuntimeError, UnicodeDecodeError):
        return UNREADABLE
    import tomllib  # noqa: PLC0415 - only a process that finds a file needs it

    try:
        return _parse(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        return UNREADABLE


def _parse(table: dict[str, object]) -> Choice:
    enabled, level, notice = table.pop("enabled", None), table.pop("level", None), table.pop("notice", None)
    if table or not isinstance(enabled, bool | None) or not isinstance(notice, str | None):
        raise TypeError
    return Choice(enabled, None if level is None else LEVELS[str(level)], notice)


def save(**changes: bool | int | str | None) -> Choice:
    """Change what is saved and return it. Raises OSError if it can't be written."""
    before = load()
    choice = (Choice() if before is UNREADABLE else before)._replace(**changes)  # type: ignore[arg-type]
    names = {number: name for name, number in LEVELS.items()}
    lines = [_HEAD]
    if choice.enabled is not None:
        lines.append(f"enabled = {str(choice.enabled).lower()}\n")
    if choice.level is not None:
        lines.append(f'level = "{names[choice.level]}"\n')
    if choice.notice is not None:
        lines.append(f'notice = "{choice.notice}"\n')
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_text("".join(lines), encoding="utf-8")
    draft.replace(target)
    return choice
