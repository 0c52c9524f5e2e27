"""The declared events as data and as Markdown, and the differences between two catalogues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automagik_processors.kinds import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automagik_processors import Kind
    from automagik_telemetry.events._event import Event


def describe(event: type[Event]) -> dict[str, Any]:
    """Return the description of an event, as `automagik-telemetry events --json` prints it."""
    optional = {
        "owner": event.owner,
        "since": event.since,
        "expires": str(event.expires),
        "deprecated": event.deprecated,
    }
    return {
        "event": event.name,
        "level": event.levels(),
        "description": _description(event),
        **{key: value for key, value in optional.items() if value},
        "fields": [
            {"field": name, "kind": kind.name, "description": event.fields[name].sentence, **_allowed(kind)}
            for name, kind in event.kinds().items()
        ],
    }


def notes(described: dict[str, Any]) -> list[str]:
    """Return a sentence for each attribute of a description: deprecation, expiry, owner and version."""
    found = []
    if deprecated := described.get("deprecated"):
        found.append("Deprecated." if deprecated is True else f"Deprecated: {deprecated}")
    found += [
        f"{label} {described[key]}."
        for key, label in (("expires", "Last sent on"), ("since", "Since"), ("owner", "Owner:"))
        if key in described
    ]
    return found


def sentence_of(field: dict[str, Any]) -> str:
    """Return the sentence of a field, with its allowed values."""
    values = field.get("allowed")
    return f"{field['description']} Allowed: {', '.join(values)}." if values else str(field["description"])


def markdown(events: Iterable[type[Event]]) -> str:
    """Return a section for each event, with a table of its fields."""
    lines: list[str] = []
    for described in map(describe, events):
        text = " ".join(filter(None, [described["description"], f"Level: {described['level']}.", *notes(described)]))
        lines += [f"## {described['event']}\n", f"{text}\n"]
        if fields := described["fields"]:
            lines += ["| field | kind | value |", "| --- | --- | --- |"]
            lines += [f"| `{field['field']}` | {field['kind']} | {_cell(sentence_of(field))} |" for field in fields]
            lines.append("")
        else:
            lines.append("No fields.\n")
    return "\n".join(lines)


def differences(saved: object, current: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each event or field that was removed, is new, or changed its kind.

    Raises:
        ValueError: `saved` is not a catalogue.
    """
    before, after = _kinds(saved), _kinds({"events": list(current)})
    for event in before.keys() | after.keys():
        if event not in after:
            yield f"{event}: the event was removed."
        elif event not in before:
            yield f"{event}: the event is new."
        else:
            yield from _differences_of(event, before[event], after[event])


def _differences_of(event: str, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for field in before.keys() | after.keys():
        if field not in after:
            yield f"{event}.{field}: the field was removed."
        elif field not in before:
            yield f"{event}.{field}: the field is new, a {after[field]}."
        elif before[field] != after[field]:
            yield f"{event}.{field}: the kind was {before[field]}, and is {after[field]}."


def _kinds(catalogue: Any) -> dict[str, dict[str, str]]:
    try:
        return {
            str(event["event"]): {str(field["field"]): str(field["kind"]) for field in event["fields"]}
            for event in catalogue["events"]
        }
    except (KeyError, TypeError):
        raise ValueError("it is not a catalogue") from None


def _description(event: type[Event]) -> str:
    """Return the docstring of an event in one line; "" if it has none, as with `python -OO`."""
    return " ".join((vars(event).get("__doc__") or "").split())


def _allowed(kind: Kind) -> dict[str, list[str]]:
    return {"allowed": sorted(kind.allowed)} if isinstance(kind, Word) and kind.allowed is not None else {}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
