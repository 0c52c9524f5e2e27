"""Lets out what was declared and nothing else: a string leaves only if it was known in advance."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from automagik_processors._conventions import EARLIEST, LATEST, SEVERITIES, seconds
from automagik_processors._hashing import KeyedHash
from automagik_processors._mappings import plain_dict
from automagik_processors.exceptions import Dropped
from automagik_processors.kinds import Kind, Word, three_digits

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_random_key: Final = partial(os.urandom, 32)
_word: Final = Word().take

Take = Callable[[object], Any]
"""Returns a value as it may leave, or None to withhold it."""


class Anonymize:
    """Return a new event dict with what the catalogue declares, in the catalogue's order.

    `catalogue` gives for each event name the fields and their kinds; it is read once, here. `vocabulary` holds
    the words that leave verbatim; it is asked each time, so a word added to it leaves from then on. Any other
    word leaves as `custom-` and 16 hex digits of a hash keyed with `key` (1 to 64 bytes, or a callable that
    returns them, called at the first need; by default random bytes of this object's own).

    `level`, `timestamp` and `sample_rate` are carried if they are what they should be: a timestamp in the years 2000 to
    2099, as Unix seconds, a datetime or ISO 8601 (without an offset it is local time, as structlog writes it);
    `trace_id`, `span_id` and `parent_span_id` as keyed hashes, which still join.
    `on_withheld(event, field, reason)` hears of what does not
    leave, never of the value; the reasons are `unknown_field`, `wrong_kind` and `unknown_word`. It is called while
    `hears()` is true, so that nobody works out what nobody wants to know.

    Raises `Dropped("unknown_event")` for an event that is not in the catalogue, and for no value anything else.
    The constructor raises TypeError or ValueError for a mistake in the catalogue, the vocabulary or the key.
    """

    def __init__(
        self,
        catalogue: Mapping[str, Mapping[str, Kind]],
        vocabulary: Container[str] = frozenset(),
        key: bytes | Callable[[], bytes] = _random_key,
        on_withheld: Callable[[str, str, str], None] | None = None,
        hears: Callable[[], bool] = lambda: True,
    ) -> None:
        if isinstance(vocabulary, str):
            msg = "vocabulary: a str, which would let out its every part; allowed: a container of words"
            raise TypeError(msg)
        self.vocabulary = vocabulary
        self._hash = KeyedHash(key)
        self._on_withheld = on_withheld or _ignore
        self.hears = hears if on_withheld is not None else _nobody
        """Whether someone wants to know what is withheld."""
        self.catalogue = {event: dict(fields) for event, fields in catalogue.items()}
        self.carried: tuple[tuple[str, Take], ...] = (
            ("level", _level),
            ("timestamp", _timestamp),
            ("sample_rate", _sample_rate),
            ("trace_id", _hashed(self._hash.trace_id)),
            ("span_id", _hashed(self._hash.span_id)),
            ("parent_span_id", _hashed(self._hash.span_id)),
        )
        """What of every event leaves beside its fields, and how each is taken."""
        self.plans = {event: self._plan(event, fields) for event, fields in self.catalogue.items()}
        """For each event its fields, in order, and how each is taken."""

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return what of `event_dict` may leave, as a new dict."""
        try:
            leaving = self._leaving(event_dict)
        except Exception:  # noqa: BLE001  # no Dropped, which is a BaseException like every DropEvent
            # A dict subclass, another mapping, or a key whose __eq__ raises: read as what it really holds.
            event_dict = plain_dict(event_dict, _no_str)
            leaving = self._leaving(event_dict)
        if self.hears():
            for field, reason in self._withheld(event_dict, leaving):
                self._on_withheld(leaving["event"], field, reason)
        return leaving

    def _leaving(self, event_dict: EventDict) -> EventDict:
        """Return what leaves. This is the hot path, but for `Fused`, which does the same."""
        if type(event_dict) is not dict:
            raise TypeError
        get = event_dict.get
        event: Any = get("event")
        plan = self.plans.get(event) if type(event) is str else None
        if plan is None:
            raise Dropped("unknown_event")
        leaving: EventDict = {"event": event}
        for steps in (plan, self.carried):
            for field, take in steps:
                value = get(field)
                if value is not None:
                    taken = take(value)
                    if taken is not None:
                        leaving[field] = taken
        return leaving

    def _withheld(self, event_dict: EventDict, leaving: EventDict) -> Iterator[tuple[str, str]]:
        """Yield the fields that don't leave, or not verbatim, and why."""
        kinds = self.catalogue[leaving["event"]]
        for field in (*kinds, *(field for field, _ in self.carried)):
            if event_dict.get(field) is None:
                continue
            if field not in leaving:
                yield field, "wrong_kind"
            elif isinstance(kind := kinds.get(field), Word) and kind.take(event_dict[field]) != leaving[field]:
                yield field, "unknown_word"
        known = {"event", *kinds, *(field for field, _ in self.carried)}
        names = [key if type(key) is str else _no_str(key) for key, value in event_dict.items() if value is not None]
        for name in names:
            if name not in known:
                yield name, "unknown_field"

    def _plan(self, event: str, fields: Mapping[str, Kind]) -> tuple[tuple[str, Take], ...]:
        for field in fields:
            if field == "event" or field in dict(self.carried):
                msg = f"catalogue[{event!r}][{field!r}]: this key has a meaning of its own; allowed: any other name"
                raise ValueError(msg)
        return tuple(
            (field, self._word(kind) if isinstance(kind, Word) else kind.take) for field, kind in fields.items()
        )

    def _word(self, kind: Word) -> Take:
        """Return how a word is taken: as it is if it is known, else as a hash."""
        vocabulary, hashed = self.vocabulary, self._hash.words
        is_plain = type(kind) is Word  # a subclass may take something else

        def take(value: object) -> str | None:
            text = value if is_plain and type(value) is str else kind.take(value)
            return text if text is None or text in vocabulary else f"custom-{hashed[text]}"

        return take


def _level(value: object) -> str | None:
    name = _word(value)
    return name if name in SEVERITIES else None


def _timestamp(value: object) -> float | int | None:
    return seconds(value, EARLIEST, LATEST)


def _sample_rate(value: object) -> float | None:
    return three_digits(value) if type(value) is float and 0.0 < value <= 1.0 else None


def _hashed(hashed: Callable[[str], str]) -> Take:
    def take(value: object) -> str | None:
        text = _word(value)
        return None if text is None else hashed(text)

    return take


def _no_str(_key: object) -> str:
    return "(not a str)"


def _ignore(_event: str, _field: str, _reason: str) -> None:
    return


def _nobody() -> bool:
    return False
