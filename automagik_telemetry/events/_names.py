"""Names of the objects that an application instruments at start-up, declared until the first event or request.

Names that come into being later, such as those of agents that are made for each request, may hold anything. They are
sent as hashes, unless `configure(allow=[...])` or `declare` has them. The state belongs to the process.
"""

from __future__ import annotations

import contextlib
import weakref
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import kept
from automagik_telemetry.events._allowlist import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Owner = TypeVar("Owner")

MAX_SOURCES = 1_000
"""Maximum number of objects whose names are declared."""
MAX_NAMES = 1_000
"""Maximum number of names of one object."""


class _Names:
    def __init__(self) -> None:
        self.closed = False
        self.sources: list[tuple[weakref.ref[Any], Callable[[Any], Iterable[Any]]]] = []


_names = kept("declared names", _Names)


def declare_later(owner: Owner, names: Callable[[Owner], Iterable[Any]]) -> None:
    """Declare the names that `names(owner)` returns when the allowlist closes; do nothing once it has closed.

    An application may add tools to an agent until then, or drop the agent, which is not kept alive. Names that are not
    valid are sent as hashes, and so are those of an object that allows no weak reference.
    """
    if not _names.closed and len(_names.sources) < MAX_SOURCES:
        with contextlib.suppress(TypeError):
            _names.sources.append((weakref.ref(owner), names))


def is_closed() -> bool:
    """Return whether the allowlist has closed."""
    return _names.closed


def declare_if_open(name: Any) -> None:
    """Declare a name, unless the allowlist has closed. What is not a valid name is sent as a hash."""
    if not _names.closed:
        with contextlib.suppress(TypeError, ValueError):
            declare(name)


def close() -> None:
    """Close the allowlist to names of instrumented objects: the first event, request or start of a lifespan begins."""
    if _names.closed:
        return
    # Two threads may both do this, so that neither encodes an event before all names are declared.
    for source in list(_names.sources):
        for name in attempt(_names_of, *source, default=()):
            with contextlib.suppress(TypeError, ValueError):
                declare(name)
    _names.closed = True
    _names.sources = []


def _names_of(owner: weakref.ref[Any], names: Callable[[Any], Iterable[Any]]) -> list[Any]:
    alive = owner()
    return [] if alive is None else list(islice(names(alive), MAX_NAMES))


def reopen() -> Callable[[], None]:
    """Open the allowlist again, as in a new process, and return a function that restores its state. For tests."""
    before = _names.closed, list(_names.sources)
    _names.closed = False

    def restore() -> None:
        _names.closed, _names.sources = before

    return restore
