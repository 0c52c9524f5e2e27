"""Keeps failures of our own work, and of the application's objects that it inspects, out of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType


def attempt(function: Callable[..., Any], *args: Any, default: Any = None) -> Any:
    """Return the result of a call; `default` if it raises an Exception.

    A BaseException passes, because it may be a signal handler's.
    """
    try:
        return function(*args)
    except Exception:
        return default


def class_name(kind: type) -> str:
    """Return the name of a class, without calling its metaclass."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


class Block:
    """A `with` block around another, which is skipped if entering it fails; leaving it may fail, too.

    Exceptions inside pass through, and are not passed to the other block.
    """

    __slots__ = ("_block", "_make")

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._block: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        """Enter the other block."""
        try:
            block = self._make()
            block.__enter__()
        except Exception:
            return
        self._block = block

    def __exit__(self, *_: object) -> None:
        """Leave the other block."""
        if self._block is not None:
            attempt(self._block.__exit__, None, None, None)


def is_from_signal(error: BaseException) -> bool:
    """Return whether a signal handler has raised the exception, instead of the code that it interrupted.

    Python passes a handler the frame that it interrupts, so this frame is among the variables of the one that follows
    in the traceback. A handler that drops this argument, or is not written in Python, is not recognized.
    """
    place: TracebackType | None = error.__traceback__
    while place is not None and place.tb_next is not None:
        interrupted, handler = place.tb_frame, place.tb_next.tb_frame
        for value in handler.f_locals.values():
            if value is interrupted or (type(value) is tuple and any(item is interrupted for item in value)):
                return True
        place = place.tb_next
    return False
