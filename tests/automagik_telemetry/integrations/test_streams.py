"""A run is followed through the stream or block that it returns, to its end or until its reader stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations._wrapping import _open
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.automagik_telemetry.integrations.conftest import Traced

Log = list[tuple[Any, ...]]
OK = {"code": 1}


class Part(str):  # noqa: SLOT000 - it has attributes
    """A part of an answer, with the number of tokens so far."""

    total_tokens = 7


# What a generator may do when its reader stops reading.
async def plain(log: Log) -> AsyncIterator[str]:
    """Raise what is thrown."""
    try:
        yield Part("one")
        yield Part("two")
    except BaseException as error:
        log.append(("thrown", type(error)))
        raise
    finally:
        log.append(("end",))


async def awaits(log: Log) -> AsyncIterator[str]:
    """Wait in the end."""
    try:
        yield Part("one")
        yield Part("two")
    finally:
        log.append(("end",))
        await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        log.append(("waited",))


async def yields(log: Log) -> AsyncIterator[str]:
    """Yield in the end, which is an error of Python's."""
    try:
        yield Part("one")
        yield Part("two")
    finally:
        log.append(("end",))
        yield Part("three")


async def swallows(log: Log) -> AsyncIterator[str]:
    """Return instead of raising what is thrown."""
    with contextlib.suppress(GeneratorExit, asyncio.CancelledError):
        yield Part("one")
        log.append(("next",))
        yield Part("two")
    log.append(("swallowed",))


async def answers(log: Log) -> AsyncIterator[str]:
    """Yield once more when it is cancelled, as agno does."""
    try:
        yield Part("one")
        yield Part("two")
    except asyncio.CancelledError:
        log.append(("cancelled",))
        yield Part("bye")


async def _break(stream: Any, _log: Log, _kept: list[Any]) -> None:
    async for _ in stream:
        break


async def _close(stream: Any, _log: Log, _kept: list[Any]) -> None:
    async for _ in stream:
        break
    await stream.aclose()


async def _free(stream: Any, _log: Log, _kept: list[Any]) -> None:
    async for _ in stream:
        break
    del stream
    gc.collect(1)
    await asyncio.sleep(0.01)


async def _keep(stream: Any, _log: Log, kept: list[Any]) -> None:
    kept.append(stream)
    async for _ in stream:
        break


async def _cancel(stream: Any, log: Log, _kept: list[Any]) -> None:
    async def read() -> None:
        async for _ in stream:
            reading.set()
            await asyncio.Event().wait()

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    log.append((repr((await asyncio.gather(task, return_exceptions=True))[0]),))


async def _cancel_the_close(stream: Any, log: Log, _kept: list[Any]) -> None:
    async for _ in stream:
        break
    closing = asyncio.ensure_future(stream.aclose())
    closing.cancel()
    log.append((repr((await asyncio.gather(closing, return_exceptions=True))[0]),))


async def _throw_exit(stream: Any, log: Log, _kept: list[Any]) -> None:
    await anext(stream)
    try:
        log.append((await stream.athrow(GeneratorExit()),))
    except BaseException as error:
        log.append((type(error),))


READERS = [_break, _close, _free, _keep, _cancel, _cancel_the_close, _throw_exit]


def followed(
    function: Callable[[Log], Any], read: Callable[[Any, Log, list[Any]], Awaitable[None]], monkeypatch: Any
) -> Log:
    """Return all that happens when a reader stops reading: in the generator, the loop and the interpreter."""
    log: Log = []
    kept: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: log.append(("unraisable", repr(found.exc_value))))

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: log.append(("loop", repr(context.get("exception"))))
        )
        await read(function(log), log, kept)

    try:
        asyncio.run(main())
    except BaseException as error:
        log.append(("raised", repr(error)))
    kept.clear()
    gc.collect(1)
    return log


@pytest.mark.fault(108)
@pytest.mark.parametrize("kind", [plain, awaits, yields, swallows, answers])
def test_stopping_to_read_is_the_same_with_us(opted_in: Any, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens as without us when a reader of an asynchronous generator stops, in each way and order."""

    def returning(log: Log) -> Any:
        return kind(log)

    gc.collect()  # what other tests left
    for read_and_stop in READERS:
        expected = followed(kind, read_and_stop, monkeypatch)
        for function in (kind, returning):
            tracked: Any = track_agent("simple")(function)
            assert (read_and_stop, followed(tracked, read_and_stop, monkeypatch)) == (read_and_stop, expected)


@pytest.mark.fault(108)
def test_generator_that_outlives_its_loop(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that is freed after its loop was closed is not run again, as without us."""

    def outlive(function: Any) -> Log:
        log: Log = []
        monkeypatch.setattr(sys, "unraisablehook", lambda found: log.append(("unraisable", repr(found.exc_value))))
        loop = asyncio.new_event_loop()
        stream = function(log)
        loop.run_until_complete(anext(stream))
        loop.close()
        del stream
        gc.collect(1)
        return log

    assert outlive(track_agent("simple")(awaits)) == outlive(awaits)


class Reading:
    """An iterator of parts, which is its own iterator."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)
        self.total_tokens = 7
        self.is_closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.parts:
            raise StopIteration
        part = self.parts.pop(0)
        if part == "fail":
            raise LookupError(part)
        return part

    def close(self) -> None:
        """Close it."""
        self.is_closed = True


class Slotted(Reading):
    """One whose iterator is a generator, without a place for attributes."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        with contextlib.suppress(StopIteration):
            while True:
                yield self.__next__()


class AsyncReading:
    """An asynchronous iterator of parts."""

    def __init__(self, *parts: str) -> None:
        self.source = Reading(*parts)
        self.total_tokens = 7

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        await asyncio.sleep(0)
        try:
            return next(self.source)
        except StopIteration:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Close it."""
        self.source.close()


class Block:
    """A context manager that gives its stream."""

    def __init__(self, *parts: str) -> None:
        self.stream = Reading(*parts)

    def __enter__(self) -> Reading:
        return self.stream

    def __exit__(self, *_: object) -> None:
        self.stream.close()


@contextlib.contextmanager
def block(*parts: str) -> Iterator[Iterator[str]]:
    """Give a stream, as a generator."""
    yield (part for part in parts)


@contextlib.asynccontextmanager
async def async_block(*parts: str) -> AsyncIterator[AsyncIterator[str]]:
    """Give an asynchronous stream."""

    async def stream() -> AsyncIterator[str]:
        for part in parts:
            yield part

    yield stream()


def read_block(made: Any, number: int) -> None:
    """Read that many items inside of a block."""
    with made as stream:
        read(stream, number)


def read(stream: Any, number: int) -> None:
    """Read that many items, and stop."""
    for _, item in zip(range(number), stream, strict=False):
        assert item


async def aread(stream: Any, number: int) -> None:
    """Read that many items, and stop."""
    async for _ in stream:
        number -= 1
        if not number:
            break


async def aread_block(made: Any, number: int) -> None:
    """Read that many items inside of a block."""
    async with made as stream:
        await aread(stream, number)


SHAPES: dict[str, tuple[Any, Any]] = {
    "iterator": (Reading, read),
    "iterator of its own": (Slotted, read),
    "asynchronous iterator": (AsyncReading, aread),
    "context manager": (Block, read_block),
    "generator as context manager": (block, read_block),
    "asynchronous context manager": (async_block, aread_block),
}


def use(shape: str, number: int, *parts: str, coroutine: bool = False) -> None:
    """Read a number of items of what a tracked function returns."""
    make, reader = SHAPES[shape]

    @track_agent("simple")
    def run() -> Any:
        return make(*parts)

    @track_agent("simple")
    async def arun() -> Any:
        await asyncio.sleep(0)
        return make(*parts)

    async def main() -> None:
        made = await arun() if coroutine else run()
        assert isinstance(made, type(make(*parts)))
        result = reader(made, number)
        if result is not None:
            await result

    asyncio.run(main())
    gc.collect(1)


@pytest.mark.fault(110)
@pytest.mark.parametrize("coroutine", [False, True], ids=["returned", "awaited"])
@pytest.mark.parametrize("shape", SHAPES)
def test_returned_streams_and_blocks_are_followed(
    traced: Callable[[], list[Traced]], shape: str, *, coroutine: bool
) -> None:
    """Iterators and context managers continue the run to their end; if the reader stops, it has the parts so far."""
    use(shape, 9, "one", "two", coroutine=coroutine)
    use(shape, 1, "one", "two", coroutine=coroutine)
    whole, left = traced()
    assert (whole.output, whole.raw["status"], left.output, left.raw["status"]) == ("onetwo", OK, "one", OK)
    assert not _open


@pytest.mark.fault(110)
@pytest.mark.parametrize("shape", ["iterator", "iterator of its own", "asynchronous iterator", "context manager"])
def test_failing_streams_and_blocks(traced: Callable[[], list[Traced]], shape: str) -> None:
    """An exception passes, and is that of the run."""
    with pytest.raises(LookupError):
        use(shape, 9, "one", "fail", "two")
    (span,) = traced()
    assert (span.raw["status"], span.output) == ({"code": 2, "message": "fail"}, "one")


@pytest.mark.fault(110)
def test_returned_objects_stay_what_they_are(opted_in: Any) -> None:
    """An object is the same one, with its state and methods, and has its own class again when the run has ended."""
    made: list[Any] = []

    @track_agent("simple")
    def run() -> Any:
        made.append(Reading("one", "two"))
        return made[-1]

    stream = run()
    assert stream is made[0]
    assert (isinstance(stream, Reading), vars(stream)) == (True, vars(Reading("one", "two")))
    assert (type(stream).__name__, type(stream).__module__) == ("Reading", __name__)
    assert list(stream) == ["one", "two"]
    assert type(stream) is Reading
    closed = run()
    closed.close()
    assert (closed.is_closed, type(closed)) == (True, Reading)


@pytest.mark.fault(110)
@pytest.mark.parametrize("make", [lambda: iter("ab"), lambda: map(str.upper, "ab"), lambda: io.StringIO("ab")])
def test_objects_that_cannot_be_followed_stay(traced: Callable[[], list[Traced]], make: Any) -> None:
    """A built-in iterator keeps its class; the run ends when it is returned."""

    @track_agent("simple")
    def run() -> Any:
        return make()

    result = run()
    assert type(result) is type(make())
    assert len(traced()) == 1


@pytest.mark.fault(110)
def test_block_that_fails_is_a_failed_run(traced: Callable[[], list[Traced]]) -> None:
    """An exception that leaves the block is the run's; one that the block suppresses is not."""

    @contextlib.contextmanager
    def suppressing() -> Iterator[None]:
        with contextlib.suppress(KeyError):
            yield

    def use(error: Exception) -> None:
        with run():
            raise error

    run = track_agent("simple")(suppressing)
    use(KeyError("suppressed"))
    with pytest.raises(LookupError, match="left"):
        use(LookupError("left"))
    assert [span.raw["status"]["code"] for span in traced()] == [1, 2]


@pytest.mark.fault(110)
def test_object_that_is_never_used(opted_in: Any, fields: Any) -> None:
    """A context manager that is only kept ends its run when it is freed, and the time until then does not count."""

    @track_agent("simple")
    def run() -> Any:
        return Block("one")

    kept = run()
    (followed_object,) = _open.values()
    followed_object.used -= 3_600
    followed_object.run._started -= 3_600  # type: ignore[attr-defined] # an hour passes
    del kept
    gc.collect(1)
    assert get_tracing_manager().flush(10)
    (sent,) = [fields(span) for span in opted_in.spans() if span["name"] == "agent.run"]
    assert sent["event.success"] is True
    assert sent["event.duration_ms"] < 60_000


@pytest.mark.fault(108)
@pytest.mark.parametrize("read", [_break, _close, _free, _cancel, _keep])
def test_run_whose_reader_stops_has_not_failed(
    opted_in: Any, traced: Callable[[], list[Traced]], fields: Any, read: Any
) -> None:
    """It has the text and tokens so far, whatever ends the reading."""
    asyncio.run(read(track_agent("simple")(plain)([]), [], []))
    gc.collect(1)
    (span,) = traced()
    assert (span.raw["status"], span.output) == (OK, "one")
    (event,) = [fields(one) for one in opted_in.spans() if one["name"] == "agent.run"]
    assert (event["event.success"], event["event.token_count"]) == (True, 7)


@pytest.mark.fault(108)
@pytest.mark.parametrize(
    ("cancel", "text"),
    [
        (lambda task: task.cancel(), "cancelled"),
        (lambda task: task.cancel("no longer needed"), "no longer needed"),
        (lambda task: task.cancel("Cancelled via cancel scope 7f00a1 by <Task x>; reason: too late"), "too late"),
        (lambda task: task.cancel("Cancelled by cancel scope 7f00a1"), "cancelled"),
    ],
)
def test_cancelled_run_has_its_cause(traced: Callable[[], list[Traced]], cancel: Any, text: str) -> None:
    """The error of a cancelled run is the reason that was given, without the event loop's own text."""

    @track_agent("simple")
    async def run() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        cancel(task)
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    (span,) = traced()
    assert span.raw["status"] == {"code": 2, "message": text}
    assert span.said["error.type"] == "CancelledError"


class Serving:
    """A real server in a thread, for an ASGI application."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
        self.server = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))

    def __enter__(self) -> int:
        self.thread.start()
        port: int = self.listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.mark.fault(108)
def test_closed_browser(opted_in: Any, traced: Callable[[], list[Traced]], fields: Any) -> None:
    """A client that closes its connection amid a streamed answer leaves neither a failed run nor a failed request."""
    ended = threading.Event()

    @track_agent("simple")
    async def answer() -> AsyncIterator[str]:
        try:
            for word in ("one ", *["two "] * 1_000):
                yield word
                await asyncio.sleep(0.002)
        finally:
            ended.set()

    async def stream(_request: Any) -> StreamingResponse:
        return StreamingResponse(answer())

    app = TelemetryMiddleware(Starlette(routes=[Route("/stream", stream)]))
    with Serving(app) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while b"one " not in received:
                received += client.recv(4_096)
        assert ended.wait(10)
    (span,) = traced()
    assert (span.raw["status"], span.output[:4]) == (OK, "one ")
    sent = {one["name"]: fields(one) for one in opted_in.spans()}
    assert sent["agent.run"]["event.success"] is True
    assert sent["api.request"]["event.status_code"] in {499, 200}  # an old starlette returns as if all had been sent
    assert sent["api.request"]["event.success"] is True
    assert "agent.error" not in sent
