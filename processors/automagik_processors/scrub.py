"""Replaces secrets in an event by a mark, for content that is sent to the user's own account."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from operator import is_
from types import NoneType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from automagik_processors import _scrub_keys as scrub_keys
from automagik_processors import _scrub_shapes as scrub_shapes
from automagik_processors import _scrub_values as values
from automagik_processors._mappings import by_type, pairs_of, plain_dict
from automagik_processors._otlp_values import text_of
from automagik_processors._scrub_keys import CERTAIN, DEFAULT_KEYS, Kind, SecretKeys, secret_keys
from automagik_processors._scrub_shapes import DEFAULT_PATTERNS, Shapes
from automagik_processors._scrub_text import TextScrubber, is_secret_address

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MAX_DEPTH: Final = 16
"""Maximum levels of containers, and of JSON in strings. A mark replaces deeper ones."""

MAX_NODES: Final = 10_000
"""Maximum number of values within one field, or one span of a trace. A mark replaces each further one."""

_LONG_KEY: Final = 12  # characters, from which on a key may hold a secret itself
_MAX_REMEMBERED_CHARACTERS: Final = 64  # characters of a key
_MAX_REMEMBERED: Final = 4_096
_LONG_TEXT: Final = 100  # characters; a longer text is examined only once in an event
_NUMBERS: Final = frozenset({NoneType, bool, int, float})
_DIGITS: Final = range(3, 13)  # of a PIN or the like
_EMPTY: Final = frozenset({str, bytes, list, tuple, dict, set, frozenset})  # of which an empty one holds no secret
_SHORT_FLAGS: Final = frozenset({"-p", "-P", "-pw"})
_MAX_ARGUMENTS: Final = 256
_NAMES: Final = ("name", "key", "header", "Name", "Key", "field", "param", "parameter", "label", "type")
_VALUES: Final = frozenset({"value", "Value", "val"})
_HOLDERS: Final = _VALUES | {"content", "default", "data", "text"}
_SAFE: Final = (NoneType, bool, int, float, complex, dt.date, dt.time, dt.timedelta, Decimal, UUID)


class Scrub:
    """Return the event with a mark in place of secrets: the event itself if there are none, else a copy.

    A secret is

    - a value under a key whose last words are one of `keys` (in any case and spelling: `api key` is `apiKey`,
      `X-API-Key` and `OPENAI_API_KEY` too; `token` is `access_token` and not `token_count`): in dicts and other
      mappings, dataclasses, pairs, `{"name": ..., "value": ...}`, command lines, in JSON that a text holds, and in
      text after separators, in headers, parameters, options, markup, forms and statements of SQL. In text, a value that
      is an expression of code, a type or a placeholder stays. Default keys with other meanings, such as `key` or
      `session id`, count only if their value looks random;
    - the user part of a URL, and parameters that sign or authorize it;
    - a text that matches one of `patterns`, wherever it stands, keys of dicts included.

    Depth and size are bounded: a mark replaces everything deeper than `MAX_DEPTH` levels, everything after the first
    `MAX_NODES` values of a field (of a list `spans`, of each span), and everything after the first million characters
    of a text. It also replaces the rest of a text with more than 1,000 names of secrets without a value, and one more
    in 32 characters. A secret stays that is a plain word in a sentence, or that looks like an ID and has no name.

    Nothing of the caller's is changed, and the processor raises nothing.

    Args:
        keys: Names of secrets, in place of the defaults.
        patterns: Regular expressions of secrets, in place of the defaults. If an expression has a group named `secret`,
            that group alone is replaced. It should take time linear in the text.
        mark: The text that replaces a secret. The default is "[scrubbed]"; an empty one removes secrets.
        extra_keys: Names of secrets, in addition to `keys`. Any value under them is one, in every key
            that ends with such a name.
        extra_patterns: Regular expressions of secrets, in addition to `patterns`.

    Raises:
        TypeError: An argument is not a list of texts, or the mark is not a text.
        ValueError: A name is empty, or an expression is not valid.
    """

    def __init__(
        self,
        keys: Sequence[str] = DEFAULT_KEYS,
        patterns: Sequence[str] = DEFAULT_PATTERNS,
        mark: str = "[scrubbed]",
        *,
        extra_keys: Sequence[str] = (),
        extra_patterns: Sequence[str] = (),
    ) -> None:
        if type(mark) is not str:
            msg = f"Scrub(mark={mark!r}): must be a str"
            raise TypeError(msg)
        names, added = scrub_keys.checked("keys", keys), scrub_keys.checked("extra_keys", extra_keys)
        shapes = scrub_shapes.checked("patterns", patterns) + scrub_shapes.checked("extra_patterns", extra_patterns)
        self._mark = mark
        self._keys = secret_keys(names, added)
        self._text = TextScrubber(self._keys, Shapes(shapes, mark), mark)
        self._known_keys = _KnownKeys(self._keys, self._text)

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return the event without secrets."""
        try:
            event = event_dict if type(event_dict) is dict else plain_dict(event_dict, text_of)
            return _Walk(self._keys, self._text, self._known_keys, self._mark).fields(event)
        except Exception:  # a key whose __hash__ or __eq__ raises
            return {"event": self._mark}


class _KnownKeys:
    """Recognizes keys that are a str without the name of a secret or a secret, and remembers short ones."""

    def __init__(self, keys: SecretKeys, text: TextScrubber) -> None:
        self._keys = keys
        self._text = text
        self.harmless: set[int] = set()
        """Hashes of keys that were found to be harmless. The keys are content, and are not kept."""

    def is_harmless(self, key: object) -> bool:
        """Judge a key of which the hash is not known."""
        if type(key) is not str or self._keys.kind(key) is not None:
            return False
        harmless = len(key) <= _LONG_KEY or self._text.scrub(key) == key
        if harmless and len(key) <= _MAX_REMEMBERED_CHARACTERS and len(self.harmless) < _MAX_REMEMBERED:
            self.harmless.add(hash(key))
        return harmless


class _Walk:
    """One event in progress. `_left` is the number of values that may still be examined within the present field."""

    def __init__(self, keys: SecretKeys, text: TextScrubber, known_keys: _KnownKeys, mark: str) -> None:
        self._keys = keys
        self._texts = text
        self._harmless = known_keys.harmless
        self._is_harmless = known_keys.is_harmless
        self._known = text.harmless
        self._is_id = text.is_harmless_id
        self._seen: set[str] = set()
        self._mark = mark
        self._left = MAX_NODES

    def fields(self, event: EventDict) -> EventDict:
        """Return the event, or a copy without secrets."""
        changes: dict[Any, tuple[Any, Any]] = {}
        harmless, is_harmless, known, is_id = self._harmless, self._is_harmless, self._known, self._is_id
        for key, value in event.items():
            kind = type(value)
            if (hash(key) in harmless or is_harmless(key)) and (
                kind in _NUMBERS or (kind is str and (hash(value) in known or is_id(value)))
            ):
                continue
            self._left = MAX_NODES
            if kind is list and type(key) is str and key == "spans":
                new_key, new = key, self._spans(value)
            else:
                new_key, new = self._pair(key, value, 0)
            if new is not value or new_key is not key:
                changes[key] = new_key, new
        return _with(changes, event) if changes else event

    def _spans(self, spans: list[Any]) -> list[Any]:
        """Return a trace's spans, each scrubbed as a field is."""
        scrubbed = []
        for span in list.__iter__(spans):
            self._left = MAX_NODES
            scrubbed.append(self.value(span, 0))
        return spans if _same(spans, scrubbed) else scrubbed

    def value(self, value: Any, depth: int) -> object:
        """Return `value`, or a copy without secrets; the mark if it can't be read."""
        kind = type(value)
        if kind in _NUMBERS:
            return value
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            return self._mark
        try:
            if kind is str:
                return self._text(value, depth)
            if kind is dict:
                return self._dict(value, depth)
            walker = _WALKERS.get(kind) or by_type(_WALKERS, kind, _Walk._other)
            return walker(self, value, depth)
        except Exception:  # the object's own methods may raise anything
            return self._mark

    def _text(self, text: str, depth: int) -> str:
        last = text[-1:]
        if (last in "}]" or last.isspace()) and depth < MAX_DEPTH:
            whole = text.strip()
            if whole[:1] in ("{", "[") and whole[-1:] in ("}", "]") and self._may_be_hidden(text):
                return self._texts.scrub(self._json(text, depth))
        if text in self._seen:
            return text
        scrubbed = self._texts.scrub(text)
        if scrubbed is text and len(text) > _LONG_TEXT:  # the same message is often in many spans of a trace
            self._seen.add(text)
        return scrubbed

    def _may_be_hidden(self, text: str) -> bool:
        return "\\u" in text or self._texts.may_hold_key(text)

    def _json(self, text: str, depth: int) -> str:
        """Return `text` or, if it is JSON with secrets in it, the same without them."""
        try:
            held = json.loads(text)
        except (ValueError, RecursionError):
            return text
        left = self._left
        scrubbed = self.value(held, depth + 1)
        if self._left < 0:  # too large to parse: it is scrubbed as text, by its keys
            self._left = left
            return text
        return text if scrubbed is held else json.dumps(scrubbed, ensure_ascii=False)

    def _pair(self, key: Any, value: Any, depth: int) -> tuple[Any, Any]:
        if type(key) is not str:
            name = key.decode("latin-1") if type(key) is bytes else text_of(key)
        elif hash(key) in self._harmless or self._is_harmless(key):
            return key, self.value(value, depth + 1)
        else:
            name = key
            if len(key) > _LONG_KEY:
                key = self._texts.scrub(key)
        kind = self._keys.kind(name)
        if kind is None:
            return key, self.value(value, depth + 1)
        if self._is_secret(kind, value):
            return key, self._mark
        new = self.value(value, depth + 1)
        if isinstance(new, (list, tuple)):  # headers and parameters often come as lists
            judged = [self._mark if self._is_secret(kind, item) else item for item in new]
            new = new if _same(list(new), judged) else judged
        return key, new

    def _dict(self, value: dict[Any, Any], depth: int) -> object:
        changes: dict[Any, tuple[Any, Any]] = {}
        harmless, is_harmless, known, is_id = self._harmless, self._is_harmless, self._known, self._is_id
        shallow = depth < MAX_DEPTH
        for key, item in dict.items(value):
            if hash(key) in harmless or is_harmless(key):
                kind = type(item)
                if kind in _NUMBERS:
                    continue
                if kind is str and shallow and self._left > 0 and (hash(item) in known or is_id(item)):
                    self._left -= 1
                    continue
                new_key, new = key, self.value(item, depth + 1)
            else:
                new_key, new = self._pair(key, item, depth)
            if new is not item or new_key is not key:
                changes[key] = new_key, new
        scrubbed = _with(changes, dict(dict.items(value))) if changes else value
        if not _HOLDERS.isdisjoint(scrubbed):
            return self._named(scrubbed)
        return scrubbed

    def _named(self, pairs: dict[Any, Any]) -> dict[Any, Any]:
        """Return a dict without its value if it has that and a secret's name."""
        for key in _NAMES:
            name = _plain(pairs.get(key))
            kind = self._keys.kind(name) if type(name) is str else None
            for holder in _HOLDERS.intersection(pairs) if kind else ():
                # In `content` and the like stands what a tool says too.
                certain = kind if holder in _VALUES else Kind.STRANGE
                if certain and self._is_secret(certain, pairs[holder]):
                    pairs = {**pairs, holder: self._mark}
        return pairs

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        """Return the items without secrets: those of pairs, those after a flag or name, and a command's arguments."""
        scrubbed: list[Any] = []
        kind: Kind | None = None  # of the item before
        for item in items:
            if kind is not None and self._is_secret(kind, item):
                new: object = self._mark
            elif type(item) in (list, tuple) and len(item) == 2 and self._names_secret(*item):  # noqa: PLR2004 - a pair
                new = type(item)((item[0], self._mark))
            else:
                new = self.value(item, depth + 1)
            kind = self._announced(item)
            scrubbed.append(new)
        if 1 < len(items) <= _MAX_ARGUMENTS and any(map(_is_flag, items)):
            self._scrub_arguments(items, scrubbed)
        return scrubbed

    def _announced(self, item: object) -> Kind | None:
        """Return the kind of secret that follows an item of a list: after a flag as under a key, else a random one."""
        name = _plain(item)
        if type(name) is not str or len(name) > _MAX_REMEMBERED_CHARACTERS or "=" in name:
            return None
        kind = self._keys.kind(name)
        return kind if name[:1] == "-" and kind is not None else Kind.STRANGE if kind or name in _SHORT_FLAGS else None

    def _scrub_arguments(self, items: list[Any], scrubbed: list[Any]) -> None:
        """Replace those of a command's arguments that are secrets because of what stands before them."""
        words = [word for item in items if type(word := _plain(item)) is str]
        if len(words) < len(items):
            return
        line = self._texts.scrub(" ".join(words))
        for place, word in enumerate(words):
            if scrubbed[place] is items[place] and word not in line:
                scrubbed[place] = self._mark

    def _names_secret(self, key: object, value: object) -> bool:
        key = _plain(key)
        kind = self._keys.kind(key) if type(key) is str else None
        return kind is not None and self._is_secret(kind, value)

    def _is_secret(self, kind: Kind, value: Any) -> bool:
        """Return whether a value under a key of this kind is a secret."""
        value = _plain(value)
        if value is None or type(value) is bool or (type(value) in _EMPTY and not value):
            return False
        if kind in CERTAIN:
            return True
        if kind is Kind.DIGITS and issubclass(type(value), int):
            value = str(int.__int__(value))
        if type(value) is not str:
            if type(value) in _WALKERS or by_type(_WALKERS, type(value), _Walk._other) is not _Walk._other:
                return False
            value = text_of(value)
        if value == self._mark:
            return False
        if kind is Kind.ADDRESS:
            return is_secret_address(value)
        return (kind is Kind.DIGITS and value.isdigit() and len(value) in _DIGITS) or values.is_strange(value)

    def _list(self, value: list[Any], depth: int) -> object:
        before = list(list.__iter__(value))
        after = self._items(before, depth)
        return value if _same(before, after) else after

    def _tuple(self, value: tuple[Any, ...], depth: int) -> object:
        before = list(tuple.__iter__(value))
        names = getattr(type(value), "_fields", ())
        if names:
            after = [self._pair(name, item, depth)[1] for name, item in zip(names, before, strict=False)]
        else:
            after = self._items(before, depth)
        return value if _same(before, after) else tuple(after)

    def _set(self, value: set[Any] | frozenset[Any], depth: int) -> object:
        before = list(set.__iter__(value) if issubclass(type(value), set) else frozenset.__iter__(value))  # type: ignore[arg-type]
        after = self._items(before, depth)
        return value if _same(before, after) else after

    def _enum(self, value: Enum, depth: int) -> object:
        scrubbed = self.value(value._value_, depth)
        return value if scrubbed is value._value_ else scrubbed

    def _bytes(self, value: bytes | bytearray | memoryview, depth: int) -> object:
        try:
            text = bytes(value).decode()
        except UnicodeDecodeError:
            return value
        scrubbed = self._text(text, depth)
        return value if scrubbed is text or scrubbed == text else scrubbed

    def _exception(self, value: BaseException, depth: int) -> object:
        return self._as_text(value, f"{type(value).__name__}: {text_of(value)}", depth)

    def _other(self, value: Any, depth: int) -> object:
        pairs = pairs_of(value)
        if pairs is None:
            return self._as_text(value, text_of(value), depth)
        held = dict(pairs)
        scrubbed = self._dict(held, depth)
        return value if scrubbed is held else scrubbed

    def _as_text(self, value: object, text: str, depth: int) -> object:
        scrubbed = self._text(text, depth)
        return value if scrubbed == text else scrubbed


def _plain(value: Any) -> Any:
    """Return a text, bytes, or the member of an enumeration that holds either, as a plain str; else the value."""
    if type(value) is str:
        return value
    if issubclass(type(value), Enum):
        value = value._value_
    if issubclass(type(value), str):
        return str.__str__(value)
    return bytes(value).decode("latin-1") if issubclass(type(value), (bytes, bytearray, memoryview)) else value


def _is_flag(item: object) -> bool:
    return type(item) is str and item[:1] == "-" and item[1:2].isalpha() and not any(map(str.isspace, item))


def _with(changes: dict[Any, tuple[Any, Any]], value: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a copy in which some pairs, by their keys, are replaced."""
    return dict(changes.get(key, (key, item)) for key, item in value.items())


def _same(before: list[Any], after: list[Any]) -> bool:
    return all(map(is_, before, after))


Walker = Callable[[_Walk, Any, int], object]
_WALKERS: Final[dict[type, Walker]] = {
    **dict.fromkeys(_SAFE, lambda _walk, value, _depth: value),
    str: lambda walk, value, depth: walk._text(str.__str__(value), depth),  # noqa: SLF001 - of the same module
    dict: _Walk._dict,  # noqa: SLF001 - of the same module, here and below
    list: _Walk._list,  # noqa: SLF001 - as above
    tuple: _Walk._tuple,  # noqa: SLF001 - as above
    set: _Walk._set,  # noqa: SLF001 - as above
    frozenset: _Walk._set,  # noqa: SLF001 - as above
    bytes: _Walk._bytes,  # noqa: SLF001 - as above
    bytearray: _Walk._bytes,  # noqa: SLF001 - as above
    memoryview: _Walk._bytes,  # noqa: SLF001 - as above
    Enum: _Walk._enum,  # noqa: SLF001 - as above
    BaseException: _Walk._exception,  # noqa: SLF001 - as above
}
