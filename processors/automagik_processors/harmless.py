"""Tells values that neither bounds nor `Scrub` would change from all others, which are unusual.

A list or dict is copied while it is looked at, for whoever it belongs to may change it meanwhile. How much there is of
it need not be counted: that shows in the size of what is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_processors.bounded_json import MAX_TEXT

if TYPE_CHECKING:
    from automagik_processors.scrub import Scrub, Walk

MOST_JSON: Final = 1_000
"""Values of the JSON that one text holds."""

LONGEST_KEY: Final = 64
"""Characters of a key."""

_DEEPEST: Final = 8
_LARGEST: Final = 2**63
_NAMES: Final = frozenset({"name", "key", "header", "Name", "Key"})
_VALUES: Final = frozenset({"value", "Value"})


class Unusual(Exception):  # noqa: N818  # it is no error
    """Something goes the long way."""


class Harmless:
    """Looks at the values of one trace."""

    __slots__ = ("_keys", "_known", "_scrub", "_walk")

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub
        self._keys = scrub.harmless_keys
        self._known = scrub.harmless_texts
        self._walk: Walk | None = None

    def text(self, text: str, depth: int) -> str:
        """Return `text`, which lies below `depth` levels of containers. Raises Unusual."""
        if hash(text) not in self._known:
            walk = self._walk
            if walk is None:
                walk = self._walk = self._scrub.walk()
            if len(text) > MAX_TEXT or not walk.leaves(text, depth, MOST_JSON):
                raise Unusual
        return text

    def copy(self, value: Any, depth: int) -> Any:  # noqa: ANN401  # whatever a host puts there
        """Return a copy of `value`, plain data. Raises Unusual."""
        kind = type(value)
        if kind is str:
            return self.text(value, depth)
        if kind is dict:
            return self._dict(value.copy(), depth)
        if kind is list or kind is tuple:
            return self._list(list(value), depth)
        if value is None or kind is bool or (kind is int and -_LARGEST <= value < _LARGEST):
            return value
        if kind is float and value - value == 0.0:  # neither NaN nor infinite
            return value
        raise Unusual

    def _dict(self, held: dict[Any, Any], depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise Unusual
        keys, known = self._keys, self._known
        for key, item in held.items():
            if not keys[key] or len(key) > LONGEST_KEY:
                raise Unusual
            if type(item) is not str:
                if item is not None:
                    held[key] = self.copy(item, depth + 1)
            elif hash(item) not in known:
                self.text(item, depth + 1)
        if not _VALUES.isdisjoint(held) and not _NAMES.isdisjoint(held):  # which may name a secret
            raise Unusual
        return held

    def _list(self, held: list[Any], depth: int) -> list[Any]:
        if depth > _DEEPEST:
            raise Unusual
        for number, item in enumerate(held):
            new = held[number] = self.copy(item, depth + 1)
            if type(new) is str:
                if new.startswith("--"):  # a secret may follow
                    raise Unusual
            elif type(new) is list and len(new) == 2 and type(new[0]) is str:  # noqa: PLR2004  # a name and a secret
                raise Unusual
        return held
