"""Keyed hashes of words and ids: equal texts stay equal, and what they said stays here."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_CACHED: Final = 1024
_MAX_TEXT_CACHED: Final = 128  # characters, so that the cache is bounded in bytes too


class KeyedHash:
    """Hashes texts with BLAKE2b and a key: 1 to 64 bytes, or a callable that returns them, called at the first need.

    Raises ValueError for a key of another length and TypeError for one that is not bytes; of a key that a
    callable returns, at its first use.
    """

    def __init__(self, key: bytes | Callable[[], bytes]) -> None:
        self._make_key = key if callable(key) else None
        self._key = b"" if callable(key) else _checked(key)
        self._keyed: dict[bytes, blake2b] = {}
        self.words = _Words(self)
        """See `word`: `words[text]` is `word(text)`, and remembers a bounded number of them."""

    def word(self, text: str) -> str:
        """Return 16 hex digits that replace a word."""
        return self._digest(text, 8, b"")

    def trace_id(self, text: str) -> str:
        """Return a trace id, 32 hex digits, that stands for another."""
        return self._digest(text, 16, b"trace_id")

    def span_id(self, text: str) -> str:
        """Return a span id, 16 hex digits, that stands for another."""
        return self._digest(text, 8, b"span_id")

    def _digest(self, text: str, size: int, purpose: bytes) -> str:
        # The purpose keeps a word and an id of the same text apart. What has taken in the key is copied, not made anew.
        keyed = self._keyed.get(purpose)
        if keyed is None:
            keyed = blake2b(key=self._key or self._first_key(), digest_size=size, person=purpose)
            self._keyed[purpose] = keyed
        hashed = keyed.copy()
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    def _first_key(self) -> bytes:
        # No lock: a fork would copy it locked. Of two threads that race here both may call, and one key stays.
        if self._make_key is not None:
            made = _checked(self._make_key())
            self._key = self.__dict__.setdefault("_made", made)
        return self._key


class _Words(dict[str, str]):
    def __init__(self, keyed: KeyedHash) -> None:
        super().__init__()
        self._keyed = keyed

    def __missing__(self, text: str) -> str:
        hashed = self._keyed.word(text)
        if len(self) < _MAX_CACHED and len(text) <= _MAX_TEXT_CACHED:
            self[text] = hashed
        return hashed


def _checked(key: object) -> bytes:
    if not isinstance(key, bytes):
        msg = f"key: {type(key).__name__}; allowed: bytes, or a callable that returns bytes"
        raise TypeError(msg)
    if not 1 <= len(key) <= blake2b.MAX_KEY_SIZE:
        msg = f"key: {len(key)} bytes; allowed: 1 to {blake2b.MAX_KEY_SIZE}"
        raise ValueError(msg)
    return key
