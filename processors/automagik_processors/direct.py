"""`merge_context`, `Anonymize`, `Sample` and an OTLP encoder in one pass, where it sends what the four would send."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, cast

from structlog.contextvars import get_contextvars

from automagik_processors.anonymize import Anonymize
from automagik_processors.context import merge_context
from automagik_processors.dropped import Dropped
from automagik_processors.otlp import OTLPLogRecord, OTLPSpan, valid_ids
from automagik_processors.otlp_attributes import Texts, key_value
from automagik_processors.otlp_values import text_of
from automagik_processors.plain import plain_dict
from automagik_processors.sample import Sample
from automagik_processors.timestamps import EARLIEST, LATEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automagik_processors.otlp import Encode, Ids, Select


_CHAINS: Final = ([Anonymize, Sample, OTLPSpan], [Anonymize, Sample, OTLPLogRecord])
"""The chains that can be run in one pass. A subclass may do something else."""


class Direct:
    """Encodes events from their fields, without an event dict between the steps.

    The encoder is the chain's own, and `Anonymize` decides what is sent. Only the loop over the fields is another: it
    looks for declared fields, and writes each as it is taken.
    """

    def __init__(self, anonymize: Anonymize, otlp: OTLPSpan | OTLPLogRecord, *, merges: bool) -> None:
        self._anonymize = anonymize
        self._otlp = otlp
        self._merges = merges
        self._encoders: dict[str, Encode] = {}

    def suffices(self) -> bool:
        """Return whether nothing is bound that would be merged, and nothing reports dropped fields."""
        return not (self._merges and copy_context() and get_contextvars()) and not self._anonymize.hears()

    def __call__(self, name: str, level: str, timestamp: float, fields: Mapping[str, Any]) -> bytes:
        """Return the encoded event: UTF-8 without a newline.

        Args:
            name: The event's name.
            level: One of `levels.SEVERITIES`.
            timestamp: Unix time in seconds.
            fields: The event's fields. Keys that are not declared, and None, are ignored.

        Raises:
            Dropped: The event is not in the catalogue.
        """
        encode = self._encoders.get(name)
        if encode is None:
            encode = self._encoder(name)
        if type(fields) is not dict:
            fields = plain_dict(fields, text_of)
        try:
            return encode(level, timestamp, fields)
        except Exception:  # noqa: BLE001  # a key whose methods raise
            return encode(level, timestamp, plain_dict(fields, text_of))

    def _encoder(self, name: str) -> Encode:
        if name not in self._anonymize.plans:
            raise Dropped("unknown_event")
        encode = self._encoders[name] = self._otlp.encoder(name, self._declared(name), EARLIEST, LATEST)
        return encode

    def _declared(self, event: str) -> Select:
        """Return what selects the declared fields of an event, each as its kind takes it."""
        attributes = self._otlp.attributes
        constants = attributes.constants
        carried = dict(self._anonymize.carried)
        steps = [(field, take, Texts(attributes.head(field))) for field, take in self._anonymize.plans[event]]
        head_of_rate = attributes.head("sample_rate")

        def select(fields: Mapping[str, Any]) -> tuple[str, object, object, Ids | None, str]:
            text, success, duration, ids = "", None, None, None
            for field, take, texts in steps:
                if field not in fields or (value := fields[field]) is None:
                    continue
                value = take(value)
                kind = type(value)
                if kind is str or kind is bool:
                    text += texts[value]
                    if field == "success":
                        success = value
                elif value is not None:  # a number: too many different ones to remember
                    text += key_value(texts.head, value)
                    if field == "duration_ms":
                        duration = value
            if "sample_rate" in fields and (rate := carried["sample_rate"](fields["sample_rate"])) is not None:
                text += key_value(head_of_rate, rate)
            if "trace_id" in fields or "span_id" in fields or "parent_span_id" in fields:
                ids = valid_ids(*[carried[key](fields.get(key)) for key in ("trace_id", "span_id", "parent_span_id")])
            return text + constants if constants else text[:-1], success, duration, ids, ""

        return select


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
