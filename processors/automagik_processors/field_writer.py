"""Writes the fields of one event as attributes: a function that is compiled for the event from its catalogue.

For `agent_name: Word(), success: Flag(), duration_ms: Duration()` it is:

    def write(get):
        v0 = get('agent_name')
        a0 = '' if v0 is None else texts0[v0 if type(v0) is str and v0 in vocabulary else take0(v0)]
        v1 = get('success')
        a1 = yes1 if v1 is True else no1 if v1 is False else '' if v1 is None else withheld()
        v2 = get('duration_ms')
        t2 = None if v2 is None else take2(v2)
        a2 = '' if v2 is None else texts2[t2]
        return f"{a0}{a1}{a2}{constants}", v1, t2 or 0.0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from automagik_processors.kinds import Count, Duration, Flag, Measure, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors.anonymize import Anonymize
    from automagik_processors.kinds import Kind
    from automagik_processors.otlp_attributes import Attributes

Write = Callable[[Callable[[str], object]], tuple[str, object, float]]
"""From an event's `get`: its attributes as JSON text, its success, its duration in ms. Raises if it withholds any."""

# Each takes values of one type only, so that equal values have equal texts.
_KINDS: Final = (Count, Duration, Flag, Measure, Word)
_LINES: Final = {
    Word: "a{n} = '' if v{n} is None"
    " else texts{n}[v{n} if type(v{n}) is str and v{n} in vocabulary else take{n}(v{n})]",
    Flag: "a{n} = yes{n} if v{n} is True else no{n} if v{n} is False else '' if v{n} is None else withheld()",
}
_NUMBER: Final = "t{n} = None if v{n} is None else take{n}(v{n}); a{n} = '' if v{n} is None else texts{n}[t{n}]"


def can_write(fields: Mapping[str, Kind], attributes: Attributes) -> bool:
    """Return whether there can be a writer for an event with these fields."""
    return (
        all(type(kind) in _KINDS for kind in fields.values())
        and type(fields.get("success", Flag())) is Flag
        and type(fields.get("duration_ms", Duration())) is Duration
        and not attributes.clashes(fields)
    )


def writer(event: str, anonymize: Anonymize, attributes: Attributes) -> Write:
    """Compile the writer of an event's fields, as `anonymize` lets them out and `attributes` writes them."""
    names: dict[str, Any] = {
        "vocabulary": anonymize.vocabulary,
        "constants": attributes.constants,
        "withheld": _withheld,
    }
    lines, success, duration = [], "None", "0.0"
    kinds = anonymize.catalogue[event]
    for n, (field, take) in enumerate(anonymize.plans[event]):
        texts = attributes.texts(field)
        names |= {f"take{n}": take, f"texts{n}": texts, f"yes{n}": texts[True], f"no{n}": texts[False]}
        lines += [f"v{n} = get({field!r})", _LINES.get(type(kinds[field]), _NUMBER).format(n=n)]
        success = f"v{n}" if field == "success" else success
        duration = f"t{n} or 0.0" if field == "duration_ms" else duration
    parts = "".join(f"{{a{n}}}" for n in range(len(kinds)))
    end = "{constants}" if attributes.constants else ""
    text = f'f"{parts}{end}"' if end or not parts else f'f"{parts}"[:-1]'
    source = "\n    ".join(["def write(get):", *lines, f"return {text}, {success}, {duration}"])
    exec(source, names)  # noqa: S102  # of our own making: the only words in it are names of fields, quoted
    write: Write = names["write"]
    return write


def _withheld() -> str:
    raise TypeError
