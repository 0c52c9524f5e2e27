"""Keyed hashes of strings and IDs. Equal strings have equal hashes."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_CACHED: Final = 1024
_MAX_TEXT_CACHED: Final = 128  # characters, so that the cache is bounded in bytes too


class KeyedHash:
    """Keyed BLAKE2b hashes of strings.

    Args:
        key: 1 to 64 bytes, or a callable that returns them, called at the first use.

    Raises:
        ValueError: The key has another length. A callable's key raises at the first use.
        TypeError: The key is not bytes.
    """

    def __init__(self, key: bytes | Callable[[], bytes]) -> None:
        self._make_key = key if callable(key) else None
        self._key = b"" if callable(key) else _checked(key)
        self._keyed: dict[bytes, blake2b] = {}
        self.words = _Words(self)
        """Cache of `word`: `words[text]` is `word(text)`, for a bounded number of strings."""

    def replace_key(self, key: bytes | Callable[[], bytes]) -> Callable[[], None]:
        """Use another key, and return a function that restores the previous one."""
        before = dict(self.__dict__), dict(self.words)
        self.__dict__.pop("_made", None)
        self._make_key, self._key = (key, b"") if callable(key) else (None, _checked(key))
        self._keyed = {}
        self.words.clear()

        def restore() -> None:
            attributes, words = before
            self.__dict__.update(attributes)
            self.words.clear()
            self.words.update(words)

        return restore

    def word(self, text: str) -> str:
        """Return the hash of a string, 16 hex digits."""
        return self._digest(text, 8, b"")

    def trace_id(self, text: str) -> str:
        """Return the hash of a trace ID, 32 hex digits."""
        return self._digest(text, 16, b"trace_id")

    def span_id(self, text: str) -> str:
        """Return the hash of a span ID, 16 hex digits."""
        return self._digest(text, 8, b"span_id")

    def _digest(self, text: str, size: int, purpose: bytes) -> str:
        # The purpose separates hashes of strings and IDs. The keyed state is computed once and copied.
        keyed = self._keyed.get(purpose)
        if keyed is None:
            keyed = blake2b(key=self._key or self._first_key(), digest_size=size, person=purpose)
            self._keyed[purpose] = keyed
        hashed = keyed.copy()
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    def _first_key(self) -> bytes:
        # No lock, because a fork could copy it locked. Two threads may both call this, and one key is kept.
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
        msg = f"key must be bytes, or a callable that returns bytes, got {type(key).__name__}"
        raise TypeError(msg)
    if not 1 <= len(key) <= blake2b.MAX_KEY_SIZE:
        msg = f"key must have 1 to {blake2b.MAX_KEY_SIZE} bytes, got {len(key)}"
        raise ValueError(msg)
    return key
