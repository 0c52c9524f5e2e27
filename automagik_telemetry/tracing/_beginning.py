"""The beginning of a trace, which the next process reports as abandoned if this one dies before the end.

Encoding it for each trace would cost more than recording the trace. So one is encoded for each name, with placeholders
for the IDs and the time, and each trace fills these in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

_MAX_TEMPLATES: Final = 1_000


class Beginning(NamedTuple):
    """The root of a trace when it begins."""

    name: str
    type: str
    sample_rate: float
    trace_id: str
    span_id: str
    parent: str | None
    link: tuple[str, str] | None
    start: float
    """Unix time in seconds."""

    def event(self) -> dict[str, Any]:
        """Return the trace as plain data: the root without content, as a failed span."""
        span: dict[str, Any] = {
            "span_id": self.span_id,
            "parent_span_id": self.parent,
            "name": self.name,
            "type": self.type,
            "start": self.start,
            "end": self.start,
            "metadata": {"unfinished": True},
            "error": {"type": "Abandoned", "message": "the process died before the end"},
        }
        if self.link is not None:
            span["links"] = [dict(zip(("trace_id", "span_id"), self.link, strict=True))]
        return {
            "trace_id": self.trace_id,
            "sample_rate": self.sample_rate,
            "sample_reason": "abandoned",
            "truncated_spans": 0,
            "spans": [span],
        }


_SEC: Final = 1_234_567_891
_TRACE, _SPAN, _PARENT = "fa1c" * 8, "5ba7" * 4, "9a7e" * 4
_LINK = "11c7" * 8, "11c8" * 4
_NANOSECONDS, _MILLISECONDS = (str(_SEC * factor).encode() for factor in (10**9, 10**3))


class Templates:
    """The encoded beginnings of traces by name."""

    def __init__(self) -> None:
        self._known: dict[Hashable, bytes] = {}

    def encode(self, sink: Hashable, of: Beginning, encode: Callable[[Mapping[str, Any]], bytes]) -> bytes:
        """Return the encoded beginning, as `encode` of the `sink` returns it."""
        key = sink, of.name, of.type, of.sample_rate, of.parent is None, of.link is None
        template = self._known.get(key)
        if template is None:
            parent, link = of.parent and _PARENT, of.link and _LINK
            template = encode(of._replace(trace_id=_TRACE, span_id=_SPAN, parent=parent, link=link, start=_SEC).event())
            if len(self._known) >= _MAX_TEMPLATES:
                self._known.clear()
            self._known[key] = template
        if _TRACE.encode() not in template or _NANOSECONDS not in template:
            return encode(of.event())  # a sink with another form of IDs or times
        nanoseconds = round(of.start * 1_000_000) * 1_000
        filled = template.replace(_TRACE.encode(), of.trace_id.encode()).replace(_SPAN.encode(), of.span_id.encode())
        filled = filled.replace(_NANOSECONDS, b"%d" % nanoseconds)
        filled = filled.replace(_MILLISECONDS, b"%d" % (nanoseconds // 1_000_000))
        if of.parent is not None:
            filled = filled.replace(_PARENT.encode(), of.parent.encode())
        if of.link is not None:
            for placeholder, part in zip(_LINK, of.link, strict=True):
                filled = filled.replace(placeholder.encode(), part.encode())
        return filled
