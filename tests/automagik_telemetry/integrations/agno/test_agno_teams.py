"""agno: teams and workflows are one tree each, and every model that an agent holds is in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.exceptions import ModelProviderError, RunCancelledException
from agno.memory import MemoryManager
from agno.models.response import ModelResponse
from agno.team import Team
from agno.tools import tool
from agno.workflow import Condition, Loop, Parallel, Router, Step, Workflow
from agno.workflow.types import HumanReview, StepOutput

from automagik_telemetry import get_tracing_manager, instrument, uninstrument
from tests.automagik_telemetry.integrations.agno.agno_agents import Offline, collect, make, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.automagik_telemetry.integrations.conftest import Traced


@dataclass
class Leader(Offline):
    """A model that delegates to each member, and then answers."""

    def _answer(self, messages: list[Any], tools: list[Any] | None) -> ModelResponse:
        names = [one["function"]["name"] for one in tools or ()]
        if "delegate_task_to_member" not in names or messages[-1].role == "tool":
            return super()._answer(messages, None)
        calls = [
            {
                "id": str(number),
                "type": "function",
                "function": {
                    "name": "delegate_task_to_member",
                    "arguments": f'{{"member_id": "{member}", "task": "secret"}}',
                },
            }
            for number, member in enumerate(("first", "second"))
        ]
        return ModelResponse(role="assistant", tool_calls=calls)


def team() -> Team:
    """Return a team of two agents, of which the second one has a tool."""
    members = [Agent(name="first", id="first", model=Offline(), telemetry=False), make(name="second", id="second")]
    return Team(name="both", members=[*members], model=Leader(id="leader"), telemetry=False)


WAYS: dict[str, Any] = {
    "run": lambda of: outcome(of.run("secret")),
    "arun": lambda of: outcome(asyncio.run(of.arun("secret"))),
    # Members and parallel steps run at the same time, so their events come in any order.
    "run stream": lambda of: sorted(str(outcome(one)) for one in of.run("secret", stream=True, stream_events=True)),
    "arun stream": lambda of: sorted(
        map(str, asyncio.run(collect(of.arun("secret", stream=True, stream_events=True))))
    ),
}


def tree(spans: list[Traced]) -> list[Any]:
    """Return the types and names of spans as nested lists, in the order of their begins."""
    below: dict[str | None, list[Any]] = {}
    known = {span.id for span in spans}
    for span in spans:
        below.setdefault(span.parent if span.parent in known else None, []).append(span)

    def of(parent: str | None) -> list[Any]:
        return [
            [f"{span.type} {span.name}", *of(span.id)] if of(span.id) else f"{span.type} {span.name}"
            for span in below.get(parent, [])
        ]

    return of(None)


@pytest.mark.fault(114)
@pytest.mark.parametrize("way", WAYS)
def test_a_team_is_one_tree(traced: Callable[[], list[Traced]], opted_in: Any, fields: Any, way: str) -> None:
    """The leader's requests, each delegation and the member's run inside of it, with the result of the twin."""
    assert WAYS[way](instrument(instrument(team()))) == WAYS[way](team())
    first, second = ["agent first", "llm offline"], ["agent second", "llm offline", "tool look", "llm offline"]
    spans = traced()
    delegated = [["tool delegate_task_to_member", first], ["tool delegate_task_to_member", second]]
    (found,) = tree(spans)
    assert found[:2] == ["agent both", "llm leader"]
    # The members of an asynchronous run run at the same time.
    assert sorted(found[2:4]) == delegated
    assert found[4:] == ["llm leader"]
    assert (spans[0].input, spans[0].output) == ("secret", "done indeed" if "stream" in way else "done")
    events = [fields(span) for span in opted_in.spans() if span["name"] == "agent.run"]
    runs = {event["event.agent_name"]: event for event in events}
    assert set(runs) == {"both", "first", "second"}
    assert [runs[name]["event.request_count"] for name in ("both", "first", "second")] == [2, 1, 2]


def flow() -> Workflow:
    """Return a workflow with every kind of step."""

    def last(step_input: Any) -> StepOutput:
        return StepOutput(content=f"{step_input.previous_step_content} and more")

    def agent(name: str) -> Agent:
        return Agent(name=name, id=name, model=Offline(), telemetry=False)

    pair: list[Any] = [Step(name="left", agent=agent("two")), Step(name="right", agent=agent("three"))]
    steps: list[Any] = [
        Step(name="alone", agent=agent("one")),
        Parallel(*pair, name="both"),
        Loop(steps=[Step(name="again", agent=agent("four"))], name="twice", max_iterations=2),
        Router(
            name="choose",
            choices=[Step(name="this", agent=agent("five")), Step(name="that", agent=agent("six"))],
            selector=lambda step_input: step_input and [],
        ),
        Condition(name="if", evaluator=lambda _: True, steps=[Step(name="then", agent=agent("seven"))]),
        last,
    ]
    return Workflow(name="flow", steps=steps, telemetry=False)


@pytest.mark.fault(114)
@pytest.mark.parametrize("way", WAYS)
def test_a_workflow_is_one_tree(traced: Callable[[], list[Traced]], opted_in: Any, fields: Any, way: str) -> None:
    """Steps, those of containers included, and the agents in them; two events tell of its begin and end."""
    assert WAYS[way](instrument(instrument(flow()))) == WAYS[way](flow())
    spans = traced()
    (found,) = tree(spans)

    def step(name: str, agent: str) -> list[Any]:
        return [f"task {name}", [f"agent {agent}", "llm offline"]]

    assert found[:2] == ["workflow flow", step("alone", "one")]
    assert found[2][0] == "chain both"
    assert sorted(found[2][1:]) == sorted([step("left", "two"), step("right", "three")])
    assert found[3:] == [
        ["chain twice", step("again", "four"), step("again", "four")],
        "chain choose",
        ["chain if", step("then", "seven")],
        "task last",
    ]
    assert len({span.raw["traceId"] for span in spans}) == 1
    assert spans[0].input == "secret"
    assert spans[0].output.endswith("and more")
    events = {span["name"]: fields(span) for span in opted_in.spans() if span["name"].startswith("workflow.")}
    assert events["workflow.started"]["event.workflow_name"] == "flow"
    assert events["workflow.completed"]["event.success"] is True
    assert events["workflow.completed"]["event.step_count"] == 7


@pytest.mark.fault(114)
def test_uninstrument_restores_members_and_steps() -> None:
    """Members, steps, agents and workflows inside of others have their own classes again."""
    group, steps, inner = team(), flow(), flow()
    outer = Workflow(name="outer", steps=[Step(name="nested", workflow=inner)], telemetry=False)
    instrument(outer)
    assert type(inner) is not Workflow
    uninstrument(outer)
    assert [type(inner), *map(type, cast("Any", inner.steps))][:4] == [Workflow, Step, Parallel, Loop]
    members: Any = group.members
    parts: Any = steps.steps
    assert uninstrument(instrument(group)) is group
    assert uninstrument(instrument(steps)) is steps
    assert [type(one) for one in (group, *members)] == [Team, Agent, Agent]
    assert [type(one) for one in (steps, *parts)][:4] == [Workflow, Step, Parallel, Loop]
    assert type(parts[0].agent) is Agent


@pytest.mark.fault(114)
@pytest.mark.parametrize("way", ["run stream", "arun stream"])
def test_a_workflow_that_is_cancelled(traced: Callable[[], list[Traced]], opted_in: Any, fields: Any, way: str) -> None:
    """A stream whose run is cancelled has failed, with the reason, which telemetry does not have."""

    def cancel(_step_input: Any) -> StepOutput:
        raise RunCancelledException("no longer wanted")

    WAYS[way](instrument(Workflow(name="flow", steps=[cancel], telemetry=False)))
    root = traced()[0]
    assert (root.said["error.type"], "no longer wanted" in root.raw["status"]["message"]) == ("CancelledError", True)
    (event,) = [fields(span) for span in opted_in.spans() if span["name"] == "workflow.completed"]
    assert event["event.success"] is False


@pytest.mark.fault(114)
@pytest.mark.parametrize("streams", [True, False])
def test_a_workflow_that_continues(traced: Callable[[], list[Traced]], streams: bool) -> None:
    """A run that continues has a link to the one that paused."""

    def last(_step_input: Any) -> StepOutput:
        return StepOutput(content="done")

    steps: Any = [Step(name="ask", executor=last, human_review=HumanReview(requires_confirmation=True))]
    workflow = instrument(Workflow(name="flow", steps=steps, db=cast("Any", InMemoryDb)(), telemetry=False))
    if streams:
        for _ in workflow.run("hello", session_id="one", stream=True, stream_events=True):
            pass
        paused: Any = workflow.get_last_run_output(session_id="one")
    else:
        paused = workflow.run("hello", session_id="one")
    for one in paused.step_requirements:
        one.confirm()
    assert workflow.continue_run(paused).content == "done"
    first, second = [span for span in traced() if span.type == "workflow"]
    (link,) = second.raw["links"]
    assert (link["traceId"], link["spanId"]) == (first.raw["traceId"], first.id)


@pytest.mark.fault(113)
@pytest.mark.parametrize("way", ["run", "arun"])
def test_every_model_of_an_agent_is_in_the_trace(traced: Callable[[], list[Traced]], way: str) -> None:
    """Models for output, memory and summaries, a fallback after one that fails, and the default of a manager."""
    agent = Agent(
        name="simple", telemetry=False, model=Offline(id="first", failure=ModelProviderError("busy", status_code=503)),
        fallback_models=[Offline(id="fallback")], output_model=Offline(id="output"), db=cast("Any", InMemoryDb)(),
        memory_manager=MemoryManager(model=Offline(id="memory")), update_memory_on_run=True,
        enable_session_summaries=True,
    )  # fmt: skip
    WAYS[way](instrument(agent))
    spans = traced()
    models = [span.name for span in spans if span.type == "llm"]
    assert set(models) >= {"first", "fallback", "output", "memory"}
    assert len({span.raw["traceId"] for span in spans}) == 1
    assert models.count("first") >= 2  # the run's, and that of the summary, for which the agent's model is the default


@pytest.mark.fault(113)
def test_a_failed_run_has_the_message(traced: Callable[[], list[Traced]], opted_in: Any) -> None:
    """A run that agno ends without the exception has its text in the root of the trace, and not in telemetry."""
    instrument(make(failure=ValueError("no such secret"))).run("hello")
    assert "no such secret" in traced()[0].raw["status"]["message"]
    assert get_tracing_manager().flush(10)
    usage = [body for path, _, body in opted_in.requests if path != "/api/otel/v1/traces"]
    assert "no such" not in str(usage)


@pytest.mark.fault(113)
@pytest.mark.parametrize("is_confirmed", [True, False])
def test_a_decision_of_the_user(
    traced: Callable[[], list[Traced]], to_the_last_detail: Any, opted_in: Any, fields: Any, is_confirmed: bool
) -> None:
    """A run that continues has a link to the one that paused; only a confirmed tool is executed and counted."""

    def transfer() -> str:
        return "done"

    agent = instrument(make(tool(requires_confirmation=True)(transfer), db=cast("Any", InMemoryDb)()))
    paused = agent.run("hello")
    for one in paused.tools or ():
        one.confirmed = is_confirmed
    agent.continue_run(run_id=paused.run_id, session_id=paused.session_id, requirements=paused.requirements)
    spans = traced()
    first, second = [span for span in spans if span.type == "agent"]
    (link,) = second.raw["links"]
    assert (link["traceId"], link["spanId"]) == (first.raw["traceId"], first.id)
    assert [span.name for span in spans if span.type == "tool"] == (["transfer"] if is_confirmed else [])
    executed = [span for span in opted_in.spans() + opted_in.records() if "tool.executed" in str(span)]
    assert len(executed) == is_confirmed
