"""A span's input and output, in one of the typed forms that LangWatch displays."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import orjson

from automagik_processors._bounded_json import MAX_TEXT, MAX_VALUE, dumps_bounded
from automagik_telemetry.sinks.langwatch._keys import FORMS, ROLES

_MAX_LIST_DEPTH: Final = 4
"""Maximum levels of lists of typed values. Deeper values are plain JSON."""


def typed_value(value: object, max_value: int = MAX_VALUE) -> tuple[str, int]:
    """Return the JSON of `{"type": ..., "value": ...}` for any value, and the number of omitted characters.

    A value that has this form already keeps its type if the value fits it. A str is a text, a list of messages in
    OpenAI's format is chat_messages, anything else json. An unreadable object is replaced by its text, as raw. Nothing
    is raised.
    """
    if type(value) is str and len(value) <= MAX_TEXT and len(value) <= max_value:
        with contextlib.suppress(orjson.JSONEncodeError):  # a lone surrogate
            return f'{{"type":"text","value":{orjson.dumps(value).decode()}}}', 0
    return dumps_bounded(typed(value), max_value)


def typed(value: Any, depth: int = 0) -> dict[str, Any]:
    """Return `{"type": ..., "value": ...}` for any value, without copying or inspecting its content."""
    if type(value) is dict and value.keys() == {"type", "value"} and _fits(value["type"], value["value"]):
        if value["type"] != "list":
            return value
        if depth < _MAX_LIST_DEPTH:
            return {"type": "list", "value": [typed(item, depth + 1) for item in value["value"]]}
    if type(value) is str:
        return {"type": "text", "value": value}
    if type(value) is list and value and _fits("chat_messages", value):
        return {"type": "chat_messages", "value": value}
    return {"type": "json", "value": value}


def _fits(form: object, value: object) -> bool:
    """Return whether LangWatch accepts this value under that type."""
    if type(form) is not str or form not in FORMS:
        return False
    if form == "chat_messages":
        return type(value) is list and all(map(_is_message, value))
    return form == "json" or type(value) is (list if form == "list" else str)


def _is_message(value: object) -> bool:
    return type(value) is dict and type(role := value.get("role")) is str and role in ROLES
