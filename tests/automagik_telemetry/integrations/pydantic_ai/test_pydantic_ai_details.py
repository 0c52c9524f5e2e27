"""pydantic-ai: each attribute of its own OpenTelemetry output on the same run has a counterpart, or a reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.usage import RequestUsage

from automagik_telemetry import instrument
from tests.automagik_telemetry.integrations.arrived import named
from tests.automagik_telemetry.integrations.pydantic_ai.pydantic_ai_agents import run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.automagik_telemetry.integrations.conftest import Traced

pytestmark = pytest.mark.fault(115, 119)

SAME = "the same key and value"
CHECKLIST = {
    # Their attribute: ours, or the reason for which there is none.
    "gen_ai.request.max_tokens": SAME,
    "gen_ai.request.temperature": SAME,
    "gen_ai.response.model": SAME,
    "gen_ai.response.id": SAME,
    "gen_ai.response.finish_reasons": SAME,
    "gen_ai.provider.name": "the same key; of a fallback, the provider that the response names",
    "gen_ai.system": "as above",
    "gen_ai.usage.input_tokens": SAME,
    "gen_ai.usage.output_tokens": SAME,
    "gen_ai.tool.call.id": SAME,
    "pydantic_ai.tool.failure_stage": SAME,
    "gen_ai.tool.definitions": "the same key, in our own JSON, where they differ from those of the last request",
    "gen_ai.request.model": "the same key; of a fallback, the model that has answered",
    "gen_ai.usage.details.reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.conversation.id": "langwatch.thread.id, on the root",
    "gen_ai.agent.name": "the name of the run's span",
    "agent_name": "the name of the run's span",
    "gen_ai.tool.name": "the name of the tool's span",
    "gen_ai.tool.call.arguments": "langwatch.input",
    "gen_ai.tool.call.result": "langwatch.output; of an invalid call, the error",
    "gen_ai.input.messages": "langwatch.input, without those of the last request",
    "gen_ai.output.messages": "langwatch.output",
    "gen_ai.system_instructions": "the first message of langwatch.input",
    "final_result": "langwatch.output of the run",
    "metadata": "metadata of the root",
    "gen_ai.operation.name": "langwatch.span.type",
    "pydantic_ai.all_messages": "the inputs of the requests; repeated, a conversation would be sent twice",
    "pydantic_ai.new_message_index": "automagik.messages_before of the requests",
    "pydantic_ai.model_request.attempt": "the order of the spans",
    "pydantic_ai.tool.retry.cause": "the class of the error",
    "pydantic_ai.tool.retry.attempt": "the order of the spans",
    "pydantic_ai.tool.retry.max_retries": "a setting of the agent, not of the run",
    "gen_ai.aggregated_usage.input_tokens": "LangWatch sums the requests; a sum in the root would count twice",
    "gen_ai.aggregated_usage.output_tokens": "as above",
    "gen_ai.aggregated_usage.details.reasoning_tokens": "as above",
    "gen_ai.agent.call.id": "the ID of the run's span",
    "model_name": "the requests have their models",
    "model_request_parameters": "gen_ai.tool.definitions; the rest is how pydantic-ai asks",
    "logfire.msg": "a text for Logfire's page",
    "logfire.json_schema": "types for Logfire's page",
}


class Result(BaseModel):
    """A structured output."""

    value: int


def agent() -> Agent[None, Result]:
    """Return an agent whose model makes each mistake once, after another model that fails each time."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("add", {"number": "x"}), ("nope", {}), ("add", {"number": 1}),
        ("final_result", {"value": "bad"}), ("final_result", {"value": 1}), ("final_result", {"value": 2}),
    ]  # fmt: skip
    numbers = iter(range(len(calls)))

    def answer(_messages: Any, _info: Any) -> ModelResponse:
        number = next(numbers)
        name, arguments = calls[number]
        usage = RequestUsage(input_tokens=5, output_tokens=2, details={"reasoning_tokens": 1})
        return ModelResponse(
            [ToolCallPart(name, arguments, str(number))],
            usage=usage, model_name="answering", finish_reason="stop", provider_response_id=f"r{number}",
        )  # fmt: skip

    def fail(_messages: Any, _info: Any) -> ModelResponse:
        raise ModelHTTPError(500, "failing")

    models = FallbackModel(FunctionModel(fail, model_name="failing"), FunctionModel(answer))
    settings: Any = {"temperature": 0.5, "max_tokens": 10}
    made = Agent(models, name="simple", output_type=Result, instructions="be nice", retries=5, model_settings=settings)

    @made.tool_plain
    def add(number: int) -> int:
        return number + 1

    @made.output_validator
    def check(output: Result) -> Result:
        if output.value == 1:
            raise ModelRetry("must be 2")
        return output

    return made


HISTORY: list[ModelMessage] = [ModelRequest([UserPromptPart("before")]), ModelResponse([TextPart("said")])]


def run(of: Agent[None, Result]) -> Result:
    """Run it with a history and metadata."""
    output: Result = run_sync(of, "hello", metadata={"team": "blue"}, message_history=[*HISTORY]).output
    return output


def own_output() -> list[Any]:
    """Return the spans of pydantic-ai's own instrumentation."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    twin = agent()
    twin.instrument = InstrumentationSettings(tracer_provider=provider)
    assert run(twin).value == 2
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)


def test_mistakes_are_spans(traced: Callable[[], list[Traced]]) -> None:
    """Invalid arguments, an unknown tool, an invalid output, one that a validator rejects, and attempts that failed."""
    assert run(instrument(agent())) == Result(value=2)
    spans = traced()
    failed = [(span.type, span.name, span.said["error.type"]) for span in spans if span.raw["status"]["code"] == 2]
    assert [each for each in failed if each[0] != "llm"] == [
        ("tool", "add", "ValidationError"),
        ("tool", "nope", "LookupError"),
        ("guardrail", "final_result", "ValidationError"),
        ("guardrail", "final_result", "ModelRetry"),
    ]
    attempts = [span for span in spans if span.name == "failing"]
    requests = [span for span in spans if span.type == "llm" and span.name != "failing"]
    assert [span.parent for span in attempts] == [span.id for span in requests]
    assert {span.said["error.type"] for span in attempts} == {"ModelHTTPError"}
    assert spans[0].said["metadata"]["team"] == "blue"
    (executed,) = [span for span in spans if span.type == "tool" and span.raw["status"]["code"] == 1]
    assert (executed.name, executed.output) == ("add", 2)


class Large(BaseModel):
    """A structured output of several fields."""

    first: int
    second: int
    third: int


def test_a_streamed_output_is_no_mistake(traced: Callable[[], list[Traced]]) -> None:
    """The parts of a structured output that is valid in the end are no failures."""

    async def answer(_messages: Any, _info: Any) -> AsyncIterator[dict[int, DeltaToolCall]]:
        yield {0: DeltaToolCall(name="final_result", json_args='{"first": 1', tool_call_id="1")}
        for part in (', "second": 2', ', "third": 3', "}"):
            yield {0: DeltaToolCall(json_args=part, tool_call_id="1")}

    async def stream() -> list[Large]:
        made = instrument(Agent(FunctionModel(stream_function=answer), name="simple", output_type=Large))
        async with made.run_stream("hello") as result:
            return [output async for output in result.stream_output(debounce_by=None)]

    assert asyncio.run(stream())[-1] == Large(first=1, second=2, third=3)
    assert [(span.name, span.raw["status"]["code"]) for span in traced() if span.type != "llm"] == [("simple", 1)]


def test_each_attribute_has_a_counterpart(traced: Callable[[], list[Traced]]) -> None:
    """No attribute of theirs is unknown to the list, and those that are the same have the same values in order."""
    theirs = own_output()
    assert {key for span in theirs for key in span.attributes} <= set(CHECKLIST)
    run(instrument(agent()))
    ours = traced()

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    chats = [dict(span.attributes) for span in theirs if span.name.startswith("chat")]
    requests = [span.said for span in ours if span.type == "llm" and span.name != "failing"]
    assert len(chats) == len(requests) == 6
    for chat, request in zip(chats, requests, strict=True):
        for key in (key for key, of in CHECKLIST.items() if of == SAME and key in chat):
            found = request[key]
            if isinstance(found, dict):
                found = [value["stringValue"] for value in found["values"]]
            assert (key, found) == (key, plain(chat[key]))
        assert request["gen_ai.usage.reasoning.output_tokens"] == 1
    assert ["add" in str(request.get("gen_ai.tool.definitions")) for request in requests] == [True] + 5 * [False]


class Answering(FunctionModel):
    """A model that answers with text and usage, at an address."""

    def __init__(self, text: str, base_url: str | None) -> None:
        def answer(_messages: Any, _info: Any) -> ModelResponse:
            usage = RequestUsage(input_tokens=1000, output_tokens=100)
            return ModelResponse(
                [TextPart(text)], usage=usage, model_name="gpt-4o", provider_name="openai", provider_url=base_url
            )

        super().__init__(answer, model_name="gpt-4o")
        self._url = base_url

    @property
    def base_url(self) -> str | None:
        """Return its address."""
        return self._url

    @property
    def system(self) -> str:
        """Return its provider."""
        return "openai"


def is_rejected(response: ModelResponse) -> bool:
    """Return whether the fallback is to ask the next model."""
    return response.text == "bad"


@pytest.mark.parametrize(
    ("url", "cost"), [("https://api.openai.com/v1", 0.0035), ("http://127.0.0.1:1234/v1", None), (None, None)]
)
def test_an_answer_that_a_fallback_rejects(
    traced: Callable[[], list[Traced]], opted_in: Any, fields: Any, url: str | None, cost: float | None
) -> None:
    """Its tokens are those of the run too, and its cost is an estimate, unless the address has no price."""
    models = FallbackModel(Answering("bad", url), Answering("good", url), fallback_on=is_rejected)
    assert run_sync(instrument(Agent(models, name="simple")), "hello").output == "good"
    (rejected,) = [span for span in traced() if span.said.get("error.type") == "Rejected"]
    assert rejected.said["langwatch.metrics"].get("cost") == (None if cost is None else pytest.approx(cost))
    assert rejected.said.get("automagik.cost_estimated", False) == (cost is not None)
    (run,) = named(opted_in, fields, "agent.run")
    assert [run[f"event.{name}"] for name in ("input_tokens", "output_tokens", "token_count")] == [2000, 200, 2200]


def test_a_run_without_a_prompt_shows_the_history(traced: Callable[[], list[Traced]]) -> None:
    """A run that continues a history has its last request as input."""
    made = Agent(FunctionModel(lambda *_: ModelResponse([TextPart("hi")])), name="simple")
    run_sync(instrument(made), message_history=[ModelRequest([UserPromptPart("before")])])
    assert traced()[0].input == [{"role": "user", "content": "before"}]


@pytest.mark.parametrize("fails", [True, False])
def test_an_output_function_is_a_span(traced: Callable[[], list[Traced]], fails: bool) -> None:
    """Its argument, its result, and the error that makes the model try again."""
    tries = iter([fails, False])

    def shout(text: str) -> str:
        if next(tries):
            raise ModelRetry("louder")
        return text.upper()

    call = ModelResponse([ToolCallPart("final_result", {"text": "hi"}, "1")])
    made = Agent(FunctionModel(lambda *_: call), name="simple", output_type=shout)
    assert run_sync(instrument(made), "hello").output == "HI"
    spans = [span for span in traced() if span.type == "tool"]
    assert {span.name for span in spans} == {"shout"}
    assert [span.said.get("error.type") for span in spans] == (["ModelRetry", None] if fails else [None])
    assert spans[-1].output == "HI"
