"""The boundaries of traces: each run or request is one, with its own decision, whatever long-lived code encloses it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from automagik_telemetry import carry_context, get_tracing_manager
from automagik_telemetry.integrations.agent import TrackedAgent, track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import track_cli_command
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing.manager import ObservabilityManager
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.automagik_telemetry.tracing.conftest import Logged

TRACE, CALLER = "a" * 32, "b" * 16
HEADERS = [(b"traceparent", f"00-{TRACE}-{CALLER}-01".encode())]


@track_agent("simple")
def run(message: str) -> str:
    """Run an agent that may fail."""
    if message == "fail":
        raise LookupError(message)
    return message


@pytest.fixture
def keeping(logged: Logged, opted_in: Any, to_langwatch: Any) -> Iterator[Callable[[float], None]]:
    """Record traces, and keep this share of them."""

    def keep(rate: float) -> None:
        get_tracing_manager()
        sampler = AdaptiveSampler(base_rate=rate, max_per_minute=1e9)
        ObservabilityManager(sampler=sampler)
        sampler.decide("simple", TRACE)  # the first of each type is always kept

    keep(1.0)
    yield keep
    spans.record_with(None)


async def request(
    app: Callable[..., Awaitable[None]], headers: Any = (), kind: str = "http", middleware: Any = TelemetryMiddleware
) -> None:
    """Serve one request."""

    async def receive() -> Any:
        await asyncio.sleep(0)
        return {"type": f"{kind}.request"}

    async def send(_message: Any) -> None:
        await asyncio.sleep(0)

    scope = {"type": kind, "method": "GET", "path": "/", "headers": list(headers)}
    await middleware(app)(scope, receive, send)


def traces(logged: Logged) -> list[str]:
    """Return the trace IDs of all runs."""
    return [event["trace_id"] for event in logged.events]


def links(logged: Logged) -> list[Any]:
    """Return the link of each run to what it was started in."""
    return [event["spans"][0].get("links", [None])[0] for event in logged.events]


def test_runs_of_a_command_are_traces_of_their_own(logged: Logged, keeping: Any, opted_in: Any) -> None:
    """A command that works through jobs links each run's trace to it; in telemetry they are its children."""

    @click.command()
    @track_cli_command("work")
    def work() -> None:
        for number in range(5):
            run(str(number))

    assert CliRunner().invoke(work).exit_code == 0
    assert len(set(traces(logged))) == 5
    assert get_tracing_manager().flush(10)
    (command,) = [span for span in opted_in.spans() if span["name"] == "cli.command"]
    runs = [span for span in opted_in.spans() if span["name"] == "agent.run"]
    assert [span["parentSpanId"] for span in runs] == [command["spanId"]] * 5
    assert len({str(link) for link in links(logged)}) == 1
    assert [event["spans"][0]["parent_span_id"] for event in logged.events] == [None] * 5


def test_runs_of_a_command_are_decided_on_one_by_one(logged: Logged, keeping: Any) -> None:
    """Within one command, a share of the runs is kept, and not all of them or none."""
    keeping(0.3)

    @track_cli_command("work")
    def work() -> None:
        for number in range(500):
            run(str(number))

    work()
    assert 90 < len(logged.events) < 210


def test_head_decisions_in_a_command_are_one_by_one(logged: Logged, keeping: Any) -> None:
    """`should_sample` decides for each run, too."""

    @track_cli_command("work")
    def work() -> int:
        sampler = AdaptiveSampler(0.3, max_per_minute=1e9)
        return sum(sampler.should_sample("simple").should_sample for _ in range(500))

    assert 90 < work() < 210


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_requests_of_a_serving_command(logged: Logged, keeping: Any, kind: str) -> None:
    """Each request is a trace with all of its runs, and each run in a websocket is one, linked to what encloses it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        run("a")
        run("b")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @track_cli_command("serve")
    async def serve() -> None:
        for _ in range(3):
            await request(app, kind=kind)

    asyncio.run(serve())
    assert len(logged.events) == 6
    assert len(set(traces(logged))) == (3 if kind == "http" else 6)
    assert None not in links(logged)
    assert len({link["span_id"] for link in links(logged)}) == (1 if kind == "http" else 3)


def test_remote_caller_wins_over_what_encloses(logged: Logged, keeping: Any) -> None:
    """The caller's trace is that of the request's runs, inside a command and inside an open run too."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        run("served")

    @track_cli_command("serve")
    async def serve() -> None:
        await request(app, HEADERS)
        outer = open_span("outer", "agent")
        with outer.within():
            await request(app, HEADERS)
            open_span("inside").end()
            same = f"00-{outer.trace.trace_id}-{outer.span_id}-01".encode()
            await request(app, [(b"traceparent", same)])
            with get_tracing_manager().observability.trace_agent_run("explicit", traceparent=HEADERS[0][1].decode()):  # type: ignore[union-attr]
                pass
        outer.end()

    asyncio.run(serve())
    first, second, explicit, outer = logged.events
    assert [one["trace_id"] for one in (first, second, explicit)] == [TRACE] * 3
    assert [one["spans"][0]["parent_span_id"] for one in (first, second, explicit)][:2] == [CALLER] * 2
    assert None not in links(logged)
    assert [span["name"] for span in outer["spans"]] == ["outer", "inside", "simple"]
    assert outer["trace_id"] != TRACE


@pytest.mark.parametrize("failing", [0, 1, None])
def test_runs_of_one_request_are_decided_on_together(logged: Logged, keeping: Any, failing: int | None) -> None:
    """If one of two runs fails, both are kept; otherwise both or none."""
    keeping(0.5)

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        for number in range(2):
            try:
                run("fail" if number == failing else "hello")
            except LookupError:
                assert logged.events == before  # not before the end of the request

    for _ in range(60):
        before = logged.events.copy()
        asyncio.run(request(app))
    per_trace = {trace: traces(logged).count(trace) for trace in traces(logged)}
    assert set(per_trace.values()) == {2}
    assert (len(per_trace) == 60) == (failing is not None)
    assert {event["sample_rate"] for event in logged.events} == {1.0 if failing is not None else 0.5}


def test_many_runs_of_one_request_are_bounded(logged: Logged, keeping: Any) -> None:
    """A request that goes on for long keeps no more than a hundred runs."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        for _ in range(150):
            run("hello")
        assert len(logged.events) == 50

    asyncio.run(request(app))
    assert len(logged.events) == 150


def test_task_that_outlives_a_run_or_a_request(logged: Logged, keeping: Any) -> None:
    """Runs of a poller that outlives its own are traces of their own, linked to the one that started it."""
    tasks = []

    async def poll() -> None:
        await asyncio.sleep(0.01)
        run("late")
        run("later")

    @track_agent("starter")
    async def start() -> None:
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(poll()))

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await start()
        tasks.append(asyncio.create_task(poll()))

    async def serve() -> None:
        await request(app)
        await asyncio.gather(*tasks)

    asyncio.run(serve())
    assert len(set(traces(logged))) == 5
    starter = logged.events[0]
    assert [link and link["trace_id"] for link in links(logged)] == [None] + [starter["trace_id"]] * 4


class Recursive(TrackedAgent, agent_name="recursive"):
    """An agent that calls itself."""

    def run(self, depth: int) -> int:
        """Call this function again."""
        return self.run(depth - 1) + 1 if depth else 0


class Deriving(Recursive):
    """An agent that calls its base class, too."""

    def run(self, depth: int) -> int:
        """Call the function of the base class twice, which calls this one."""
        return super().run(depth) + super().run(0)


@pytest.mark.parametrize(("agent", "number"), [(Recursive(), 4), (Deriving(), 4)])
def test_agent_that_calls_itself_is_counted_each_time(
    logged: Logged, keeping: Any, opted_in: Any, agent: Recursive, number: int
) -> None:
    """Each call of an agent by itself is a run, and `super().run()` is a part of one."""
    assert agent.run(3) == 3
    assert get_tracing_manager().flush(10)
    runs = [span for span in opted_in.spans() if span["name"] == "agent.run"]
    assert len(runs) == len(logged.only()["spans"]) == number
    assert len({span.get("parentSpanId") for span in runs}) == number


def test_task_that_outlives_a_run_calls_its_agent_again(logged: Logged, keeping: Any) -> None:
    """The later call is a run."""

    class Later(TrackedAgent, agent_name="later"):
        async def run(self, number: int) -> None:
            async def again() -> None:
                await asyncio.sleep(0.01)
                await self.run(number - 1)

            if number:
                self.task = asyncio.create_task(again())

    async def main() -> None:
        agent = Later()
        await agent.run(2)
        while not agent.task.done():
            await agent.task

    asyncio.run(main())
    assert len(logged.events) == len(set(traces(logged))) == 3


def test_threads_inherit_the_context_if_it_is_carried(logged: Logged, keeping: Any) -> None:
    """Threads and executors begin traces of their own, unless the function carries the context."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with outer.within(), ThreadPoolExecutor(2) as pool:
            await asyncio.to_thread(run, "inherited")
            for function in (run, carry_context(run)):
                await loop.run_in_executor(pool, function, "a")
                list(pool.map(function, ["b"] * 4))
                thread = threading.Thread(target=function, args=("c",))
                thread.start()
                thread.join()

    outer = open_span("outer", "agent")
    asyncio.run(main())
    outer.end()
    assert len(logged.events) == 7
    assert [span["name"] for span in logged.events[-1]["spans"]] == ["outer"] + ["simple"] * 7
    assert carry_context(run).__name__ == "run"


class Asking(TrackedAgent, agent_name="asking"):
    """An agent that asks another."""

    def run(self, message: str, *, session_id: str | None = None, user_id: str | None = None) -> str:
        """Ask."""
        del session_id, user_id
        return Answering().run(message) + Answering().run(message, session_id="its own", user_id="its own")


class Answering(TrackedAgent, agent_name="answering"):
    """An agent that is asked."""

    def run(self, message: str, *, session_id: str | None = None, user_id: str | None = None) -> str:
        """Answer."""
        del session_id, user_id
        return message


@pytest.mark.parametrize(
    ("given", "inherited", "own"),
    [
        ({"session_id": "s", "user_id": "u"}, ("s", "u"), ("s", "u")),
        ({"session_id": "unknown", "user_id": "u"}, (None, "u"), ("its own", "u")),
        ({}, (None, None), ("its own", "its own")),
    ],
)
def test_nested_agents_inherit_user_and_conversation(
    logged: Logged, keeping: Any, given: dict[str, str], inherited: Any, own: Any
) -> None:
    """An agent inside another has the outer one's, and its own only if there are none."""
    Asking().run("hello", **given)
    who = [(span.get("thread_id"), span.get("user_id")) for span in logged.only()["spans"]]
    assert who == [inherited, inherited, own]
