"""Looks on at one object's methods by giving it a subclass of its class: neither a class nor another object changes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

_PLAIN = "_automagik_telemetry_plain_class"


def patch_instance(of: Any, wraps: Mapping[str, Wrap]) -> None:  # noqa: ANN401 - any object with these methods
    """Give the object a class that looks like its own, with each method in `wraps` wrapped; once."""
    if _PLAIN not in type(of).__dict__:
        kind: Any = type(of)
        of.__class__ = _made(kind, tuple(wraps.items()))


def unpatch_instance(of: Any) -> None:  # noqa: ANN401 - see above
    """Give the object its own class back."""
    if _PLAIN in type(of).__dict__:
        of.__class__ = type(of).__dict__[_PLAIN]


@functools.cache
def _made(kind: Any, wraps: tuple[tuple[str, Wrap], ...]) -> Any:  # noqa: ANN401 - any class
    members = {name: wrap(getattr(kind, name)) for name, wrap in wraps}
    looks = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind)(kind.__name__, (kind,), {**members, **looks, "__reduce_ex__": _reduce, _PLAIN: kind})


def _reduce(of: Any, protocol: SupportsIndex) -> Any:  # noqa: ANN401 - as pickle has it
    """Pickle and copy as an object that nothing was done to."""
    kind: Any = type(of)
    reduced: Any = super(kind, of).__reduce_ex__(protocol)
    function, arguments, *state = reduced
    return (function, tuple(getattr(kind, _PLAIN) if one is kind else one for one in arguments), *state)
