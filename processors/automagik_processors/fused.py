"""`Anonymize`, `Sample` and an OTLP encoder in one pass: the same bytes, with a fraction of the work.

What leaves is decided by the same `take` of the same kinds. What is saved is the dicts between the steps, and writing
anew what was written before: the text of an attribute is remembered by its value. Whatever is unusual in an event goes
the long way, through the processors themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from automagik_processors.anonymize import Anonymize
from automagik_processors.dropped import Dropped
from automagik_processors.event_encoder import can_compile, compiled
from automagik_processors.otlp import OTLPLogRecord, OTLPSpan
from automagik_processors.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from automagik_processors.event_encoder import Encode

Processor = Callable[[Any, str, Any], Any]


class Fused:
    """Return what `encoder` makes of what `anonymize` lets out, of which `sample` keeps all; raise what they raise."""

    def __init__(self, anonymize: Anonymize, sample: Sample, encoder: OTLPSpan | OTLPLogRecord) -> None:
        self._chain = (anonymize, sample, encoder)
        self._hears = anonymize.hears
        self._known = anonymize.catalogue
        self._compilable = {
            event for event, fields in anonymize.catalogue.items() if can_compile(fields, encoder.attributes)
        }
        self._encoders: dict[str, Encode] = {}

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        if type(event_dict) is dict and type(level := event_dict.get("level")) is str:
            name = event_dict.get("event")
            self._prepare(name)
            text = self.encode(name, level, event_dict.get("timestamp"), event_dict)
            if text is not None:
                return text
        event: Any = event_dict
        for processor in self._chain:
            event = processor(logger, method_name, event)
        return event  # type: ignore[no-any-return]  # the encoder's

    def _prepare(self, event: object) -> None:
        """Compile what encodes an event, at its first need: an application logs few of those that it could."""
        if type(event) is str and event in self._compilable and event not in self._encoders:
            self._encoders[event] = compiled(event, self._chain[0], self._chain[2])

    def encode(self, event: object, level: object, timestamp: object, fields: Mapping[str, object]) -> bytes | None:
        """Return an event encoded if it came before and there is nothing unusual in it, else None.

        `fields`, exactly a dict, may hold other keys too; only fields of the event are looked for. `level` is its name,
        or its number in `logging`. This is the hot path.
        """
        if type(event) is not str:
            return None
        encode = self._encoders.get(event)
        if encode is None:
            if event not in self._known:
                raise Dropped("unknown_event")  # most lines of a log are none of ours
            return None
        if self._hears():
            return None
        try:
            return encode(fields, level, timestamp)
        except Exception:  # noqa: BLE001  # something is withheld, a key raises, or a word is no UTF-8
            return None


def fuse(processors: Sequence[Processor]) -> tuple[Processor, ...]:
    """Return a chain that does what `processors` do, with its end fused if that can be."""
    *first, anonymize, sample, encoder = (_first, _first, _first, *processors)
    if type(anonymize) is not Anonymize or type(sample) is not Sample or not sample.keeps_all:
        return tuple(processors)
    if type(encoder) is not OTLPSpan and type(encoder) is not OTLPLogRecord:
        return tuple(processors)
    return *first[3:], Fused(anonymize, sample, encoder)


def _first(_logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
    return event_dict
