"""State of the process, which outlives a reload of the package's modules or a second import of the package.

Some objects must exist once: callbacks at a fork and at exit, locks, context variables and registries. A module that is
loaded again finds them here, and an instance of a class's earlier version counts as an instance of the class. They are
attached to our logger, because the tree of loggers is never unloaded.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_kept: dict[str, Any] = logging.getLogger("automagik_telemetry").__dict__.setdefault("_process_state", {})


def kept(name: str, make: Callable[[], _T]) -> _T:
    """Return the process's one object of this name, made at the first call."""
    if name not in _kept:
        _kept.setdefault(name, make())
    found: _T = _kept[name]
    return found


def at_fork(module: str, **callbacks: Callable[[], None]) -> None:
    """Call back as `os.register_at_fork` does: one set of callbacks for each module, the latest."""
    if not hasattr(os, "register_at_fork"):
        return
    key = f"at fork: {module}"
    is_first = key not in _kept
    _kept[key] = callbacks
    if is_first:
        os.register_at_fork(**{when: partial(_call, _kept, key, when) for when in callbacks})


def at_exit(module: str, callback: Callable[[], None]) -> None:
    """Call back at the end of the process: one callback for each module, the latest."""
    key = f"at exit: {module}"
    is_first = key not in _kept
    _kept[key] = {"exit": callback}
    if is_first:
        atexit.register(_call, _kept, key, "exit")


def end_as_interrupted() -> None:
    """Make Python end a script by SIGINT if a KeyboardInterrupt ended it, as it does without this package.

    Python clears its mark for this when any thread runs `exec` on a string, as importing a module with named tuples
    does. An interrupt inside such an `exec` sets the mark again.
    """
    main = sys.modules.get("__main__")
    is_script = getattr(main, "__spec__", main) is None and not hasattr(sys, "ps1")  # others end otherwise
    if is_script and getattr(sys, "last_type", None) is KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - a constant


def _call(kept: dict[str, Any], key: str, when: str) -> None:
    kept[key][when]()


def is_same(one: object, other: object) -> bool:
    """Return whether two objects are the same, or versions of the same class or function."""
    name = getattr(one, "__qualname__", None)
    return one is other or (
        name is not None
        and name == getattr(other, "__qualname__", None)
        and getattr(one, "__module__", None) == getattr(other, "__module__", None)
    )


def is_instance(instance: object, kind: type[_T]) -> TypeGuard[_T]:
    """Return whether an object is an instance of the class, its earlier version or a subclass of either."""
    return any(is_same(base, kind) for base in type(instance).__mro__)


class LoadedTwice(type):
    """Metaclass of classes whose instances are recognized after a reload."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Return what `is_instance` does."""
        kind: type[Any] = cls
        return is_instance(instance, kind)
