"""What is remembered of one trace for the next: the JSON of keys, of types of spans, and of how a trace was sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from automagik_processors import langwatch_keys as keys
from automagik_processors.harmless import LONGEST_KEY, Harmless, Unusual
from automagik_processors.langwatch_span import head, kind_number
from automagik_processors.otlp_values import quote

if TYPE_CHECKING:
    from automagik_processors.scrub import Scrub

_MOST_REMEMBERED: Final = 4_096
_OURS: Final = frozenset(row.key for row in keys.KEYS)


def attribute(key: str) -> str:
    """Return the JSON of an attribute that follows another, up to its value."""
    return f",{head(key)}"


class Heads(dict[str, str]):
    """The JSON of an attribute up to its value, by its key, if that is harmless and none of ours."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__()
        self._scrub = scrub

    def __missing__(self, key: str) -> str:
        if not self._scrub.harmless_keys[key] or key in _OURS or len(key) > LONGEST_KEY:
            raise Unusual
        text = attribute(key)
        if len(self) < _MOST_REMEMBERED:
            self[key] = text
        return text


class Types(dict[str, tuple[int, str]]):
    """OTLP's kind, and the JSON of the attribute, by the type of span."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__()
        self._scrub = scrub

    def __missing__(self, kind: str) -> tuple[int, str]:
        if type(kind) is not str or kind not in keys.SPAN_TYPES:
            raise Unusual
        Harmless(self._scrub).text(kind, 1)
        made = self[kind] = kind_number(kind), f'{head(keys.SPAN_TYPE)}{{"stringValue":{quote(kind)}}}}}'
        return made


class Sample:
    """What the root says of how its trace was sampled."""

    __slots__ = ("attributes", "metadata", "said")

    def __init__(self, rate: float, reason: str) -> None:
        self.said = {"sample_rate": rate, "sample_reason": reason}
        self.attributes = (
            f'{attribute(keys.SAMPLE_RATE)}{{"doubleValue":{rate!r}}}}}'
            f'{attribute(keys.SAMPLE_REASON)}{{"stringValue":{quote(reason)}}}}}'
        )
        self.metadata = f'{attribute(keys.METADATA)}{{"stringValue":{quote(orjson.dumps(self.said).decode())}}}}}'


class Samples(dict[tuple[float, str], Sample]):
    """The same by rate and reason."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__()
        self._scrub = scrub

    def __missing__(self, key: tuple[float, str]) -> Sample:
        rate, reason = key
        if type(rate) not in (int, float) or not 0 < rate <= 1 or type(reason) is not str or len(reason) > LONGEST_KEY:
            raise Unusual
        Harmless(self._scrub).text(reason, 0)
        if len(self) >= _MOST_REMEMBERED:
            self.clear()  # rates of what is limited change all the time
        made = self[key] = Sample(float(rate), reason)
        return made
