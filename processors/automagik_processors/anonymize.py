"""Sends only declared events and fields, and hashes strings that are not on the allowlist."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from automagik_processors import _application
from automagik_processors._conventions import EARLIEST, LATEST, SEVERITIES, seconds
from automagik_processors._hashing import KeyedHash
from automagik_processors._mappings import plain_dict
from automagik_processors._scalars import real_of, word_of
from automagik_processors.exceptions import Dropped
from automagik_processors.kinds import Kind, Word, three_digits

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


_random_key: Final = partial(os.urandom, 32)

Take = Callable[[object], Any]
"""Returns a value as it may be sent, or None to drop it."""


class Anonymize:
    """Return a new event dict with the fields that the catalogue declares, in the catalogue's order.

    A string on the allowlist is sent as it is. Any other string is sent as `custom-` and 16 hex digits of a keyed hash.
    `level`, `timestamp` and `sample_rate` are carried if they are valid: a timestamp in the years 2000 to 2099, as Unix
    seconds, a datetime or ISO 8601 (without an offset it is local time, as structlog writes it). `trace_id`, `span_id`
    and `parent_span_id` are carried as keyed hashes, which still join.

    The processor raises `Dropped("unknown_event")` for an event that is not in the catalogue,
    `Dropped("expired_event")` for one whose declaration has expired, and nothing else.

    Args:
        catalogue: The fields of each event, with their kinds. It is read once, here. By default the events that the
            application declares, later ones too, which needs `automagik_telemetry`.
        allowlist: The words that are sent as they are, except for fields that have their own allowed values. With a
            catalogue of your own, a container that is checked for each word, so a word added later counts from then
            on. Otherwise a list or set of words that are declared, in addition to those that the application declares
            elsewhere.
        key: The hash key: 1 to 64 bytes, or a callable that returns them, called at the first need. By default random
            bytes of this object with a catalogue of your own, else the key that the application keeps on this machine.
        on_dropped: Called with the event, the field and the reason for each field that is not sent as it is, never
            with the value. The reasons are `unknown_field`, `wrong_kind` and `unknown_word`. By default nothing, or the
            application's log at level DEBUG.
        is_reporting: Returns False if `on_dropped` must not be called. By default it is always called.
        events: More events that the application declares, by name. Only without a catalogue of your own. Each is a
            mapping with `description`, `fields`, and optionally `level`, `owner`, `since`, `expires` and `deprecated`.
            A field is a mapping with `kind`, `description`, and the arguments of its kind.

    Raises:
        TypeError: The allowlist is a str or not a container, the key is not bytes, there is no catalogue, or there are
            both a catalogue and events.
        ValueError: The catalogue declares a key that has a meaning of its own, the key has another length, or a word
            or event can't be declared.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a key of logging.yaml
        self,
        catalogue: Mapping[str, Mapping[str, Kind]] | None = None,
        allowlist: Container[str] = (),
        key: bytes | Callable[[], bytes] | None = None,
        on_dropped: Callable[[str, str, str], None] | None = None,
        is_reporting: Callable[[], bool] = lambda: True,
        events: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(allowlist, str) or not hasattr(type(allowlist), "__contains__"):
            msg = f"allowlist: {type(allowlist).__name__} {allowlist!r}; allowed: a list or set of words"
            raise TypeError(msg)
        self._expires: Mapping[str, float] = {}
        self._has_own_key = key is not None or catalogue is not None
        if catalogue is None:
            application = _application.application
            if application is None:
                msg = "catalogue: None; allowed: the fields of each event. automagik_telemetry.Anonymize needs none"
                raise TypeError(msg)
            if events is not None:
                application.declare(events)
            self.declared: Mapping[str, Mapping[str, Kind]] = application.catalogue
            """The declared events, later ones included."""
            self._expires, allowlist = application.expires, application.allow(allowlist)
            key = application.key if key is None else key
            if on_dropped is None:
                on_dropped, is_reporting = application.drop_log()
        elif events is not None:
            msg = "events: not allowed beside a catalogue. Put them into the catalogue"
            raise TypeError(msg)
        else:
            self.declared = {event: dict(fields) for event, fields in catalogue.items()}
        self.allowlist = allowlist
        self._hash = KeyedHash(_random_key if key is None else key)
        self._on_dropped = on_dropped or _ignore
        self.is_reporting = is_reporting if on_dropped is not None else _never
        """Return whether dropped fields are to be reported."""
        self.on_wrong_kind: Callable[[str, str], None] = _ignore_wrong_kind
        """Called with the event and the field for each declared value that is dropped because it is not of its kind."""
        self._make_plans()

    def _make_plans(self) -> None:
        self._hash_counts: list[Callable[[], int]] = []
        self.catalogue = {event: dict(fields) for event, fields in dict(self.declared).items()}
        """The fields of each event with their kinds, as they were when the event was first needed."""
        self.carried: tuple[tuple[str, Take], ...] = (
            ("level", _level),
            ("timestamp", _timestamp),
            ("sample_rate", _sample_rate),
            ("trace_id", _hashed(self._hash.trace_id)),
            ("span_id", _hashed(self._hash.span_id)),
            ("parent_span_id", _hashed(self._hash.span_id)),
        )
        """The keys of every event that are sent beside its fields, with their converters."""
        self.plans = {event: self._plan(event, fields) for event, fields in self.catalogue.items()}
        """The fields of each event, in order, with their converters."""

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return the part of `event_dict` that may be sent, as a new dict."""
        try:
            leaving = self._leaving(event_dict)
        except Exception:  # not Dropped, which is a BaseException like every DropEvent
            # A dict subclass, another mapping, or a key whose __eq__ raises: its stored pairs are read.
            event_dict = plain_dict(event_dict, _no_str)
            leaving = self._leaving(event_dict)
        if self.is_reporting():
            for field, reason in self.dropped_fields(event_dict, leaving):
                self._on_dropped(leaving["event"], field, reason)
        return leaving

    def _leaving(self, event_dict: EventDict) -> EventDict:
        """Return the sent part. This is the hot path, except for `Direct`, which does the same."""
        if type(event_dict) is not dict:
            raise TypeError
        get = event_dict.get
        event: Any = get("event")
        if type(event) is not str:
            event = word_of(event)
        plan = self.plans.get(event)
        if plan is None:
            plan = self.plan(event)
        if event in self._expires:
            self.check_expiry(event)
        leaving: EventDict = {"event": event}
        wrong: list[str] = []
        for steps in (plan, self.carried):
            for field, take in steps:
                value = get(field)
                if value is not None:
                    taken = take(value)
                    if taken is not None:
                        leaving[field] = taken
                    else:
                        wrong.append(field)
        if wrong:
            self.report_wrong_kind(event, wrong)
        return leaving

    def plan(self, event: str) -> tuple[tuple[str, Take], ...]:
        """Return the fields of an event with their converters. It may have been declared after this object was made.

        Args:
            event: Name of the event.

        Returns:
            The fields, in order.

        Raises:
            Dropped: The event is not declared.
        """
        if event not in self.plans:
            fields = self.declared.get(event)
            if fields is None:
                raise Dropped("unknown_event")
            self.catalogue[event] = dict(fields)
            self.plans[event] = self._plan(event, fields)
        return self.plans[event]

    def may_expire(self, event: str) -> bool:
        """Return whether the declaration of an event has a date of expiry.

        Args:
            event: Name of the event.

        Returns:
            Whether `check_expiry` must be called for each of its events.
        """
        return event in self._expires

    def check_expiry(self, event: str) -> None:
        """Raise an exception if the declaration of an event has expired.

        Args:
            event: Name of the event.

        Raises:
            Dropped: The declaration has expired.
        """
        until = self._expires.get(event)
        if until is not None and time.time() >= until:
            raise Dropped("expired_event")

    def report_wrong_kind(self, event: str, fields: Iterable[str]) -> None:
        """Report declared fields of an event that are dropped because their values are not of their kinds.

        Args:
            event: Name of the event.
            fields: Names of the fields.
        """
        for field in fields:
            self.on_wrong_kind(event, field)

    @property
    def hashed(self) -> int:
        """Number of strings that were replaced by a hash."""
        return sum(count() for count in self._hash_counts)

    def share_key(self, key: Callable[[], bytes]) -> None:
        """Hash with a key of the application's, unless this object was given one.

        Args:
            key: Returns the key, at the first need.
        """
        if not self._has_own_key:
            self._hash.replace_key(key)

    def copy(self) -> Anonymize:
        """Return another object with the same arguments, to which `share_key` can give another key.

        Returns:
            The other object.
        """
        return copy(self)._anew()  # noqa: SLF001 - a method of its own class

    def _anew(self) -> Anonymize:
        if not self._has_own_key:
            self._hash = KeyedHash(_random_key)
        self._make_plans()
        return self

    def use_key(self, key: bytes) -> Callable[[], None]:
        """Use another hash key, as tests do, so that hashes are the same in each run.

        Args:
            key: 1 to 64 bytes.

        Returns:
            A function that restores the previous key.

        Raises:
            TypeError: The key is not bytes.
            ValueError: The key has another length.
        """
        return self._hash.replace_key(key)

    def dropped_fields(self, event_dict: EventDict, leaving: EventDict) -> Iterator[tuple[str, str]]:
        """Return the fields that are dropped or hashed.

        Args:
            event_dict: The event.
            leaving: The part of it that is sent, as this processor returned it.

        Returns:
            The name of each field, and the reason: `unknown_field`, `wrong_kind`, or `unknown_word` for a hashed one.
        """
        kinds = self.catalogue[leaving["event"]]
        for field in (*kinds, *(field for field, _ in self.carried)):
            if event_dict.get(field) is None:
                continue
            if field not in leaving:
                yield field, "wrong_kind"
            elif (kind := kinds.get(field)) and kind.is_word and kind.take(event_dict[field]) != leaving[field]:
                yield field, "unknown_word"
        known = {"event", *kinds, *(field for field, _ in self.carried)}
        names = [key if type(key) is str else _no_str(key) for key, value in event_dict.items() if value is not None]
        for name in names:
            if name not in known:
                yield name, "unknown_field"

    def _plan(self, event: str, fields: Mapping[str, Kind]) -> tuple[tuple[str, Take], ...]:
        for field in fields:
            if field == "event" or field in dict(self.carried):
                msg = f"catalogue[{event!r}]: the field name {field!r} is reserved. Choose another."
                raise ValueError(msg)
        return tuple(
            (field, self._word(cast("Word", kind)) if kind.is_word else kind.take) for field, kind in fields.items()
        )

    def _word(self, kind: Word) -> Take:
        """Return the converter of a string: verbatim if it is an allowed value, else a hash."""
        allowed = getattr(kind, "allowed", None)  # a subclass with a constructor of its own may not have it
        allowlist, hashed = self.allowlist if allowed is None else allowed, self._hash.words
        is_plain = type(kind) is Word  # a subclass may accept other values
        count = 0

        def take(value: object) -> str | None:
            nonlocal count
            text = value if is_plain and type(value) is str else kind.take(value)
            if text is None or text in allowlist:
                return text
            count += 1  # no other thread runs within this line
            return f"custom-{hashed[text]}"

        self._hash_counts.append(lambda: count)
        return take


def _level(value: object) -> str | None:
    name = word_of(value)
    return name if name in SEVERITIES else None


def _timestamp(value: object) -> float | int | None:
    return seconds(value, EARLIEST, LATEST)


def _sample_rate(value: object) -> float | None:
    rate = real_of(value)
    return three_digits(rate) if rate is not None and 0.0 < rate <= 1.0 else None


def _hashed(hashed: Callable[[str], str]) -> Take:
    def take(value: object) -> str | None:
        text = word_of(value)
        return None if text is None else hashed(text)

    return take


def _no_str(_key: object) -> str:
    return "(not a str)"


def _ignore(_event: str, _field: str, _reason: str) -> None:
    return


def _ignore_wrong_kind(_event: str, _field: str) -> None:
    return


def _never() -> bool:
    return False
