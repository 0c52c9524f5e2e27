"""`merge_context`, `Anonymize`, `Sample` and an OTLP encoder in one pass, where it sends what the four would send."""

from __future__ import annotations

import linecache
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

from structlog.contextvars import get_contextvars

from automagik_processors._conventions import EARLIEST, LATEST
from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_attributes import Texts, key_value
from automagik_processors._otlp_values import text_of
from automagik_processors.anonymize import Anonymize
from automagik_processors.context import merge_context
from automagik_processors.exceptions import Dropped
from automagik_processors.kinds import Count, Duration, Flag, Kind, Measure, Word
from automagik_processors.otlp import OTLPLogRecord, OTLPSpan, valid_ids
from automagik_processors.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from structlog.typing import EventDict

    from automagik_processors.otlp import Encode, Ids, Select


_CHAINS: Final = ([Anonymize, Sample, OTLPSpan], [Anonymize, Sample, OTLPLogRecord])
"""The chains that can be run in one pass. A subclass may do something else."""


class Direct:
    """Encodes events from their fields, without an event dict between the steps.

    The encoder is the chain's own, and `Anonymize` decides what is sent. Only the loop over the declared fields is
    another. It is written out as source for each event, see `_SOURCE`, because a loop takes twice as long.
    """

    def __init__(self, anonymize: Anonymize, otlp: OTLPSpan | OTLPLogRecord, *, merges: bool) -> None:
        self._anonymize = anonymize
        self._otlp = otlp
        self._merges = merges
        self._encoders: dict[str, Encode] = {}

    def encoder(self, name: str) -> Encode | None:
        """Return the encoder of the events of one name; None while events must go step by step.

        That is until it is prepared, while something is bound that would be merged, or something reports dropped
        fields. The encoder takes the name of a level, a Unix time in seconds, and fields: exactly a dict, in which
        keys that are not declared, and None, are ignored.

        Raises:
            Dropped: The event is not in the catalogue.
        """
        if (self._merges and copy_context() and get_contextvars()) or self._anonymize.hears():
            return None
        encode = self._encoders.get(name)
        if encode is None and name not in self._anonymize.plans:
            raise Dropped("unknown_event")
        return encode

    def prepare(self, name: str) -> None:
        """Make the encoder of the events of one name, if they are in the catalogue."""
        if name not in self._encoders and name in self._anonymize.plans:
            self._encoders[name] = self._otlp.encoder(name, self._declared(name), EARLIEST, LATEST)

    @staticmethod
    def plain(fields: object) -> EventDict:
        """Return a mapping that misbehaves, or a key of which does, as a plain dict."""
        return plain_dict(fields, text_of)

    def _declared(self, event: str) -> Select:
        """Return what selects the declared fields of an event, each as its kind takes it."""
        attributes = self._otlp.attributes
        kinds = self._anonymize.catalogue[event]
        steps: list[str] = []
        names: dict[str, Any] = {"own": self._own, "constants": attributes.constants, "key_value": key_value}
        for number, (field, take) in enumerate(self._anonymize.plans[event]):
            head = attributes.head(field)
            names |= {f"take{number}": take, f"texts{number}": Texts(head), f"head{number}": head}
            text = _text_of(kinds[field]).replace("#", str(number))
            steps.append(_STEP.format(field=field, number=number, text=text, kept=_KEPT.get(field, "")))
        source = _SOURCE.format(steps="".join(steps))
        filename = f"<fields of {event}>"
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
        exec(compile(source, filename, "exec"), names)  # noqa: S102  # made of names of fields, quoted
        return cast("Select", names["select"])

    def _own(self, fields: Mapping[str, Any]) -> tuple[Ids | None, str]:
        """Return the ids that an event brings, and the text of its sampling rate."""
        carried = {key: take(fields.get(key)) for key, take in self._anonymize.carried if fields.get(key) is not None}
        rate = carried.get("sample_rate")
        text = "" if rate is None else key_value(self._otlp.attributes.head("sample_rate"), rate)
        return valid_ids(*map(carried.get, ("trace_id", "span_id", "parent_span_id"))), text


_STEP: Final = """
    if {field!r} in fields and (value := fields[{field!r}]) is not None and (value := take{number}(value)) is not None:
        text += {text}{kept}"""
_KEPT: Final = {"success": "\n        success = value", "duration_ms": "\n        duration = value"}
_ANY: Final = "key_value(head#, value)"
# A kind takes values of one type only; words and flags are few enough to remember their text.
_TEXTS: Final[dict[type[Kind], str]] = {
    Word: "texts#[value]",
    Flag: "texts#[value]",
    Count: """f'{head#}{{"intValue":"{value}"}}}},'""",
    Duration: """f'{head#}{{"doubleValue":{value!r}}}}},'""",
    Measure: """f'{head#}{{"doubleValue":{value!r}}}}},'""",
}
_MAX_INT: Final = 2**63 - 1


def _text_of(kind: Kind) -> str:
    """Return the source of the text of a value that this kind has taken."""
    if type(kind) is Count and kind.maximum > _MAX_INT // 10:  # rounded up, it may not be an integer of OTLP
        return _ANY
    return _TEXTS.get(type(kind), _ANY)


_SOURCE: Final = """\
def select(fields):
    text, success, duration, ids = '', None, None, None{steps}
    if 'trace_id' in fields or 'span_id' in fields or 'parent_span_id' in fields or 'sample_rate' in fields:
        ids, rate = own(fields)
        text += rate
    return text + constants if constants else text[:-1], success, duration, ids, ''
"""


def direct(processors: Sequence[object]) -> Direct | None:
    """Return what does the work of all these processors at once; None if they are not just those of this module."""
    merges = bool(processors) and processors[0] is merge_context
    last = processors[merges:]
    if [type(processor) for processor in last] not in _CHAINS:
        return None
    anonymize, sample, otlp = cast("tuple[Anonymize, Sample, OTLPSpan | OTLPLogRecord]", last)
    if not sample.keeps_all or any(otlp.attributes.clashes(fields) for fields in anonymize.catalogue.values()):
        return None
    return Direct(anonymize, otlp, merges=merges)
