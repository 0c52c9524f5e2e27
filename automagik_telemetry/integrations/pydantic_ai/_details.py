"""Attributes of a request and its answer, under the names of pydantic-ai's own OpenTelemetry output."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from automagik_processors._bounded_json import dumps
from automagik_telemetry._failsafe import attempt
from automagik_telemetry.integrations._content import first
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_ai.messages import ModelRequestAttempt, ModelResponse
    from pydantic_ai.models import ModelRequestContext

_SETTINGS: Final = ("max_tokens", "top_p", "seed", "temperature", "presence_penalty", "frequency_penalty")


def of_request(context: ModelRequestContext) -> dict[str, Any]:
    """Return the settings of the model and the definitions of the tools that a request sends."""
    settings: Any = context.model_settings or {}
    found = {f"gen_ai.request.{name}": value for name in _SETTINGS if (value := settings.get(name)) is not None}
    definitions = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters_json_schema,
        }
        for tool in first(_tools(context))
    ]
    return {**found, "gen_ai.tool.definitions": dumps(definitions)} if definitions else found


def of_response(response: ModelResponse) -> dict[str, Any]:
    """Return the model that has answered, its ID of the response, and why it ended."""
    reason = response.finish_reason
    found = {
        "gen_ai.response.model": response.model_name,
        "gen_ai.response.id": response.provider_response_id,
        "gen_ai.response.finish_reasons": [reason] if reason else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def open_failed_attempts(attempts: list[ModelRequestAttempt] | None) -> None:
    """Record the attempts of a fallback before the model that has answered, as children of the request."""
    for one in first(attempts or ()):
        attempt(_open_failed, one)


def _open_failed(one: ModelRequestAttempt) -> None:
    span = open_span(one.model_name, "llm", model=one.model_name, provider=one.provider_name)
    kind, _, message = (one.error or f"Rejected: {one.outcome}").partition(": ")
    span.error = {"type": kind, "message": message, "stacktrace": None}
    if one.usage is not None:
        span.usage = {"input_tokens": one.usage.input_tokens, "output_tokens": one.usage.output_tokens}
        span.cost = None if one.usage.cost is None else float(one.usage.cost)
    late = max(0.0, time.time() - one.timestamp.timestamp())
    span.backdate(late)
    span.shorten(max(0.0, late - one.duration.total_seconds()))
    span.end()


def _tools(context: ModelRequestContext) -> Iterator[Any]:
    parameters = context.model_request_parameters
    yield from parameters.function_tools
    yield from parameters.output_tools
