"""Observes one object's methods through a subclass of its class: neither the class nor another object changes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Wrap = Callable[[Any], Callable[..., Any]]

_PLAIN = "_automagik_telemetry_plain_class"
_set_class = object.__dict__["__class__"].__set__
"""Sets the class itself, whatever the object's class does with its attributes."""


def patch_instance(of: Any, wraps: Mapping[str, Wrap]) -> None:
    """Set the object's class to a lookalike subclass with each method in `wraps` wrapped; once."""
    kind: Any = type(of)  # once: another thread may patch it meanwhile
    if _PLAIN not in kind.__dict__:
        _set_class(of, _made(kind, tuple(wraps.items())))


def unpatch_instance(of: Any) -> None:
    """Restore the object's own class."""
    if is_patched(of):
        _set_class(of, plain_class(of))


def is_patched(of: Any) -> bool:
    """Return whether the object has a lookalike subclass."""
    return _PLAIN in type(of).__dict__


def plain_class(of: Any) -> Any:
    """Return the object's own class."""
    return type(of).__dict__.get(_PLAIN, type(of))


@functools.lru_cache(1_000)
def _made(kind: Any, wraps: tuple[tuple[str, Wrap], ...]) -> Any:
    members = {name: wrap(getattr(kind, name, None)) for name, wrap in wraps}
    looks = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {"__slots__": (), "__reduce_ex__": _reduce, _PLAIN: kind}
    return type(kind)(kind.__name__, (kind,), {**members, **looks, **own})


def _reduce(of: Any, protocol: SupportsIndex) -> Any:
    """Pickle and copy as the object without the subclass."""
    kind: Any = type(of)
    reduced: Any = super(kind, of).__reduce_ex__(protocol)
    function, arguments, *state = reduced
    return (function, tuple(getattr(kind, _PLAIN) if one is kind else one for one in arguments), *state)
