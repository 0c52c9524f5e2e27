"""The totals of a trace's spans that are not sent, as a few spans that keep its tokens and its cost right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NUMBER: Final = "automagik.truncated_spans"
"""The attribute that has the number of spans in a total."""
MAX_GROUPS: Final = 40
"""Maximum number of totals of one trace. Further models share one."""
_MAX_NAME: Final = 200
_NUMBERS: Final = frozenset({int, float})


class _Total:
    """The sums of the spans of one model."""

    __slots__ = ("cost", "ended", "estimated", "number", "started", "usage")

    def __init__(self) -> None:
        self.number = 0
        self.usage: dict[str, int] = {}
        self.cost: float | None = None
        self.estimated = False
        self.started: float | None = None
        self.ended: float | None = None


class Totals:
    """Adds up tokens and cost of dropped spans by model. `number` counts all spans, with tokens or without."""

    def __init__(self, max_groups: int = MAX_GROUPS) -> None:
        self.number = 0
        self._max_groups = max_groups
        self._groups: dict[tuple[str | None, str | None, bool], _Total] = {}

    def add(self, span: Mapping[str, Any], number: int = 1) -> None:
        """Add a dropped span, or with `number` 0 more tokens of one that was added.

        A span with the sums of others represents those, which have been counted already.
        """
        attributes = span.get("attributes")
        others = attributes.get(NUMBER) if type(attributes) is dict else None
        if type(others) is int:
            number = others
        else:
            self.number += number
        usage, cost = span.get("usage"), span.get("cost")
        counts = {
            name: count
            for name, count in (usage.items() if type(usage) is dict else ())
            if type(name) is str and type(count) is int and count >= 0
        }
        if type(cost) not in _NUMBERS or not 0 <= cost < 2**53:  # type: ignore[operator] # NaN too
            cost = None
        if not counts and cost is None:
            return
        total = self._group(_name(span.get("model")), _name(span.get("provider")), cost is not None)
        total.number += number
        for name, count in counts.items():
            total.usage[name] = total.usage.get(name, 0) + count
        if cost is not None:
            total.cost = (total.cost or 0.0) + cost
            total.estimated = total.estimated or span.get("cost_estimated") is True
        start, end = span.get("start"), span.get("end")
        if type(start) in _NUMBERS:
            total.started = start if total.started is None else min(total.started, start)  # type: ignore[type-var]
        if type(end) in _NUMBERS:
            total.ended = end if total.ended is None else max(total.ended, end)  # type: ignore[type-var]

    def _group(self, model: str | None, provider: str | None, has_cost: bool) -> _Total:  # noqa: FBT001 - part of the key
        key = (model, provider, has_cost)
        if key not in self._groups and len(self._groups) >= self._max_groups:
            key = (None, None, has_cost)
        return self._groups.setdefault(key, _Total())

    def spans(self, parent_span_id: str | None, new_span_id: Callable[[], str]) -> list[dict[str, Any]]:
        """Return one model span for each group, whose counts are the sums of the dropped spans."""
        return [
            {
                "span_id": new_span_id(),
                "parent_span_id": parent_span_id,
                "name": f"{total.number} more requests" if total.number != 1 else "1 more request",
                "type": "llm",
                "start": total.started,
                "end": total.ended,
                "model": model,
                "provider": provider,
                "usage": total.usage,
                "cost": total.cost,
                "cost_estimated": total.estimated,
                "attributes": {NUMBER: total.number},
            }
            for (model, provider, _), total in self._groups.items()
        ]


def _name(value: object) -> str | None:
    return value[:_MAX_NAME] if type(value) is str else None
