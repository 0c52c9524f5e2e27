"""Lets out what was declared and nothing else: a string leaves only if it was known in advance."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from automagik_processors.dropped import Dropped
from automagik_processors.hashing import KeyedHash
from automagik_processors.kinds import Kind, Word, three_digits
from automagik_processors.levels import SEVERITIES
from automagik_processors.plain import plain_dict

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

_EARLIEST: Final = 946_684_800  # the year 2000
_LATEST: Final = 4_102_444_800  # the year 2100
_random_key: Final = partial(os.urandom, 32)
_word: Final = Word().take

_Take = Callable[[object], Any]


class Anonymize:
    """Return a new event dict with what the catalogue declares, in the catalogue's order.

    `catalogue` gives for each event name the fields and their kinds; it is read once, here. `vocabulary` holds
    the words that leave verbatim; it is asked each time, so a word added to it leaves from then on. Any other
    word leaves as `custom-` and 16 hex digits of a hash keyed with `key` (1 to 64 bytes, or a callable that
    returns them, called at the first need; by default random bytes of this object's own).

    `level`, `timestamp` and `sample_rate` are carried if they are what they should be; `trace_id`, `span_id` and
    `parent_span_id` as keyed hashes, which still join. `on_withheld(event, field, reason)` hears of what does not
    leave, never of the value; the reasons are `unknown_field`, `wrong_kind` and `unknown_word`.

    Raises `Dropped("unknown_event")` for an event that is not in the catalogue, and for no value anything else.
    The constructor raises TypeError or ValueError for a mistake in the catalogue, the vocabulary or the key.
    """

    def __init__(
        self,
        catalogue: Mapping[str, Mapping[str, Kind]],
        vocabulary: Container[str] = frozenset(),
        key: bytes | Callable[[], bytes] = _random_key,
        on_withheld: Callable[[str, str, str], None] | None = None,
    ) -> None:
        if isinstance(vocabulary, str):
            msg = "vocabulary: a str, which would let out its every part; allowed: a container of words"
            raise TypeError(msg)
        self._vocabulary = vocabulary
        self._hash = KeyedHash(key)
        self._on_withheld = on_withheld or _ignore
        carried: dict[str, _Take] = {
            "level": _level,
            "timestamp": _timestamp,
            "sample_rate": _sample_rate,
            "trace_id": _hashed(self._hash.trace_id),
            "span_id": _hashed(self._hash.span_id),
            "parent_span_id": _hashed(self._hash.span_id),
        }
        self._plans = {event: _plan(event, fields, carried) for event, fields in catalogue.items()}
        self._known = {event: frozenset(["event", *(step[0] for step in plan)]) for event, plan in self._plans.items()}

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return what of `event_dict` may leave, as a new dict."""
        try:
            leaving, withheld = self._divide(event_dict)
        except Exception:  # noqa: BLE001  # no Dropped, which is a BaseException like every DropEvent
            # A dict subclass, another mapping, or a key whose __eq__ raises: read as what it really holds.
            leaving, withheld = self._divide(plain_dict(event_dict, _no_str))
        for field, reason in withheld:
            self._on_withheld(leaving["event"], field, reason)
        return leaving

    def _divide(self, event_dict: EventDict) -> tuple[EventDict, list[tuple[str, str]]]:
        """Return what leaves, and what doesn't as pairs of field and reason. This is the hot path."""
        if type(event_dict) is not dict:
            raise TypeError
        get = event_dict.get
        event: Any = get("event")
        plan = self._plans.get(event) if type(event) is str else None
        if plan is None:
            raise Dropped("unknown_event")
        vocabulary = self._vocabulary
        leaving: EventDict = {"event": event}
        withheld: list[tuple[str, str]] = []
        size = len(event_dict)
        seen = 1
        for field, is_word, take in plan:
            value = get(field)
            if value is None:
                if seen == size:
                    break
                continue
            seen += 1
            if is_word and type(value) is str and value in vocabulary:
                leaving[field] = value
                continue
            taken = take(value)
            if taken is None:
                withheld.append((field, "wrong_kind"))
            elif is_word and taken not in vocabulary:
                leaving[field] = f"custom-{self._hash.word(taken)}"
                withheld.append((field, "unknown_word"))
            else:
                leaving[field] = taken
        if seen != size:
            withheld += _unknown_fields(event_dict, self._known[event])
        return leaving, withheld


def _plan(event: str, fields: Mapping[str, Kind], carried: Mapping[str, _Take]) -> tuple[tuple[str, bool, _Take], ...]:
    """Return what is done with an event: for each field, in order, whether it is a word, and its kind's `take`."""
    for field in fields:
        if field == "event" or field in carried:
            msg = f"catalogue[{event!r}][{field!r}]: this key has a meaning of its own; allowed: any other name"
            raise ValueError(msg)
    return (
        *((field, isinstance(kind, Word), kind.take) for field, kind in fields.items()),
        *((field, False, take) for field, take in carried.items()),
    )


def _unknown_fields(event_dict: EventDict, known: frozenset[str]) -> list[tuple[str, str]]:
    names = [key if type(key) is str else _no_str(key) for key, value in event_dict.items() if value is not None]
    return [(name, "unknown_field") for name in names if name not in known]


def _level(value: object) -> str | None:
    name = _word(value)
    return name if name in SEVERITIES else None


def _timestamp(value: Any) -> float | int | None:  # noqa: ANN401  # whatever a host puts there
    kind = type(value)
    return value if (kind is float or kind is int) and _EARLIEST <= value < _LATEST else None


def _sample_rate(value: object) -> float | None:
    return three_digits(value) if type(value) is float and 0.0 < value <= 1.0 else None


def _hashed(hashed: Callable[[str], str]) -> _Take:
    def take(value: object) -> str | None:
        text = _word(value)
        return None if text is None else hashed(text)

    return take


def _no_str(_key: object) -> str:
    return "(not a str)"


def _ignore(_event: str, _field: str, _reason: str) -> None:
    return
