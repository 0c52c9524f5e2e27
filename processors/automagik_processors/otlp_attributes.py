"""The fields of an event dict as the attributes of an OTLP/JSON span or log record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_processors.otlp_values import any_value, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        self._heads = _Heads(prefix)
        self._constants = key_values(constants)
        self._joined = list(self._constants.values())
        self._clashing = {key.removeprefix(prefix) for key in constants if key.startswith(prefix)} - RESERVED
        self._prefix = prefix

    def encode(self, event_dict: EventDict) -> str:
        """Return the JSON texts of all KeyValues, joined by commas.

        Raises TypeError for a key that is no str.
        """
        heads = self._heads
        texts = []
        for key, value in event_dict.items():
            head = heads[key]
            kind = type(value)
            if not head:
                continue
            if kind is str:
                texts.append(f'{head}{{"stringValue":{quote(value)}}}}}')
            elif kind is bool:
                texts.append(f'{head}{{"boolValue":true}}}}' if value else f'{head}{{"boolValue":false}}}}')
            elif kind is float and value - value == 0.0:  # neither NaN nor infinite
                texts.append(f'{head}{{"doubleValue":{value!r}}}}}')
            elif kind is int and _SMALLEST <= value <= _LARGEST:
                texts.append(f'{head}{{"intValue":"{value}"}}}}')
            else:
                texts.append(f"{head}{any_value(value)}}}")
        return ",".join(texts + (self._unclashed(event_dict) if self._clashing else self._joined))

    def _unclashed(self, event_dict: EventDict) -> list[str]:
        own = {self._prefix + key for key in self._clashing.intersection(event_dict)}
        return [text for key, text in self._constants.items() if key not in own]


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
