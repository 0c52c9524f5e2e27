"""`merge_context`, `Anonymize`, `Sample` and an OTLP encoder in one pass: the same bytes, with a fraction of the work.

What leaves is decided by the same `take` of the same kinds. What is saved is the dicts between the steps, and writing
anew what was written before: the text of an attribute is remembered by its value. Whatever is unusual in an event goes
the long way, through the processors themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from structlog.contextvars import get_contextvars

from automagik_processors.anonymize import Anonymize
from automagik_processors.context import merge_context
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
    """Return what `encoder` makes of what `anonymize` lets out, of which `sample` keeps all; raise what they raise.

    What is bound with structlog's contextvars is added first if it `merges`.
    """

    def __init__(
        self,
        anonymize: Anonymize,
        sample: Sample,
        encoder: OTLPSpan | OTLPLogRecord,
        *,
        merges: bool = False,
        end: bytes = b"",
    ) -> None:
        self._chain = (anonymize, sample, encoder)
        self._merges = merges
        self._end = end
        self._known = anonymize.catalogue
        self._compilable = {
            event for event, fields in anonymize.catalogue.items() if can_compile(fields, encoder.attributes)
        }
        self._encoders: dict[str, Encode] = {}

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> bytes:
        """Return the encoded event: UTF-8 without a newline."""
        event: Any = merge_context(logger, method_name, event_dict) if self._merges else event_dict
        text = self._encode_here(event)
        if text is not None:
            return text
        for processor in self._chain:
            event = processor(logger, method_name, event)
        return event  # type: ignore[no-any-return]  # the encoder's

    def _encode_here(self, event_dict: EventDict) -> bytes | None:
        """Return an event encoded if there is nothing unusual in it, else None.

        What encodes it is compiled at its first need, for an application logs few of the events that it could.
        """
        if type(event_dict) is not dict or type(event := event_dict.get("event")) is not str:
            return None
        if event not in self._compilable or type(level := event_dict.get("level")) is not str:
            return None
        if event not in self._encoders:
            self._encoders[event] = compiled(event, self._chain[0], self._chain[2], self._end)
        try:
            return self._encoders[event](event_dict, level, event_dict.get("timestamp")).removesuffix(self._end)
        except Exception:  # noqa: BLE001  # something is withheld, who hears of it, a key raises, or a word is no UTF-8
            return None

    def encode(self, event: object, level: object, timestamp: object, fields: Mapping[str, object]) -> bytes | None:
        """Return an event encoded if it came before, nothing is bound and there is nothing unusual in it, else None.

        What is encoded has the `end` behind it, where one copy less is made of it than if it were put there later.
        `fields`, exactly a dict, may hold other keys too, and None; only fields of the event are looked for. `level` is
        its name, or its number in `logging`. This is the hot path.
        """
        if type(event) is not str:
            return None
        encode = self._encoders.get(event)
        if encode is None:
            if event not in self._known:
                raise Dropped("unknown_event")  # most lines of a log are none of ours
            return None
        if self._merges and copy_context() and get_contextvars():
            return None
        try:
            return encode(fields, level, timestamp)
        except Exception:  # noqa: BLE001  # as above
            return None


def fuse(processors: Sequence[Processor], end: bytes = b"") -> tuple[Processor, ...]:
    """Return a chain that does what `processors` do, its last ones a `Fused` with this `end` if they can be fused."""
    *first, anonymize, sample, encoder = (_first, _first, _first, *processors)
    if type(anonymize) is not Anonymize or type(sample) is not Sample or not sample.keeps_all:
        return tuple(processors)
    if type(encoder) is not OTLPSpan and type(encoder) is not OTLPLogRecord:
        return tuple(processors)
    merges = first[-1] is merge_context
    before = first[3:-1] if merges else first[3:]
    return *before, Fused(anonymize, sample, encoder, merges=merges, end=end)


def _first(_logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
    return event_dict
