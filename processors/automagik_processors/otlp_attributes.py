"""The fields of an event dict as the attributes of an OTLP/JSON span or log record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_processors.otlp_values import any_value, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from structlog.typing import EventDict

RESERVED: Final = frozenset({"event", "level", "timestamp", "trace_id", "span_id", "parent_span_id"})
"""Keys of an event dict that are no fields, for they have a place of their own in a span or log record."""

_MOST_CACHED: Final = 4096
_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**63 - 1


def key_values(attributes: Mapping[str, object]) -> dict[str, str]:
    """Return the JSON text of each attribute's KeyValue, by its key."""
    return {key: f"{_head(key)}{any_value(value)}}}" for key, value in attributes.items()}


class Attributes:
    """Encodes the fields of event dicts as KeyValues: `prefix` before each key, then the `constants`.

    Where a field's full key is a constant's, the field counts, for keys are unique. `sample_rate` has no prefix.
    """

    def __init__(self, prefix: str, constants: Mapping[str, object]) -> None:
        self._prefix = prefix
        self._heads = _Heads(prefix)
        self._constants = key_values(constants)
        self.constants = ",".join(self._constants.values())
        self._clashing = {key.removeprefix(prefix) for key in constants if key.startswith(prefix)} - RESERVED

    def encode(self, event_dict: EventDict) -> str:
        """Return the JSON texts of all KeyValues, joined by commas. This is the hot path.

        Raises TypeError for a key that is no str.
        """
        heads = self._heads
        text = ""
        for key, value in event_dict.items():
            head = heads[key]
            if not head:
                continue
            kind = type(value)
            if kind is str:
                text += f'{head}{{"stringValue":{quote(value)}}}}},'
            elif kind is bool:
                text += f'{head}{{"boolValue":true}}}},' if value else f'{head}{{"boolValue":false}}}},'
            elif kind is float and value - value == 0.0:  # neither NaN nor infinite
                text += f'{head}{{"doubleValue":{value!r}}}}},'
            elif kind is int and _SMALLEST <= value <= _LARGEST:
                text += f'{head}{{"intValue":"{value}"}}}},'
            else:
                text += f"{head}{any_value(value)}}},"
        return self.closed(text, self._unclashed(event_dict) if self._clashing else self.constants)

    def clashes(self, keys: Iterable[str]) -> bool:
        """Return whether one of these fields has the full key of a constant attribute."""
        return not self._clashing.isdisjoint(keys)

    def head(self, key: str) -> str:
        """Return the JSON text of a field's KeyValue up to its value."""
        return self._heads[key]

    @staticmethod
    def closed(text: str, constants: str) -> str:
        """Return KeyValues that each end in a comma, with the constant ones behind them, as the inside of an array."""
        return text + constants if constants else text[:-1]

    def _unclashed(self, event_dict: EventDict) -> str:
        own = {self._prefix + key for key in self._clashing.intersection(event_dict)}
        return ",".join(text for key, text in self._constants.items() if key not in own)


class Words(dict[str, str]):
    """The JSON text of one field's KeyValue and a comma, by the word, which is exactly a str."""

    def __init__(self, head: str) -> None:
        super().__init__()
        self._head = head

    def __missing__(self, word: str) -> str:
        if type(word) is not str:
            raise TypeError
        text = f'{self._head}{{"stringValue":{quote(word)}}}}},'
        if len(self) < _MOST_CACHED:
            self[word] = text
        return text


class _Heads(dict[str, str]):
    """The JSON text before a field's value, by the field's key; empty for a key that is no field."""

    def __init__(self, prefix: str) -> None:
        super().__init__(dict.fromkeys(RESERVED, ""), sample_rate=_head("sample_rate"))
        self._prefix = prefix

    def __missing__(self, key: str) -> str:
        if type(key) is not str:
            raise TypeError
        head = _head(self._prefix + key)
        if len(self) < _MOST_CACHED:
            self[key] = head
        return head


def _head(key: str) -> str:
    return f'{{"key":{quote(key)},"value":'
