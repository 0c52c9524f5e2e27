"""The fields of an event as the attributes of an OTLP/JSON span or log record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_processors._otlp_values import any_value, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from structlog.typing import EventDict

RESERVED: Final = frozenset(
    {"event", "level", "timestamp", "trace_id", "span_id", "parent_span_id", "exc_info", "log.record.uid"}
)
"""Keys of an event dict that are not fields, because a span or log record has fields of its own for them."""

_MAX_CACHED: Final = 4096
_MAX_TEXT_CACHED: Final = 256  # characters, so that the cache is bounded in bytes too
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1


def key_values(attributes: Mapping[str, object]) -> dict[str, str]:
    """Return the JSON text of each attribute's KeyValue, by its key."""
    return {key: f"{head_of(key)}{any_value(value)}}}" for key, value in attributes.items()}


class Attributes:
    """Encodes fields as KeyValues with `prefix` before each key, followed by the `constants`.

    A field replaces a constant with the same full key, because keys are unique. `sample_rate` has no prefix.
    """

    def __init__(self, prefix: str, constants: Mapping[str, object]) -> None:
        self.prefix = prefix
        self._heads = Heads(prefix)
        self._heads |= dict.fromkeys(RESERVED, "") | {"sample_rate": head_of("sample_rate")}
        self._constants = key_values(constants)
        self.constants = ",".join(self._constants.values())
        self._clashing = {key.removeprefix(prefix) for key in constants if key.startswith(prefix)} - RESERVED

    def encode(self, event_dict: EventDict) -> str:
        """Return the KeyValues of all fields of an event dict, joined by commas.

        Raises TypeError for a key that is not a str.
        """
        heads = self._heads
        text = ""
        for key, value in event_dict.items():
            head = heads[key]
            if head:
                text += key_value(head, value)
        constants = self._unclashed(event_dict) if self._clashing else self.constants
        return text + constants if constants else text[:-1]

    def head(self, field: str) -> str:
        """Return the JSON text of a field's KeyValue up to its value."""
        return self._heads[field]

    def without(self, event_dict: EventDict, attributes: Mapping[str, object]) -> dict[str, object]:
        """Return `attributes` without those whose key is the full key of a field."""
        full = {self.prefix + key for key in event_dict} | self._constants.keys()
        return {key: value for key, value in attributes.items() if key not in full}

    def clashes(self, fields: Iterable[str]) -> bool:
        """Return whether one of these fields has the full key of a constant."""
        return not self._clashing.isdisjoint(fields)

    def _unclashed(self, event_dict: EventDict) -> str:
        own = {self.prefix + key for key in self._clashing.intersection(event_dict)}
        return ",".join(text for key, text in self._constants.items() if key not in own)


class Texts(dict[str | bool, str]):
    """Cache of a field's KeyValue and a comma, by its value, which is exactly a str or a bool."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head = head

    def __missing__(self, value: str | bool) -> str:  # noqa: FBT001 - dict's signature
        text = key_value(self.head, value)
        if len(self) < _MAX_CACHED and len(text) <= _MAX_TEXT_CACHED:
            self[value] = text
        return text


class Heads(dict[str, str]):
    """Cache of the JSON text of a KeyValue before its value, by the attribute's key; `prefix` precedes each key."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self.prefix = prefix

    def __missing__(self, key: str) -> str:
        if type(key) is not str:
            raise TypeError
        head = head_of(self.prefix + key)
        if len(self) < _MAX_CACHED:
            self[key] = head
        return head


def head_of(key: str) -> str:
    """Return the JSON text of the KeyValue of a key before its value."""
    return f'{{"key":{quote(key)},"value":'


def key_value(head: str, value: Any) -> str:
    """Return the JSON text of a KeyValue, which begins with `head`, and a comma."""
    kind = type(value)
    if kind is float and value - value == 0.0:  # neither NaN nor infinite
        return f'{head}{{"doubleValue":{value!r}}}}},'
    if kind is bool:
        return f'{head}{{"boolValue":true}}}},' if value else f'{head}{{"boolValue":false}}}},'
    if kind is int and _MIN_INT <= value <= _MAX_INT:
        return f'{head}{{"intValue":"{value}"}}}},'
    if kind is str:
        return f'{head}{{"stringValue":{quote(value)}}}}},'
    return f"{head}{any_value(value)}}},"
