"""Turns what spans hold into plain data of bounded size, when their trace is logged and not before."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

MAX_DEPTH: Final = 12
"""Levels of containers in one value."""
MAX_NODES: Final = 50_000
"""Values in one trace."""
MAX_TEXT: Final = 100_000
"""Characters of one text."""
MAX_TRACE: Final = 1_000_000
"""Characters of all texts of one trace."""

_LARGEST: Final = 2**63
_AS_TEXT: Final = (dt.date, dt.time, dt.timedelta, UUID, Decimal, PurePath, complex)


class Plain:
    """One trace on its way: how much of its values was taken, and what was wrong with the rest, counted by reason."""

    def __init__(self) -> None:
        self.bad: Counter[str] = Counter()
        self._nodes = MAX_NODES
        self._characters = MAX_TRACE
        self._path: set[int] = set()

    def value(self, value: object) -> Any:  # noqa: ANN401 - plain data of any shape
        """Return `value` as None, bool, int, float, str, list or dict; never raises."""
        kind = type(value)
        if value is None or kind is bool or (kind is int and -_LARGEST <= value < _LARGEST):  # type: ignore[operator]
            return value
        self._nodes -= 1
        if kind is str and self._nodes >= 0:
            return self.text(value)  # type: ignore[arg-type] # known by its type
        identity = id(value)
        if self._nodes < 0 or len(self._path) > MAX_DEPTH or identity in self._path:
            self.bad["too_deep_or_many"] += 1
            return "[cut]"
        self._path.add(identity)
        try:
            return self._mapping(value.items()) if kind is dict else self._convert(value)  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - the object's own methods may raise anything
            return self._unknown(value)
        finally:
            self._path.discard(identity)

    def text(self, text: str) -> str:
        """Return a text, cut to what one may have and what the trace has left, with a mark that says how much is gone.

        A lone surrogate, which no request can carry, becomes U+FFFD.
        """
        size = len(text)
        if size > MAX_TEXT or size > self._characters:
            room = max(0, min(MAX_TEXT, self._characters))
            self.bad["cut_text"] += 1
            text, size = f"{text[:room]}[cut: {size - room:,} more characters]", room
        self._characters -= size
        return text if text.isascii() else text.encode(errors="replace").decode()

    def _convert(self, value: Any) -> Any:  # noqa: ANN401, PLR0911 - see `value`; one for each kind
        if isinstance(value, Enum):
            return self.value(value.value)
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, bool | int):
            return int(value) if -_LARGEST <= value < _LARGEST else self.text(str(int(value)))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, Mapping):
            return self._mapping(value.items())
        if isinstance(value, bytes | bytearray | memoryview):
            return f"[{len(value):,} bytes]"
        if isinstance(value, Iterable) and isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in islice(value, max(0, self._nodes) + 1)]
        if isinstance(value, _AS_TEXT):
            return self.text(str(value))
        return self._object(value)

    def _object(self, value: Any) -> Any:  # noqa: ANN401 - see `value`
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        if callable(dump := getattr(type(value), "model_dump", None)):  # pydantic's models
            return self._mapping(dump(value).items())
        return self._unknown(value)

    def _mapping(self, pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        return {
            self.text(key if type(key) is str else str(key)): self.value(item)
            for key, item in islice(pairs, max(0, self._nodes) + 1)
        }

    def _unknown(self, value: object) -> str:
        """Return the name of an object's class: what else it would say of itself, nobody has chosen to send."""
        self.bad["not_serializable"] += 1
        return f"[{type(value).__name__}]"


def weight(value: object) -> int:
    """Return about how many characters a value holds, looking at no more than a few hundred parts of it."""
    kind = type(value)
    if kind is str:
        return len(value)  # type: ignore[arg-type] # known by its type
    total, left, waiting = 0, 300, [value]
    while waiting and left:
        left -= 1
        item = waiting.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            total += len(item)  # type: ignore[arg-type] # known by its type
        elif kind is list or kind is tuple:
            waiting.extend(item)  # type: ignore[arg-type] # known by its type
        elif kind is dict:
            waiting.extend(item.values())  # type: ignore[attr-defined] # known by its type
        else:
            total += 16
    return total + 100 * len(waiting)
