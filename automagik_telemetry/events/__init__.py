"""Declared events: the base class and the kinds of fields with which an application declares its own.

>>> from automagik_telemetry.events import Event, count, duration, word
>>> class CheckoutFinished(Event):
...     "A checkout was finished."
...     name = "checkout.finished"
...     items: int = count("Number of items.")
...     plan: str = word("The customer's plan.", allowed=("free", "pro"))
...     duration_ms: float = duration("Time to finish.")
>>> CheckoutFinished(items=3, plan="pro", duration_ms=812.5)
CheckoutFinished(items=3, plan='pro', duration_ms=812.5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing

if TYPE_CHECKING:
    from automagik_telemetry.events._event import Event, count, duration, flag, measure, word

__all__ = ["Event", "count", "duration", "flag", "measure", "word"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:  # a process that sends nothing and declares nothing needs no kinds
        from automagik_telemetry.events import _event
    value = globals()[name] = getattr(_event, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
