"""Encodes one event of the catalogue: a function that is compiled from its fields and the encoder's template.

For a span of `agent_name: Word(), success: Flag(), duration_ms: Duration()` it is:

    def encode(get, level, timestamp):
        if type(timestamp) is not float or not 946684800 <= timestamp < 4102444800: unusual()
        v0 = get('agent_name')
        a0 = '' if v0 is None else texts0[v0 if type(v0) is str and v0 in vocabulary else take0(v0)]
        v1 = get('success')
        a1 = yes1 if v1 is True else no1 if v1 is False else '' if v1 is None else unusual()
        v2 = get('duration_ms')
        a2 = '' if v2 is None else texts2[v2 := take2(v2)]
        attributes = f'{a0}{a1}{a2}{constants}'
        mark = marks[v1][level]
        moment = int(timestamp * 1000000000)
        start = max(0, moment - int((v2 or 0.0) * 1000000))
        if get('trace_id') is get('span_id') is get('parent_span_id') is get('sample_rate') is None:
            trace_id, span_id = fresh_ids()
            above = ''
        else:
            trace_id, span_id, above = own_ids(get, attributes)
        return f'{{"traceId":"{trace_id}","spanId":"{span_id}",{above}"name":{name}, ... }}'.encode()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from automagik_processors.anonymize import EARLIEST, LATEST
from automagik_processors.kinds import Count, Duration, Flag, Measure, Word
from automagik_processors.levels import SEVERITIES
from automagik_processors.otlp_values import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors.anonymize import Anonymize
    from automagik_processors.kinds import Kind
    from automagik_processors.otlp import OTLPLogRecord, OTLPSpan
    from automagik_processors.otlp_attributes import Attributes

Get = Callable[[str], object]
Encode = Callable[[Get, object, object], bytes]
"""From an event's `get`, its level and timestamp, the event encoded. Raises for whatever is unusual in it."""

# Each takes values of one type only, so that equal values have equal texts.
_NUMBER: Final = "a{n} = '' if v{n} is None else texts{n}[v{n} := take{n}(v{n})]"
_KINDS: Final[dict[type[Kind], str]] = {
    Word: "a{n} = '' if v{n} is None"
    " else texts{n}[v{n} if type(v{n}) is str and v{n} in vocabulary else take{n}(v{n})]",
    Flag: "a{n} = yes{n} if v{n} is True else no{n} if v{n} is False else '' if v{n} is None else unusual()",
    Count: _NUMBER,
    Duration: _NUMBER,
    Measure: _NUMBER,
}
_NEXT_LINE: Final = "\n    "
_IDS: Final = ("trace_id", "span_id", "parent_span_id")


def can_compile(fields: Mapping[str, Kind], attributes: Attributes) -> bool:
    """Return whether an event with these fields can be encoded so."""
    return (
        all(type(kind) in _KINDS for kind in fields.values())
        and type(fields.get("success", Flag())) is Flag
        and type(fields.get("duration_ms", Duration())) is Duration
        and not attributes.clashes(fields)
    )


def compiled(event: str, anonymize: Anonymize, encoder: OTLPSpan | OTLPLogRecord) -> Encode:
    """Compile the encoder of an event: what `anonymize` lets out, as `encoder` writes it."""
    attributes = encoder.attributes
    names: dict[str, Any] = {
        "vocabulary": anonymize.vocabulary,
        "constants": attributes.constants,
        "name": quote(event),
        "marks": {
            success: {level: encoder.mark(event, level, success) for level in SEVERITIES}
            for success in (True, False, None)
        },
        "fresh_ids": encoder.fresh_ids,
        "own_ids": _own_ids(anonymize, encoder),
        "unusual": _unusual,
    }
    success, took, lines = "None", "0.0", []
    kinds = anonymize.catalogue[event]
    for n, (field, take) in enumerate(anonymize.plans[event]):
        texts = attributes.texts(field)
        names |= {f"take{n}": take, f"texts{n}": texts, f"yes{n}": texts[True], f"no{n}": texts[False]}
        lines += [f"v{n} = get({field!r})", _KINDS[type(kinds[field])].format(n=n)]
        success = f"v{n}" if field == "success" else success
        took = f"v{n} or 0.0" if field == "duration_ms" else took
    every = "".join(f"{{a{n}}}" for n in range(len(kinds)))
    source = f"""
def encode(get, level, timestamp):
    if type(timestamp) is not float or not {EARLIEST} <= timestamp < {LATEST}: unusual()
    {_NEXT_LINE.join(lines)}
    attributes = f'{every}{{constants}}'{"" if attributes.constants else "[:-1]"}
    mark = marks[{success}][level]
    moment = int(timestamp * 1000000000)
    start = max(0, moment - int(({took}) * 1000000))
    if get('trace_id') is get('span_id') is get('parent_span_id') is get('sample_rate') is None:
        trace_id, span_id = fresh_ids()
        above = ''
    else:
        trace_id, span_id, above = own_ids(get, attributes)
    return f{encoder.template!r}.encode()
"""
    exec(source, names)  # noqa: S102  # of our own making: the only words in it are names of fields, quoted
    encode: Encode = names["encode"]
    return encode


def _own_ids(anonymize: Anonymize, encoder: OTLPSpan | OTLPLogRecord) -> Callable[[Get, str], tuple[str, str, str]]:
    takes = {key: take for key, take in anonymize.carried if key in _IDS}

    def own_ids(get: Get, attributes: str) -> tuple[str, str, str]:
        """Return the ids of trace and span that an event brings, and what is said of the span above."""
        if get("sample_rate") is not None:
            _unusual()
        trace_id, span_id, parent = encoder.ids_of({key: take(get(key)) for key, take in takes.items()})
        return trace_id, span_id, encoder.above(parent, attributes)

    return own_ids


def _unusual() -> NoReturn:
    raise TypeError
