"""A run of any agent class becomes a trace of its input, its output and the runs inside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.integrations._agent_run import AgentRun
from automagik_telemetry.integrations.agent import TrackedAgent, track_agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.automagik_telemetry.integrations.conftest import Traced


class Shouting(TrackedAgent, agent_name="simple"):
    """An agent of every kind of run."""

    def run(self, message: str, *, session_id: str | None = None, user_id: str | None = None) -> str:
        """Answer at once."""
        del session_id, user_id
        return message.upper()

    @track_agent()
    async def ask(self, message: str) -> str:
        """Ask another agent and this one, which is not a run of its own."""
        await asyncio.sleep(0)
        return Shouting().run(message) + self.run(message)

    @track_agent()
    def stream(self, message: str) -> Iterator[str]:
        """Answer in parts."""
        yield from message

    @track_agent()
    async def astream(self, message: str) -> AsyncIterator[dict[str, str]]:
        """Answer in parts that are not texts."""
        for part in message:
            yield {"part": part}

    @track_agent()
    def fail(self, message: str) -> str:
        """Fail."""
        raise LookupError(message)


def test_what_was_asked_and_given(traced: Callable[[], list[Traced]]) -> None:
    """Input, output, conversation and user are the call's."""
    Shouting().run("hello", session_id="a session", user_id="a user")
    Shouting().run(message="hello", user_id="b")
    span, named = traced()
    assert named.input == {"message": "hello", "user_id": "b"}
    assert (span.name, span.type, span.parent, span.output) == ("simple", "agent", None, "HELLO")
    assert span.input == "hello"
    assert (span.said["langwatch.thread.id"], span.said["langwatch.user.id"]) == ("a session", "a user")


def test_one_question_is_the_input(traced: Callable[[], list[Traced]]) -> None:
    """The only argument of a run is its input, also for a function, which has no `self`."""

    @track_agent("simple")
    def answer(message: str) -> str:
        return message * 2

    answer("so")
    list(Shouting().stream("hello"))
    first, second = traced()
    assert (first.input, first.output) == ("so", "soso")
    assert (second.input, second.output) == ("hello", "hello")


def test_stream_of_other_things(traced: Callable[[], list[Traced]]) -> None:
    """A stream of items that are not texts is sent as a list."""

    async def consume() -> list[Any]:
        return [part async for part in Shouting().astream("ab")]

    assert asyncio.run(consume()) == traced()[0].output == [{"part": "a"}, {"part": "b"}]


def test_failure(traced: Callable[[], list[Traced]]) -> None:
    """The exception of a failed run is in its span, with the stack."""
    with pytest.raises(LookupError):
        Shouting().fail("nothing there")
    (span,) = traced()
    assert span.raw["status"] == {"code": 2, "message": "nothing there"}
    assert span.said["error.type"] == "LookupError"
    assert "in fail" in str(span.raw["events"])


def test_runs_within_runs(traced: Callable[[], list[Traced]]) -> None:
    """Runs inside another are its children, whatever began them; a block is a run as well."""
    with AgentRun("prompt_maker", "agno"):
        asyncio.run(Shouting().ask("hello"))
    block, ask, inner = traced()
    assert (block.parent, ask.parent, inner.parent) == (None, block.id, ask.id)
    assert (block.name, ask.name, inner.name) == ("prompt_maker", "simple", "simple")
    assert len({span.raw["traceId"] for span in (block, ask, inner)}) == 1


def test_only_telemetry_keeps_nothing(opted_in: Any) -> None:
    """Neither question nor answer is kept without observability."""
    with AgentRun("simple", "agno") as run:
        run.observe("an answer")
    assert run.traced is None
    assert run._items == []
