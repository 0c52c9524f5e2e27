"""An application behaves the same with an integration as without, however it is run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import track_cli_command
from tests.automagik_telemetry.integrations.asgi import test_messages as messages

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
SENT = {
    "http": [messages.START, messages.PART, messages.LAST, {"type": "http.response.trailers", "headers": []}],
    "websocket": [messages.SOCKET, messages.TEXT, messages.CLOSE, {**messages.LAST, "type": "websocket.close"}],
}
RECEIVED = {
    "http": [{"type": "http.request", "body": b"x", "more_body": True}, messages.HTTP_GONE],
    "websocket": [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "x"}, messages.GONE],
}


@pytest.fixture(autouse=True)
def tracking(opted_in: Any) -> None:
    """Opt in, because an integration that is off proves nothing."""
    assert get_tracing_manager().telemetry is not None


def error() -> st.SearchStrategy[BaseException]:
    """Draw an exception."""
    return st.sampled_from([ValueError, KeyError, OSError, asyncio.CancelledError, SystemExit, KeyboardInterrupt]).map(
        lambda kind: kind("x")
    )


@many
@given(data=st.data(), kind=st.sampled_from(["http", "websocket"]), gone_after=st.integers(0, 6))
def test_requests(data: st.DataObject, kind: str, gone_after: int) -> None:
    """An application may send and receive in any order, right or wrong; messages and exceptions are the same."""
    step = st.one_of(st.sampled_from(SENT[kind]), st.none(), error())
    steps = data.draw(st.lists(step, max_size=6))
    incoming = data.draw(st.lists(st.sampled_from(RECEIVED[kind]), min_size=6, max_size=6))
    app = messages.scripted(*steps)
    expected = messages.serve(app, *incoming, kind=kind, gone_after=gone_after)
    got = messages.serve(TelemetryMiddleware(app), *incoming, kind=kind, gone_after=gone_after)
    assert len(got) == len(expected)
    assert all(one is other or repr(one) == repr(other) for one, other in zip(got, expected, strict=True))


# A body's step is a value to yield, and whether it continues after a thrown exception; or an exception to raise.
BODY = st.lists(st.one_of(st.tuples(st.integers(), st.booleans()), error()), max_size=5)
# A driver's step: a value to send (None is next), an exception to throw, or the end.
DRIVER = st.lists(st.one_of(st.none(), st.integers(), error(), st.just("close")), max_size=8)


def drive(generator: Any, step: Any, log: list[str]) -> None:
    """Take one step with a generator, and log its outcome."""
    try:
        if step == "close":
            generator.close()
        elif isinstance(step, BaseException):
            log.append(f"gives {generator.throw(step)}")
        else:
            log.append(f"gives {generator.send(step)}")
    except BaseException as raised:  # catches every exception
        log.append(f"raises {raised!r}")


async def drive_asynchronous(generator: Any, step: Any, log: list[str]) -> None:
    """Take one step with an asynchronous generator, and log its outcome."""
    try:
        if step == "close":
            await generator.aclose()
        elif isinstance(step, BaseException):
            log.append(f"gives {await generator.athrow(step)}")
        else:
            log.append(f"gives {await generator.asend(step)}")
    except BaseException as raised:  # catches every exception
        log.append(f"raises {raised!r}")


@many
@given(body=BODY, driver=DRIVER)
def test_generators(body: list[Any], driver: list[Any]) -> None:
    """A generator takes, yields, raises and returns the same, in the same order, for any sent values and exceptions."""

    def run(track: Any) -> list[str]:
        log: list[str] = []

        def steps() -> Any:
            log.append("begins")
            try:
                for step in body:
                    if isinstance(step, BaseException):
                        raise step
                    value, goes_on = step
                    try:
                        log.append(f"gets {yield value}")
                    except Exception as thrown:
                        log.append(f"catches {thrown!r}")
                        if not goes_on:
                            raise
                return "result"
            finally:
                log.append("ends")

        generator = track(steps)()
        for step in driver:
            drive(generator, step, log)
        return log

    assert run(track_agent("simple", "agno")) == run(lambda function: function)


@many
@given(body=BODY, driver=DRIVER)
def test_asynchronous_generators(body: list[Any], driver: list[Any]) -> None:
    """An asynchronous generator behaves in the same way."""

    async def run(track: Any) -> list[str]:
        log: list[str] = []

        async def steps() -> Any:
            log.append("begins")
            try:
                for step in body:
                    if isinstance(step, BaseException):
                        raise step
                    value, goes_on = step
                    try:
                        log.append(f"gets {yield value}")
                        await asyncio.sleep(0)
                    except Exception as thrown:
                        log.append(f"catches {thrown!r}")
                        if not goes_on:
                            raise
            finally:
                log.append("ends")

        generator = track(steps)()
        for step in driver:
            await drive_asynchronous(generator, step, log)
        return log

    assert asyncio.run(run(track_agent("simple", "agno"))) == asyncio.run(run(lambda function: function))


# A command calls commands, one for each list, and then returns or raises as the string or exception requests.
COMMANDS = st.recursive(
    st.one_of(st.text(max_size=3), error()), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


@many
@given(tree=COMMANDS, asynchronous=st.booleans())
def test_commands(tree: Any, asynchronous: bool) -> None:
    """Commands that call commands return and raise the same objects, in the same order."""

    def run(track: Any) -> list[Any]:
        log: list[Any] = []

        def work(node: Any) -> Any:
            log.append(node)
            if isinstance(node, list):
                return [invoke(child) for child in node]
            if isinstance(node, BaseException):
                raise node
            return node

        def invoke(node: Any) -> Any:
            if asynchronous and node is tree:

                async def concurrent() -> Any:
                    await asyncio.sleep(0)
                    return work(node)

                return asyncio.run(track(concurrent)())
            return track(lambda: work(node))()

        try:
            log.append(invoke(tree))
        except BaseException as raised:  # catches every exception
            log.append(raised)
        return log

    got, expected = run(track_cli_command("agent run")), run(lambda function: function)
    assert all(one is other or one == other for one, other in zip(got, expected, strict=True))
