"""The documented interface of providers, and the traces that LangWatch gets from it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations._runtime import observability
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.tracing._arguments import model_of
from automagik_telemetry.tracing._cost import prepare
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.tracing.manager import ObservabilityManager


@pytest.fixture
def manager(to_langwatch: Any) -> ObservabilityManager:
    """The observability of this process."""
    found = get_tracing_manager().observability
    assert found is not None
    return found


@pytest.fixture
def arrived(to_langwatch: Any, fields: Any, flush: Callable[[], None]) -> Callable[[], dict[str, dict[str, Any]]]:
    """Return all spans that have arrived, by name, their attributes under `fields`."""

    def spans() -> dict[str, dict[str, Any]]:
        flush()
        return {span["name"]: span | {"fields": fields(span)} for span in to_langwatch.spans()}

    return spans


def content(span: dict[str, Any], which: str) -> Any:
    """Return the input or output of a span."""
    return json.loads(span["fields"][f"langwatch.{which}"])["value"]


def test_without_a_key_there_is_none() -> None:
    """`tracing.observability` is None, and integrations open nothing."""
    assert get_tracing_manager().observability is None
    assert observability() is None


def test_telemetry_off_and_observability_on(manager: ObservabilityManager) -> None:
    """Each works without the other; the key opens this one."""
    assert get_tracing_manager().telemetry is None
    assert observability() is manager
    assert manager.get_active_providers() == ["langwatch"]


def test_block_is_a_trace(manager: ObservabilityManager, arrived: Any) -> None:
    """`should_sample` and `start_trace` make one trace, with all that was set on it."""

    async def run() -> str:
        decision = manager.sampler.should_sample(trace_type="agent.simple", is_error=False)
        assert decision.should_sample
        with manager.providers["langwatch"].start_trace(
            name="agent.simple",
            kind="agent_run",
            attributes={"agent.name": "simple", "session.id": "s-1", "user.id": None},
        ) as trace:
            trace.set_input("hello")
            with trace.span("look up", type="tool", input={"q": 1}) as part:
                await asyncio.sleep(0)
                part.set_output([1, 2])
            manager.providers["langwatch"].log_llm_call("gpt", [{"role": "user", "content": "hi"}], "hey", None)
            trace.set_output("HELLO")
            return trace.trace_id

    trace_id = asyncio.run(run())
    spans = arrived()
    root = spans["agent.simple"]
    assert {span["traceId"] for span in spans.values()} == {trace_id}
    assert (content(root, "input"), content(root, "output")) == ("hello", "HELLO")
    assert root["fields"]["langwatch.span.type"] == "agent"
    assert root["fields"]["langwatch.thread.id"] == "s-1"
    assert root["fields"]["agent.name"] == "simple"
    assert "user.id" not in root["fields"]
    assert spans["look up"]["parentSpanId"] == spans["gpt"]["parentSpanId"] == root["spanId"]
    assert content(spans["look up"], "output") == [1, 2]


def test_exceptions_pass_and_are_recorded(manager: ObservabilityManager, arrived: Any) -> None:
    """An exception propagates unchanged, and the span is marked as failed."""
    with pytest.raises(KeyError), manager.trace_agent_run("simple", "s", "hi"):
        raise KeyError("gone")
    assert arrived()["agent.simple"]["status"]["code"] == 2


def tell(manager: ObservabilityManager, usage: Any) -> str:
    """Report a run after the fact, as Automagik Agents does; return the trace ID."""
    trace_id, root, model, *others = (str(uuid.uuid4()) for _ in range(8))
    for provider in manager.providers.values():
        provider.start_trace(
            trace_id=trace_id,
            span_id=root,
            name="Agent: simple",
            input_text="question",
            metadata={"user_id": 7, "thread_id": "t-1", "agent_name": "simple", "run_id": None},
        )
        at: dict[str, Any] = {"trace_id": trace_id, "parent_span_id": root}
        provider.log_agent_config(
            **at, span_id=others[0], agent_name="simple", model="m", system_prompt="be", memory_variables={}
        )
        provider.log_input_processing(
            **at, span_id=others[1], raw_input="question", processed_input="question", message_history=[{}, {}]
        )
        provider.log_llm_call(
            model="openai:gpt-4.1",
            messages=[{"role": "user", "content": "question"}],
            response="answer",
            usage=usage,
            span_id=model,
            **at,
        )
        provider.log_tool_call("search", {"q": 1}, {"found": 2}, trace_id=trace_id, parent_span_id=model)
        provider.log_output_generation(
            **at, span_id=others[2], raw_output="answer", final_output="answer", tool_calls=[], usage=usage
        )
        provider.complete_trace(trace_id=trace_id, final_output="answer")
    return trace_id


@pytest.mark.parametrize("inside", [True, False], ids=["inside trace_agent_run", "alone"])
def test_reported_run_is_one_trace(manager: ObservabilityManager, arrived: Any, inside: bool) -> None:
    """Calls with dashed UUIDs, after the work is done, make one trace of valid ids, whether or not one is open."""
    usage = {"request_tokens": 3, "response_tokens": 4}
    given = ""
    if inside:
        block = manager.trace_agent_run(agent_name="simple", session_id="s", message_preview="question")
        block.__enter__()
        block.attributes["sampling.reason"] = "why"
        tell(manager, usage)
        block.__exit__(None, None, None)
    else:
        given = tell(manager, usage)
    spans = arrived()
    root = spans["agent.simple" if inside else "Agent: simple"]
    assert len(spans) == 6
    assert len({span["traceId"] for span in spans.values()}) == 1
    if not inside:
        assert root["traceId"] == given.replace("-", "")
    assert "parentSpanId" not in root
    parents = {name: span["parentSpanId"] for name, span in spans.items() if span is not root}
    assert parents.pop("search") == spans["gpt-4.1"]["spanId"]
    assert set(parents.values()) == {root["spanId"]}
    assert content(root, "output") == "answer"
    assert root["fields"]["langwatch.user.id"] == "7"
    assert root["fields"].get("sampling.reason") == ("why" if inside else None)
    assert spans["gpt-4.1"]["fields"]["gen_ai.usage.input_tokens"] == 3
    assert manager.get_metrics()["traces"].get("bad_call") is None


def test_concurrent_reported_runs_do_not_mix(manager: ObservabilityManager, arrived: Any) -> None:
    """The calls of each run become its own trace, also when interleaved."""

    async def run() -> None:
        with manager.trace_agent_run("simple", "s", "hi"):
            await asyncio.sleep(0)
            tell(manager, None)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(run() for _ in range(20)))

    asyncio.run(main())
    arrived()
    assert manager.get_metrics()["traces"]["traces"] == 20


def test_spans_of_a_workflow_are_reported_by_metadata(manager: ObservabilityManager, arrived: Any) -> None:
    """A start and an end by `log_metadata`, with ids, are one span of their trace."""
    provider = manager.providers["langwatch"]
    trace_id, root, turn = (str(uuid.uuid4()) for _ in range(3))
    provider.start_trace(trace_id=trace_id, span_id=root, name="workflow")
    at = {"trace_id": trace_id, "span_id": turn, "parent_span_id": root, "name": "turn"}
    provider.log_metadata({**at, "event_type": "span_start", "attributes": {"turn_number": 1}})
    provider.log_metadata({**at, "event_type": "span_end", "attributes": {"tokens_used": 5}})
    provider.log_metadata({"trace_id": trace_id, "labels": ["x"], "tool_calls": [{"name": "grep", "args": "a"}]})
    provider.complete_trace(trace_id)
    spans = arrived()
    assert set(spans) == {"workflow", "turn", "grep"}
    assert spans["turn"]["fields"]["turn_number"] == 1
    assert spans["turn"]["fields"]["tokens_used"] == 5
    assert json.loads(spans["workflow"]["fields"]["metadata"])["labels"] == ["x"]


def test_reported_errors(manager: ObservabilityManager, arrived: Any) -> None:
    """`log_error` marks the current span, or a run by its id; a call without a place is a trace of its own."""
    provider = manager.providers["langwatch"]
    with manager.trace_agent_run("a", "s"):
        provider.log_error(ValueError("no"), {"agent": "a", "session_id": "s"})
    trace_id = str(uuid.uuid4())
    provider.start_trace(trace_id=trace_id, name="b")
    provider.log_error(ValueError("no"), {"trace_id": trace_id})
    provider.complete_trace(trace_id)
    provider.log_tool_call("alone", {}, None, error="it broke", duration_ms=1500)
    provider.log_error(ValueError("nowhere"))
    spans = arrived()
    assert [spans[name]["status"]["code"] for name in ("agent.a", "b", "alone")] == [2, 2, 2]
    alone = spans["alone"]
    assert int(alone["endTimeUnixNano"]) - int(alone["startTimeUnixNano"]) == pytest.approx(1.5e9, rel=0.1)


def test_bad_calls_are_counted_and_not_raised(manager: ObservabilityManager) -> None:
    """No call raises, for any arguments."""
    provider = manager.providers["langwatch"]
    provider.log_metadata(5)  # type: ignore[arg-type] # that is the test
    provider.log_llm_call()  # type: ignore[call-arg] # that is the test
    provider.complete_trace("unknown", "x")
    provider.log_tool_call("t", trace_id=object(), usage=object())
    assert manager.get_metrics()["traces"]["bad_call"] == 2


def test_head_decision_gives_the_trace_its_id_and_rate(
    monkeypatch: pytest.MonkeyPatch, to_langwatch: Any, arrived: Any
) -> None:
    """A trace with a positive decision is not sampled again, and has the rate of the decision."""
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "0.5")
    manager = get_tracing_manager().observability
    assert manager is not None
    started = []
    for number in range(100):
        decision = manager.sampler.should_sample(trace_type="agent.x")
        if decision.should_sample and decision.reason != "first_occurrence":
            with manager.providers["langwatch"].start_trace(name=f"n{number}") as trace:
                assert manager.sampler.should_sample(trace_type="agent.nested") == (
                    True,
                    "parent",
                    decision.sample_rate,
                )
                started.append((trace.trace_id, decision.sample_rate))
    spans = arrived().values()
    assert sorted((span["traceId"], span["fields"]["automagik.sample_rate"]) for span in spans) == sorted(started)
    assert 0 < len(started) < 99


def test_integrations_join_what_an_application_opened(manager: ObservabilityManager, arrived: Any) -> None:
    """A span of an integration inside the application's block is part of it; outside, a trace of its own."""
    with manager.trace_agent_run("simple", "s", "hi") as run:
        assert run.sampled
        open_span("inner", "llm").end()
    open_span("outer", "llm").end()
    spans = arrived()
    assert spans["inner"]["traceId"] == spans["agent.simple"]["traceId"] != spans["outer"]["traceId"]


def test_served_run_is_part_of_its_callers_trace(manager: ObservabilityManager, arrived: Any) -> None:
    """With telemetry off, too, the middleware takes the caller's traceparent for the runs inside."""
    client = manager.trace_agent_run("client", "s")

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        open_span("agent.server", "agent").end()

    with client:
        headers = [(b"traceparent", client.traceparent.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    asyncio.run(TelemetryMiddleware(app)(scope, AsyncMock(), AsyncMock()))
    spans = arrived()
    assert spans["agent.server"]["traceId"] == spans["agent.client"]["traceId"]
    assert spans["agent.server"]["parentSpanId"] == spans["agent.client"]["spanId"]


@pytest.mark.fault(112)
def test_a_model_with_its_provider_and_its_cost(manager: ObservabilityManager, arrived: Any) -> None:
    """A prefix is the provider; a cost is the reported one, else an estimate, else absent."""
    prepare()
    with manager.trace_agent_run(agent_name="simple"):
        provider = manager.providers["langwatch"]
        provider.log_llm_call("openai:gpt-4o", [], "a", {"prompt_tokens": 1_000_000, "completion_tokens": 0})
        provider.log_llm_call("gpt-4.1", [], "b", {"prompt_tokens": 10}, cost=0.5, provider="openai")
        provider.log_llm_call("ollama:llama3:8b", [], "c", {"prompt_tokens": 10})
        provider.log_llm_call("gpt-oss:20b", [], "d", {"prompt_tokens": 10})
        cached = {"input_tokens": 100, "cache_read_input_tokens": 700, "cache_creation_input_tokens": 200}
        provider.log_llm_call("anthropic:claude-sonnet-4-6", [], "e", cached)
    spans = {name: span["fields"] for name, span in arrived().items()}
    assert {
        name: (
            said.get("gen_ai.provider.name"),
            json.loads(said["langwatch.metrics"]).get("cost"),
            said.get("automagik.cost_estimated", False),
        )
        for name, said in spans.items()
        if name != "agent.simple"
    } == {
        "gpt-4o": ("openai", 2.5, True),
        "gpt-4.1": ("openai", 0.5, False),
        "llama3:8b": ("ollama", None, False),
        "gpt-oss:20b": (None, None, False),
        "claude-sonnet-4-6": ("anthropic", pytest.approx((300 + 210 + 750) / 1e6), True),
    }
    assert json.loads(spans["claude-sonnet-4-6"]["langwatch.metrics"])["prompt_tokens"] == 1000


@pytest.mark.fault(116)
def test_events_that_are_reported_later_are_one_tree_with_their_times(
    manager: ObservabilityManager, arrived: Any
) -> None:
    """Starts and ends with ISO timestamps, naive or not, make spans of these times, with session, user and tokens."""
    provider = manager.providers["langwatch"]
    run, turn, tool = (str(uuid.uuid4()) for _ in range(3))
    ago = datetime.now(UTC) - timedelta(minutes=5)

    def tell(kind: str, seconds: float, span: str, name: str, **attributes: Any) -> None:
        moment = ago + timedelta(seconds=seconds)
        text = moment.isoformat() if kind.endswith("end") else moment.replace(tzinfo=None).isoformat()
        ids = {"trace_id": run, "span_id": span, "parent_span_id": turn if span == tool else None}
        provider.log_metadata({**ids, "event_type": kind, "name": name, "timestamp": text, "attributes": attributes})

    tell("trace_start", 0, run, "claude_code", session_id="s-1", user_id="u-1", input="question", workspace="here")
    tell("span_start", 1, turn, "turn", model="anthropic:claude-sonnet-4-6")
    tell("span_start", 2, tool, "Bash", input={"command": "ls"})
    tell("span_end", 5, tool, "Bash", error="no such file")
    tell("span_end", 10, turn, "turn", input_tokens=100, output_tokens=10, cost_usd=0.25)
    tell("trace_end", 12, run, "claude_code", output="answer")
    spans = arrived()
    root, model, called = spans["claude_code"], spans["turn"], spans["Bash"]
    assert len({span["traceId"] for span in spans.values()}) == 1
    assert (model["parentSpanId"], called["parentSpanId"]) == (root["spanId"], model["spanId"])
    times = {
        name: [round(int(span[key]) / 1e9 - ago.timestamp(), 1) for key in ("startTimeUnixNano", "endTimeUnixNano")]
        for name, span in spans.items()
    }
    assert times == {"claude_code": [0.0, 12.0], "turn": [1.0, 10.0], "Bash": [2.0, 5.0]}
    assert root["fields"]["langwatch.thread.id"] == "s-1"
    assert root["fields"]["langwatch.user.id"] == "u-1"
    assert json.loads(root["fields"]["metadata"])["workspace"] == "here"
    assert "question" in root["fields"]["langwatch.input"]
    assert "answer" in root["fields"]["langwatch.output"]
    assert model["fields"]["langwatch.span.type"] == "llm"
    assert model["fields"]["gen_ai.provider.name"] == "anthropic"
    assert json.loads(model["fields"]["langwatch.metrics"]) == {
        "prompt_tokens": 100, "completion_tokens": 10, "cost": 0.25,
    }  # fmt: skip
    assert called["status"] == {"code": 2, "message": "no such file"}


@pytest.mark.fault(116)
def test_events_that_are_reported_twice(manager: ObservabilityManager, arrived: Any) -> None:
    """A second report of a begin changes no time and opens no span, and a run inside of a block moves no span of it."""
    provider = manager.providers["langwatch"]
    ago = time.time() - 1000
    run = {"trace_id": "run", "name": "run", "timestamp": ago}
    part = {"trace_id": "run", "span_id": "part", "name": "part", "timestamp": ago + 100}
    for event in (run, run):
        provider.log_metadata({**event, "event_type": "trace_start"})
    for event in (part, part):
        provider.log_metadata({**event, "event_type": "span_start"})
    provider.log_metadata({**part, "event_type": "span_end", "timestamp": ago + 200})
    provider.log_metadata({**run, "event_type": "trace_end", "timestamp": ago + 300})
    with provider.start_trace("own"):
        provider.log_metadata({"trace_id": "inside", "event_type": "trace_start", "timestamp": ago})
    spans = arrived()
    assert set(spans) == {"run", "part", "own"}
    times = {
        name: [int(span[key]) / 1e9 - ago for key in ("startTimeUnixNano", "endTimeUnixNano")]
        for name, span in spans.items()
    }
    assert times["run"] == pytest.approx([0, 300], abs=60)
    assert times["part"] == pytest.approx([100, 200], abs=60)
    assert times["own"] == pytest.approx([1000, 1000], abs=60)


@pytest.mark.parametrize(
    ("name", "provider", "found"),
    [
        ("mistral:7b", None, ("mistral:7b", None)),
        ("mistral:7b", "ollama", ("mistral:7b", "ollama")),
        ("mistral:mistral-large-latest", None, ("mistral-large-latest", "mistral")),
        ("mistral:open-mixtral-8x7b", "Mistral", ("open-mixtral-8x7b", "Mistral")),
        ("openai:gpt-4o", "litellm", ("openai:gpt-4o", "litellm")),
        ("google-gla:gemini-2.5-pro", "google", ("gemini-2.5-pro", "google")),
    ],
)
def test_names_of_models_with_colons(name: str, provider: str | None, found: tuple[str, str | None]) -> None:
    """A prefix is a provider only if the rest can be a model of it, and the caller names no other."""
    assert model_of(name, provider) == found


@pytest.mark.fault(116)
def test_odd_times_of_reported_events(manager: ObservabilityManager, arrived: Any) -> None:
    """A time that is not valid is counted, and the event takes place when it is reported."""
    provider = manager.providers["langwatch"]
    times: list[Any] = ["yesterday", [], float("nan"), "2999-01-01T00:00:00", time.time() * 1000, None]
    for timestamp in times:
        run = str(uuid.uuid4())
        for kind in ("trace_start", "trace_end"):
            provider.log_metadata({"trace_id": run, "event_type": kind, "name": str(timestamp), "timestamp": timestamp})
    provider.log_metadata({"trace_id": "never begun", "event_type": "trace_end"})
    spans = arrived()
    assert len(spans) == 6
    for span in spans.values():
        assert abs(int(span["startTimeUnixNano"]) / 1e9 - time.time()) < 60
    assert manager.get_metrics()["traces"]["invalid.timestamp"] == 10
