"""Tokens and cost of each provider's plain, cached and reasoning calls are what the provider documents.

The provider's own client sends the request; a stand-in for the provider's server answers with the usage in its form.
"""

from __future__ import annotations

import json
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import httpx
import httpx2
import pytest
from agno.agent import Agent as AgnoAgent
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

from automagik_telemetry import instrument
from automagik_telemetry.integrations.agno._usage import counts
from tests.automagik_telemetry.integrations.pydantic_ai.pydantic_ai_agents import run_sync

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.automagik_telemetry.integrations.conftest import Traced

pytestmark = pytest.mark.fault(112)

CHAT = {"id": "1", "object": "chat.completion", "created": 1, "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}},
]}  # fmt: skip


def chat(**usage: Any) -> dict[str, Any]:
    """Return the usage of OpenAI's chat format."""
    return {**CHAT, "usage": {"total_tokens": usage["prompt_tokens"] + usage["completion_tokens"], **usage}}


def claude(**usage: Any) -> dict[str, Any]:
    """Return a response of Anthropic's."""
    said = {"id": "1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}
    return {**said, "model": "claude-sonnet-4-6", "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def gemini(**usage: Any) -> dict[str, Any]:
    """Return a response of Google's."""
    content = {"role": "model", "parts": [{"text": "hi"}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP"}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
    }


def converse(**usage: Any) -> dict[str, Any]:
    """Return a response of Bedrock's."""
    message = {"role": "assistant", "content": [{"text": "hi"}]}
    total = usage["inputTokens"] + usage["outputTokens"]
    usage = {"totalTokens": total, **usage}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}


class Provider(NamedTuple):
    """A provider: its client's package, model, prices in dollars for a million tokens, and responses."""

    package: str
    model: str
    prices: dict[str, float]
    plain: dict[str, Any]
    cached: dict[str, Any]
    reasoning: dict[str, Any]


CACHED = {"prompt_tokens_details": {"cached_tokens": 800}}
THOUGHT = {"completion_tokens_details": {"reasoning_tokens": 500}}
CLAUDE_CACHED = {
    "input_tokens": 100, "output_tokens": 100, "cache_read_input_tokens": 700, "cache_creation_input_tokens": 200,
    "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
}  # fmt: skip
PROVIDERS = {
    "openai": Provider(
        "openai", "gpt-5", {"input": 1.25, "read": 0.125, "output": 10},
        chat(prompt_tokens=1000, completion_tokens=100),
        chat(prompt_tokens=1000, completion_tokens=100, **CACHED),
        chat(prompt_tokens=1000, completion_tokens=600, **THOUGHT),
    ),
    "anthropic": Provider(
        "anthropic", "claude-sonnet-4-6", {"input": 3, "read": 0.3, "write": 3.75, "write_1h": 6, "output": 15},
        claude(input_tokens=1000, output_tokens=100),
        claude(**CLAUDE_CACHED),
        claude(input_tokens=1000, output_tokens=600),
    ),
    "google": Provider(
        "google.genai", "gemini-2.5-flash", {"input": 0.3, "read": 0.03, "output": 2.5},
        gemini(promptTokenCount=1000, candidatesTokenCount=100),
        gemini(promptTokenCount=1000, candidatesTokenCount=100, cachedContentTokenCount=800),
        gemini(promptTokenCount=1000, candidatesTokenCount=100, thoughtsTokenCount=500),
    ),
    "mistral": Provider(
        "mistralai", "mistral-large-latest", {"input": 2, "read": 2, "output": 6},
        chat(prompt_tokens=1000, completion_tokens=100, model="mistral-large-latest"),
        chat(prompt_tokens=1000, completion_tokens=100, **CACHED),
        chat(prompt_tokens=1000, completion_tokens=600, **THOUGHT),
    ),
    "groq": Provider(
        "groq", "openai/gpt-oss-120b", {"input": 0.15, "read": 0.075, "output": 0.6},
        chat(prompt_tokens=1000, completion_tokens=100),
        chat(prompt_tokens=1000, completion_tokens=100, **CACHED),
        chat(prompt_tokens=1000, completion_tokens=600, **THOUGHT),
    ),
    "bedrock": Provider(
        "boto3", "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"input": 3.3, "read": 0.33, "write": 4.125, "write_1h": 6.6, "output": 16.5},
        converse(inputTokens=1000, outputTokens=100),
        converse(
            inputTokens=100, outputTokens=100, cacheReadInputTokens=700, cacheWriteInputTokens=200,
            cacheDetails=[{"ttl": "5m", "inputTokens": 150}, {"ttl": "1h", "inputTokens": 50}],
        ),
        converse(inputTokens=1000, outputTokens=600),
    ),
}  # fmt: skip
CALLS = ("plain", "cached", "reasoning")


def documented(name: str, call: str) -> tuple[int, int, float]:
    """Return the tokens read and written, and the cost, by the provider's prices for each kind of token."""
    prices = PROVIDERS[name].prices
    written = 600 if call == "reasoning" else 100
    read, write, write_1h = (0, 0, 0)
    if call == "cached":
        read, write, write_1h = (700, 150, 50) if "write" in prices else (800, 0, 0)
    parts = {
        "input": 1000 - read - write - write_1h, "read": read, "write": write, "write_1h": write_1h, "output": written,
    }  # fmt: skip
    return 1000, written, sum(count * prices.get(kind, 0) for kind, count in parts.items()) / 1e6


def client_of(library: Any, kind: str, response: dict[str, Any], model: str) -> Any:
    """Return an HTTP client, of httpx or its successor, whose requests are answered as by the provider's server."""
    body = {"model": model, **response} if "choices" in response else response
    return getattr(library, kind)(transport=library.MockTransport(lambda _: library.Response(200, json=body)))


def bedrock_client(response: dict[str, Any]) -> Any:
    """Return a client of Bedrock whose requests are answered before they are sent."""
    boto3, awsrequest = import_module("boto3"), import_module("botocore.awsrequest")
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client("bedrock-runtime", region_name="us-east-1", **keys)
    raw = mock.Mock(stream=lambda: [json.dumps(response).encode()])
    answer = awsrequest.AWSResponse("https://x", 200, {"content-type": "application/json"}, raw)
    client.meta.events.register("before-send.bedrock-runtime.*", lambda **_: answer)
    return client


def genai_client(response: dict[str, Any]) -> Any:
    """Return a client of Google's."""
    genai = import_module("google.genai")
    options = {
        "httpx_client": client_of(httpx, "Client", response, ""),
        "httpx_async_client": client_of(httpx, "AsyncClient", response, ""),
    }
    return genai.Client(api_key="x", http_options=options)


def agno_model(name: str, response: dict[str, Any], **options: Any) -> Any:
    """Return agno's model for a provider."""
    model = PROVIDERS[name].model
    client = client_of(httpx2 if name == "anthropic" else httpx, "Client", response, model)
    if name == "openai":
        return import_module("agno.models.openai").OpenAIChat(id=model, api_key="x", http_client=client, **options)
    if name == "anthropic":
        return import_module("agno.models.anthropic").Claude(id=model, api_key="x", http_client=client)
    if name == "groq":
        return import_module("agno.models.groq").Groq(id=model, api_key="x", http_client=client)
    if name == "google":
        return import_module("agno.models.google").Gemini(id=model, client=genai_client(response))
    if name == "mistral":
        mistral = import_module("mistralai.client").Mistral(api_key="x", client=client)
        return import_module("agno.models.mistral").MistralChat(id=model, mistral_client=mistral)
    return import_module("agno.models.aws").AwsBedrock(id=model, client=bedrock_client(response))


def pydantic_ai_model(name: str, response: dict[str, Any], **options: Any) -> Any:
    """Return pydantic-ai's model for a provider."""
    kind, provider = (getattr(import_module(f"pydantic_ai.{part}.{name}"), of) for part, of in zip(
        ("models", "providers"), PYDANTIC_AI[name], strict=True
    ))  # fmt: skip
    if name == "bedrock":
        return kind(PROVIDERS[name].model, provider=provider(bedrock_client=bedrock_client(response)))
    if name == "google":
        return kind(PROVIDERS[name].model, provider=provider(client=genai_client(response)))
    library = httpx if name == "groq" else httpx2
    client = client_of(library, "AsyncClient", response, PROVIDERS[name].model)
    return kind(PROVIDERS[name].model, provider=provider(api_key="x", http_client=client, **options))


PYDANTIC_AI = {
    "openai": ("OpenAIChatModel", "OpenAIProvider"),
    "anthropic": ("AnthropicModel", "AnthropicProvider"),
    "google": ("GoogleModel", "GoogleProvider"),
    "mistral": ("MistralModel", "MistralProvider"),
    "groq": ("GroqModel", "GroqProvider"),
    "bedrock": ("BedrockConverseModel", "BedrockProvider"),
}


def run(framework: str, name: str, call: str, **options: Any) -> None:
    """Make a request of a kind in a run of an agent."""
    pytest.importorskip(PROVIDERS[name].package)
    response = getattr(PROVIDERS[name], call)
    if framework == "agno":
        model = agno_model(name, response, **options)
        instrument(AgnoAgent(model=model, name="simple", telemetry=False)).run("hello")
    else:
        agent = instrument(Agent(pydantic_ai_model(name, response, **options), name="simple"))
        run_sync(agent, "hello", model_settings={"max_tokens": 1000})


@pytest.mark.parametrize("framework", ["agno", "pydantic_ai"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", PROVIDERS)
def test_tokens_and_cost_are_the_documented_ones(  # noqa: PLR0913, PLR0917 - the parameters
    traced: Callable[[], list[Traced]], opted_in: Any, fields: Any, framework: str, name: str, call: str
) -> None:
    """The request in the trace, and the event of the run, have the provider's tokens; the trace has their price."""
    run(framework, name, call)
    (request,) = [span for span in traced() if span.type == "llm"]
    metrics = request.said["langwatch.metrics"]
    read, written, cost = documented(name, call)
    assert (metrics["prompt_tokens"], metrics["completion_tokens"]) == (read, written)
    assert metrics["cost"] == pytest.approx(cost)
    assert request.said["automagik.cost_estimated"] is True
    (event,) = [fields(span) for span in opted_in.spans() if span["name"] == "agent.run"]
    assert (event["event.input_tokens"], event["event.output_tokens"]) == (read, written)


@pytest.mark.parametrize("framework", ["agno", "pydantic_ai"])
def test_a_local_server_has_no_price(traced: Callable[[], list[Traced]], framework: str) -> None:
    """A server with OpenAI's interface and a model of OpenAI's name has no price."""
    run(framework, "openai", "plain", base_url="http://127.0.0.1:1234/v1")
    (request,) = [span for span in traced() if span.type == "llm"]
    assert request.said["langwatch.metrics"] == {"prompt_tokens": 1000, "completion_tokens": 100}


def test_a_local_server_has_no_price_with_any_model(traced: Callable[[], list[Traced]]) -> None:
    """pydantic-ai prices an unknown address by the name of the provider; that estimate is not sent."""

    def answer(*_: Any) -> ModelResponse:
        url = "http://127.0.0.1:1234/v1"
        usage = RequestUsage(input_tokens=1000, output_tokens=100)
        return ModelResponse(
            [TextPart("hi")], usage=usage, model_name="gpt-4o", provider_name="openai", provider_url=url
        )

    run_sync(instrument(Agent(FunctionModel(answer), name="simple")), "hello")
    (request,) = [span for span in traced() if span.type == "llm"]
    assert "cost" not in request.said["langwatch.metrics"]


def reported(module: str, raw: Any = None, **metrics: int) -> dict[str, int]:
    """Return the counts of a model whose usage a module of agno converts."""

    class Model:
        def _get_metrics(self) -> None:
            """Convert."""

    Model._get_metrics.__module__ = module
    return counts(Model(), SimpleNamespace(**metrics), raw)


def test_each_form_of_agno() -> None:
    """Input with the cache, output with the reasoning, whichever way a provider counts; zeros are omitted."""
    cached = {"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 700, "cache_write_tokens": 200}
    assert reported("agno.models.anthropic.claude", **cached) == {**cached, "input_tokens": 1000}
    assert reported("agno.models.aws.bedrock", **cached) == {**cached, "input_tokens": 1000}
    thought = {"input_tokens": 100, "output_tokens": 10, "reasoning_tokens": 50}
    assert reported("agno.models.google.gemini", total_tokens=110, **thought) == {**thought, "output_tokens": 60}
    assert reported("agno.models.openai.chat", total_tokens=160, **thought) == {**thought, "output_tokens": 60}
    assert reported("agno.models.openai.chat", total_tokens=110, **thought) == thought
    audio = [SimpleNamespace(modality="TEXT", token_count=1), SimpleNamespace(modality="AUDIO", token_count=30)]
    raw = SimpleNamespace(prompt_tokens_details=audio, tool_use_prompt_token_count=5)
    google = reported("agno.models.google.gemini", raw, input_tokens=100)
    assert google == {"input_tokens": 105, "input_tool_tokens": 5, "input_audio_tokens": 30}
    assert reported("agno.models.openai.chat") == {}
    assert counts(object(), None, None) == {}
