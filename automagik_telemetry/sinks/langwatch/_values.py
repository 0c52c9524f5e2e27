"""What a span took in or gave out, in one of the typed forms that LangWatch shows."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import orjson

from automagik_processors._bounded_json import MAX_TEXT, dumps
from automagik_telemetry.sinks.langwatch._keys import FORMS, ROLES

_MAX_LIST_DEPTH: Final = 4
"""Levels of lists of typed values; what lies deeper is plain JSON."""


def typed_value(value: object) -> str:
    """Return the JSON of `{"type": ..., "value": ...}` for any value; never raises.

    What has that shape already keeps its type where the value fits it. A str is a text, a list of messages in OpenAI's
    shape chat_messages, anything else json; and what can't be read at all is what it says of itself, raw.
    """
    if type(value) is str and len(value) <= MAX_TEXT:
        with contextlib.suppress(orjson.JSONEncodeError):  # a lone surrogate
            return f'{{"type":"text","value":{orjson.dumps(value).decode()}}}'
    return dumps(typed(value))


def typed(value: Any, depth: int = 0) -> dict[str, Any]:  # noqa: ANN401  # whatever an application puts there
    """Return `{"type": ..., "value": ...}` for any value, of which nothing is copied or looked into."""
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
    """Return whether LangWatch takes this value under that type."""
    if type(form) is not str or form not in FORMS:
        return False
    if form == "chat_messages":
        return type(value) is list and all(map(_is_message, value))
    return form == "json" or type(value) is (list if form == "list" else str)


def _is_message(value: object) -> bool:
    return type(value) is dict and type(role := value.get("role")) is str and role in ROLES
