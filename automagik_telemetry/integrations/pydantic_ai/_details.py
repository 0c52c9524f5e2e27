"""Attributes of a request and its answer, under the names of pydantic-ai's own OpenTelemetry output."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from pydantic_ai.messages import ModelResponse
from pydantic_ai.usage import RequestUsage

from automagik_processors._bounded_json import dumps
from automagik_telemetry._failsafe import attempt
from automagik_telemetry.integrations._content import first
from automagik_telemetry.tracing._cost import is_known
from automagik_telemetry.tracing.spans import fill, open_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_ai.messages import ModelRequestAttempt
    from pydantic_ai.models import Model, ModelRequestContext

DEFINITIONS: Final = "gen_ai.tool.definitions"
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
    return {**found, DEFINITIONS: dumps(definitions)} if definitions else found


def of_response(response: ModelResponse) -> dict[str, Any]:
    """Return the model that answered, the ID of its response, and the finish reason."""
    reason = response.finish_reason
    found = {
        "gen_ai.response.model": response.model_name,
        "gen_ai.response.id": response.provider_response_id,
        "gen_ai.response.finish_reasons": [reason] if reason else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def cost_of(response: ModelResponse, urls: Iterable[str]) -> dict[str, Any]:
    """Return the cost of an answer, as reported by its provider, else as estimated by pydantic-ai.

    `urls` are the addresses of the APIs that may have answered, without which an estimate is taken as it is.
    """
    cost = getattr(response.usage, "cost", None)
    if cost is None:
        return {}
    # Where the price is not known, it can't be an estimate.
    estimated = attempt(lambda: bool(response.cost().total_price == cost), default=False)
    if estimated and not all(map(is_known, urls)):
        return {}  # pydantic-ai takes a local server, or an unknown one, for the provider that it imitates
    return {"cost": float(cost), "cost_estimated": estimated}


def open_failed_attempts(attempts: list[ModelRequestAttempt] | None, models: Iterable[Model]) -> None:
    """Record the attempts of a fallback before the model that has answered, as children of the request."""
    for one in first(attempts or ()):
        attempt(_open_failed, one, models)


def _open_failed(one: ModelRequestAttempt, models: Iterable[Model]) -> None:
    span = open_span(one.model_name, "llm", model=one.model_name, provider=one.provider_name)
    kind, _, message = (one.error or f"Rejected: {one.outcome}").partition(": ")
    span.error = {"type": kind, "message": message, "stacktrace": None}
    if one.usage is not None:
        span.usage = {"input_tokens": one.usage.input_tokens, "output_tokens": one.usage.output_tokens}
        fill(span, **attempt(_cost_of_attempt, one, models, default={}))
    late = max(0.0, time.time() - one.timestamp.timestamp())
    span.backdate(late)
    span.shorten(max(0.0, late - one.duration.total_seconds()))
    span.end()


def _cost_of_attempt(one: ModelRequestAttempt, models: Iterable[Model]) -> dict[str, Any]:
    """Return the cost of a rejected answer. It has no address, but those of its provider's models are known."""
    urls = [model.base_url or "" for model in models if model.system == one.provider_name]
    answer = ModelResponse(
        [],
        usage=one.usage or RequestUsage(),
        model_name=one.model_name,
        provider_name=one.provider_name,
        timestamp=one.timestamp,
    )
    return cost_of(answer, urls or [""])


def _tools(context: ModelRequestContext) -> Iterator[Any]:
    parameters = context.model_request_parameters
    yield from parameters.function_tools
    yield from parameters.output_tools
