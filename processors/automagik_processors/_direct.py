"""Runs `merge_context`, `Anonymize`, `Sample` and an OTLP encoder in one pass, with the same result."""

from __future__ import annotations

import linecache
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from structlog.contextvars import get_contextvars

from automagik_processors._conventions import EARLIEST, LATEST
from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_attributes import Texts, key_value
from automagik_processors._otlp_values import text_of
from automagik_processors.anonymize import Anonymize
from automagik_processors.context import merge_context
from automagik_processors.kinds import Count, Duration, Flag, Kind, Measure, Word
from automagik_processors.otlp import OTLPLogRecord, OTLPSpan, valid_ids
from automagik_processors.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from structlog.typing import EventDict

    from automagik_processors.otlp import Encode, Ids, Select


_CHAINS: Final = ([Anonymize, Sample, OTLPSpan], [Anonymize, Sample, OTLPLogRecord])
"""The chains that can be run in one pass, of exactly these classes."""


class Direct:
    """Encodes events from their fields, without an event dict between the steps.

    The encoder is the chain's own, and `Anonymize` selects the fields. Only the loop over the declared fields differs:
    it is unrolled as source code for each event, see `_SOURCE`, because a loop takes twice as long.
    """

    def __init__(self, anonymize: Anonymize, otlp: OTLPSpan | OTLPLogRecord, *, merges: bool) -> None:
        self._anonymize = anonymize
        self._otlp = otlp
        self._merges = merges
        self._encoders: dict[str, Encode] = {}
        # Level and time are arguments of the encoder.
        self._carried = [(key, take) for key, take in anonymize.carried if key not in {"level", "timestamp"}]

    def encoder(self, name: str) -> Encode | None:
        """Return the encoder of the events of one name; None if events must be processed step by step.

        This is so until it is prepared, while a bound value would be merged, while dropped fields are reported, and
        always if a field has the key of a constant attribute.
        The encoder takes the name of a level, a Unix time in seconds, and fields: exactly a dict, in which undeclared
        keys and None are ignored.

        Raises:
            Dropped: The event is not declared.
        """
        if (self._merges and copy_context() and get_contextvars()) or self._anonymize.is_reporting():
            return None
        encode = self._encoders.get(name)
        if encode is None:
            self._anonymize.plan(name)
        return encode

    def prepare(self, name: str) -> None:
        """Create the encoder of the events of one name. Raises Dropped if it is not declared."""
        fields = [field for field, _ in self._anonymize.plan(name)]
        if name not in self._encoders and not self._otlp.attributes.clashes(fields):
            encode = self._otlp.encoder(name, self._declared(name), EARLIEST, LATEST)
            self._encoders[name] = self._until_expiry(name, encode) if self._anonymize.may_expire(name) else encode

    def _until_expiry(self, name: str, encode: Encode) -> Encode:
        check = self._anonymize.check_expiry

        def checked(level: object, timestamp: object, fields: Any) -> bytes:
            check(name)
            return encode(level, timestamp, fields)

        return checked

    @staticmethod
    def plain(fields: object) -> EventDict:
        """Return a mapping that raises, or has a key that raises, as a plain dict."""
        return plain_dict(fields, text_of)

    def _declared(self, event: str) -> Select:
        """Return the function that selects the declared fields of an event, each by its kind."""
        attributes = self._otlp.attributes
        kinds = self._anonymize.catalogue[event]
        steps: list[str] = []
        names: dict[str, Any] = {
            "own": partial(self._own, event),
            "report_wrong": partial(self._anonymize.report_wrong_kind, event),
            "constants": attributes.constants,
            "key_value": key_value,
        }
        for number, (field, take) in enumerate(self._anonymize.plans[event]):
            head = attributes.head(field)
            names |= {f"take{number}": take, f"texts{number}": Texts(head), f"head{number}": head}
            text = _text_of(kinds[field]).replace("#", str(number))
            steps.append(_STEP.format(field=field, number=number, text=text, kept=_KEPT.get(field, "")))
        source = _SOURCE.format(steps="".join(steps))
        filename = f"<fields of {event}>"
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
        exec(compile(source, filename, "exec"), names)  # noqa: S102 - built from quoted names of fields
        return cast("Select", names["select"])

    def _own(self, event: str, fields: Mapping[str, Any]) -> tuple[Ids | None, str]:
        """Return the IDs in an event, and the JSON text of its sampling rate."""
        given = {key: take(fields[key]) for key, take in self._carried if fields.get(key) is not None}
        carried = {key: value for key, value in given.items() if value is not None}
        if len(carried) < len(given):
            self._anonymize.report_wrong_kind(event, given.keys() - carried.keys())
        rate = carried.get("sample_rate")
        text = "" if rate is None else key_value(self._otlp.attributes.head("sample_rate"), rate)
        return valid_ids(*map(carried.get, ("trace_id", "span_id", "parent_span_id"))), text


_STEP: Final = """
    if {field!r} in fields and (value := fields[{field!r}]) is not None:
        if (value := take{number}(value)) is not None:
            text += {text}{kept}
        else:
            wrong += {field!r},"""
_KEPT: Final = {"success": "\n            success = value", "duration_ms": "\n            duration = value"}
_ANY: Final = "key_value(head#, value)"
# A kind takes values of one type only. Words and flags are few enough to cache their text.
_TEXTS: Final[dict[type[Kind], str]] = {
    Word: "texts#[value]",
    Flag: "texts#[value]",
    Count: """f'{head#}{{"intValue":"{value}"}}}},'""",
    Duration: """f'{head#}{{"doubleValue":{value!r}}}}},'""",
    Measure: """f'{head#}{{"doubleValue":{value!r}}}}},'""",
}
_MAX_INT: Final = 2**63 - 1


def _text_of(kind: Kind) -> str:
    """Return the source code of the JSON text of a value of this kind."""
    if type(kind) is Count and kind.maximum > _MAX_INT // 10:  # rounded up, it may not be an integer of OTLP
        return _ANY
    return _TEXTS.get(type(kind), _ANY)


_SOURCE: Final = """\
def select(fields):
    text, success, duration, ids, wrong = '', None, None, None, (){steps}
    if 'trace_id' in fields or 'span_id' in fields or 'parent_span_id' in fields or 'sample_rate' in fields:
        ids, rate = own(fields)
        text += rate
    if wrong:
        report_wrong(wrong)
    return text + constants if constants else text[:-1], success, duration, ids, ''
"""


def direct(processors: Sequence[object]) -> Direct | None:
    """Return a `Direct` for these processors; None if they are not one of `_CHAINS`."""
    merges = bool(processors) and processors[0] is merge_context
    last = processors[merges:]
    if [type(processor) for processor in last] not in _CHAINS:
        return None
    anonymize, sample, otlp = cast("tuple[Anonymize, Sample, OTLPSpan | OTLPLogRecord]", last)
    if not sample.keeps_all:
        return None
    return Direct(anonymize, otlp, merges=merges)
