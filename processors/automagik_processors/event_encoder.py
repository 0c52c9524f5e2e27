"""Encodes one event of the catalogue: a function that is compiled from its fields and the encoder's template.

For a span of `agent_name: Word(), success: Flag(), duration_ms: Duration()` it is:

    def encode(fields, level, timestamp):
        global asked, until
        if type(timestamp) is not float or not 946684800.0 <= timestamp < 4102444800.0: unusual()
        if not asked <= timestamp < until:
            if hears(): unusual()
            asked, until = timestamp, timestamp + 0.0001
        success, took = None, 0.0
        a0 = a1 = a2 = ''
        if 'agent_name' in fields and (value := fields['agent_name']) is not None:
            a0 = words0[value if type(value) is str and value in vocabulary else take0(value)]
        if 'success' in fields and (value := fields['success']) is not None:
            a1 = yes1 if value is True else no1 if value is False else unusual()
            success = value
        if 'duration_ms' in fields and (value := fields['duration_ms']) is not None:
            ...
            a2 = f'{{"key":"event.duration_ms","value":{{"doubleValue":{value!r}}}}},'
            took = value
        ...
        return f'{{"traceId":"{trace_id}","spanId":"{span_id}",{above}"name":"agent.run", ... }}'.encode()

What stands for the dots rounds the number, see `_KINDS`, or is the same for every event, see `compiled`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from automagik_processors.anonymize import EARLIEST, LATEST
from automagik_processors.kinds import Count, Duration, Flag, Measure, Word
from automagik_processors.levels import NUMBERS, SEVERITIES
from automagik_processors.otlp_attributes import Words
from automagik_processors.otlp_values import quote

if TYPE_CHECKING:
    from automagik_processors.anonymize import Anonymize
    from automagik_processors.kinds import Kind
    from automagik_processors.otlp import OTLPLogRecord, OTLPSpan
    from automagik_processors.otlp_attributes import Attributes

Encode = Callable[[Mapping[str, object], object, object], bytes]
"""From an event's fields, exactly a dict, its level and its timestamp: the event encoded. Raises for the unusual."""

_FIELD: Final = """
    if FIELD in fields and (value := fields[FIELD]) is not None:"""
# What a kind takes is of one type, so that its text is known but for the value, and most numbers are rounded here,
# without a call; `take` gives the same. `#` stands for the field's number, HEAD for the text before its value.
_KINDS: Final[dict[type[Kind], str]] = {
    Word: """
        a# = words#[value if type(value) is str and value in vocabulary else take#(value)]""",
    Flag: """
        a# = yes# if value is True else no# if value is False else unusual()""",
    Count: """
        if type(value) is not int or not 0 <= value < least#: value = known(take#(value))
        elif value > 999: value = (value + 5) // 10 * 10
        a# = f'HEAD{{"intValue":"{value}"}}}},'""",
    Duration: """
        if type(value) is not float or not 100.0 <= value < least#:
            value = known(take#(value))
            a# = f'HEAD{{"doubleValue":{value!r}}}}},'
        else:
            if value < 1000.0: value = int(value + 0.5)
            elif value < 10000.0: value = int(value + 5.0) // 10 * 10
            else: value = int(value + 50.0) // 100 * 100
            a# = f'HEAD{{"doubleValue":{value}.0}}}},'""",
    Measure: """
        a# = f'HEAD{{"doubleValue":{known(take#(value))!r}}}}},'""",
}
_LEAST: Final[dict[type[Kind], float]] = {Count: 10_000, Duration: 100_000.0}
"""From where on a number goes the long way."""
_KEPT: Final = {
    "success": """
        success = value""",
    "duration_ms": """
        took = value""",
}
_SOON: Final = 0.000_1
"""Seconds for which nobody is asked again whether someone hears what is withheld, which costs as much as ten fields."""
_IDS: Final = ("trace_id", "span_id", "parent_span_id")


def can_compile(fields: Mapping[str, Kind], attributes: Attributes) -> bool:
    """Return whether an event with these fields can be encoded so."""
    return (
        all(type(kind) in _KINDS for kind in fields.values())
        and type(fields.get("success", Flag())) is Flag
        and type(took := fields.get("duration_ms", Duration())) is Duration
        and took.maximum < EARLIEST * 1_000
        and not attributes.clashes(fields)
    )


def compiled(event: str, anonymize: Anonymize, encoder: OTLPSpan | OTLPLogRecord, end: bytes = b"") -> Encode:
    """Compile the encoder of an event: what `anonymize` lets out, as `encoder` writes it, and this `end`."""
    attributes = encoder.attributes
    names: dict[str, Any] = {
        "vocabulary": anonymize.vocabulary,
        "marks": {success: _marks(event, encoder, success) for success in (True, False, None)},
        "ids": encoder.fresh_ids,
        "known": _known,
        "own_ids": _own_ids(anonymize, encoder),
        "unusual": _unusual,
        "hears": anonymize.hears,
        "asked": 0.0,
        "until": 0.0,
    }
    steps, empty, every = "", "", ""
    for n, (field, take) in enumerate(anonymize.plans[event]):
        kind = anonymize.catalogue[event][field]
        head = attributes.head(field)
        names |= {f"take{n}": take, f"words{n}": Words(head)}
        names |= {f"yes{n}": f'{head}{{"boolValue":true}}}},', f"no{n}": f'{head}{{"boolValue":false}}}},'}
        names[f"least{n}"] = min(_LEAST.get(type(kind), 0), getattr(kind, "maximum", 0))
        step = _FIELD + _KINDS[type(kind)] + _KEPT.get(field, "")
        steps += step.replace("#", str(n)).replace("FIELD", repr(field)).replace("HEAD", _literal(head))
        empty += f"a{n} = "
        every += f"{{a{n}}}"
    every += _literal(attributes.constants)
    closed = "" if attributes.constants else "[:-1]"
    text = encoder.template.replace("{name}", _literal(quote(event))) + _literal(end.decode())
    text = text.replace("{start}", "{start}000").replace("{moment}", "{moment}000")  # from micro- to nanoseconds
    text = text.replace("{attributes}", "{attributes}" if closed else every)
    source = f"""
def encode(fields, level, timestamp):
    global asked, until
    if type(timestamp) is not float or not {float(EARLIEST)} <= timestamp < {float(LATEST)}: unusual()
    if not asked <= timestamp < until:
        if hears(): unusual()
        asked, until = timestamp, timestamp + {_SOON}
    success, took = None, 0.0
    {empty}''{steps}
    mark = marks[success][level]
    moment = int(timestamp * 1000000.0 + 0.5)
    start = moment - int(took * 1000.0)
    {f"attributes = f'{every}'[:-1]" if closed else ""}
    if 'trace_id' in fields or 'span_id' in fields or 'parent_span_id' in fields or 'sample_rate' in fields:
        trace_id, span_id, above = own_ids(fields, f'{every}')
    else:
        span_id = next(ids.ready, None) or ids.more()
        trace_id = ids.process + span_id
        above = ''
    return f'{text}'.encode()
"""
    exec(source, names)  # noqa: S102  # of our own making: the only words in it are names of fields, quoted
    encode: Encode = names["encode"]
    return encode


def _marks(event: str, encoder: OTLPSpan | OTLPLogRecord, success: bool | None) -> dict[str | int, str]:  # noqa: FBT001  # it is what an event says
    """Return what each level comes to, by its name and by its number in `logging`."""
    marks: dict[str | int, str] = {level: encoder.mark(event, level, success) for level in SEVERITIES}
    return marks | {number: marks[level] for level, number in NUMBERS.items()}


def _literal(text: str) -> str:
    """Return what stands for a text between the quotes of an f-string, which are single ones."""
    return repr(f'"{text}')[2:-1].replace("{", "{{").replace("}", "}}")


def _own_ids(
    anonymize: Anonymize, encoder: OTLPSpan | OTLPLogRecord
) -> Callable[[Mapping[str, object], str], tuple[str, str, str]]:
    takes = {key: take for key, take in anonymize.carried if key in _IDS}

    def own_ids(fields: Mapping[str, object], attributes: str) -> tuple[str, str, str]:
        """Return the ids of trace and span that an event brings, and what is said of the span above."""
        if fields.get("sample_rate") is not None:
            _unusual()
        trace_id, span_id, parent = encoder.ids_of({key: take(fields.get(key)) for key, take in takes.items()})
        return trace_id, span_id, encoder.above(parent, attributes)

    return own_ids


def _known(number: float | None) -> float:
    return number if number is not None else _unusual()


def _unusual() -> NoReturn:
    raise TypeError
