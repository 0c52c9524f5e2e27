"""An application whose calls are interrupted, at every point or at random: run in a process of its own.

A *point* is a place in our code where an exception may arrive from outside: the start of a line, and each place where
CPython itself runs signal handlers and raises asynchronous exceptions (at the start of a function, after a call, at
a jump back). Leaving a protected region is no point of its own: between the last call in a `with` or `try` and the
call that cleans up, CPython lets nothing in, and no code could survive it.
"""

from __future__ import annotations

import ast
import ctypes
import dis
import faulthandler
import itertools
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from functools import cache, partial
from importlib import import_module
from inspect import CO_OPTIMIZED
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import structlog

import automagik_processors
import automagik_telemetry
from automagik_telemetry.events.catalogue import AgentExecutionEvent
from tests.faults.server import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

    from automagik_telemetry import TracingManager
    from tests.faults.server import Exchange

ROOTS = tuple(f"{root}{os.sep}" for package in (automagik_telemetry, automagik_processors) for root in package.__path__)
PATIENCE = 10.0
STUCK_SECONDS = 25.0
NOT_REACHED = 3
FAILED = 4
LETS_IN = ("RESUME", "CALL", "JUMP_BACKWARD")
"""Beginnings of the names of instructions after which CPython looks for signals and asynchronous exceptions."""
_DIGITS = ("input_tokens", "output_tokens", "request_count")
LETS_NOTHING_IN = ("CALL_INTRINSIC", "JUMP_BACKWARD_NO_INTERRUPT")


class Interrupt(BaseException):
    """An exception in place of a Ctrl-C or a time limit."""


class Failure(Exception):  # noqa: N818 - the counterpart of Interrupt
    """An exception that a handler may swallow, as those of the standard library do."""


class Trap:
    """Raises `exception` at the point `at`, from 1, of what this thread calls inside `with`.

    `bodies` selects the points in bodies of modules and classes, instead of those in functions. With `every_opcode`,
    each instruction is a point. With `once`, a point that is passed again (in a loop) is not counted again.
    """

    def __init__(
        self,
        at: int,
        exception: type[BaseException],
        *,
        bodies: bool = False,
        every_opcode: bool = False,
        once: bool = False,
    ) -> None:
        self.hit = ""
        self._left = at
        self.exception = exception
        self._bodies = bodies
        self._every_opcode = every_opcode
        self._passed: set[tuple[CodeType, int]] | None = set() if once else None

    def __enter__(self) -> Self:
        sys._getframe().f_trace_opcodes = True  # or Python 3.12 sends no event of an instruction to any frame
        sys.settrace(self._enter)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if not code.co_filename.startswith(ROOTS) or bool(code.co_flags & CO_OPTIMIZED) is self._bodies:
            return None
        frame.f_trace_opcodes = True
        previous, begins_line = frame.f_lasti, False  # RESUME, which is no event of its own

        def look(frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
            nonlocal previous, begins_line
            if event == "line":
                begins_line = True
            elif event == "opcode":
                if previous >= 0 and self._is_point(frame, previous, begins_line=begins_line):
                    self._left -= 1
                    if self._left == 0:
                        self.hit = f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
                        raise self.exception(self.hit)
                previous, begins_line = frame.f_lasti, False
            return look

        return look

    def _is_point(self, frame: FrameType, previous: int, *, begins_line: bool) -> bool:
        handlers, open_after = _layout(frame.f_code)
        if handlers.get(previous) != handlers.get(frame.f_lasti):
            return False
        if previous not in open_after:
            cleanup, headers = _cleanup_lines(frame.f_code.co_filename)
            within_line = self._every_opcode and frame.f_lineno not in headers
            if frame.f_lineno in cleanup or not (begins_line or within_line):
                return False
        if self._passed is not None:
            point = frame.f_code, frame.f_lasti
            if point in self._passed:
                return False
            self._passed.add(point)
        return True


@cache
def _layout(code: CodeType) -> tuple[dict[int, int], frozenset[int]]:
    """Return the exception handler of each instruction that has one, and the instructions that let exceptions in."""
    bytecode = dis.Bytecode(code)
    handlers = {
        instruction.offset: entry.target
        for instruction in bytecode
        for entry in bytecode.exception_entries  # type: ignore[attr-defined] # not in typeshed
        if entry.start <= instruction.offset < entry.end
    }
    open_after = frozenset(
        each.offset
        for each in bytecode
        if each.opname.startswith(LETS_IN) and not each.opname.startswith(LETS_NOTHING_IN)
    )
    return handlers, open_after


@cache
def _cleanup_lines(filename: str) -> tuple[frozenset[int], frozenset[int]]:
    """Return the lines inside `finally` and `except`, and the first lines of `with`, which clean up at its end."""
    cleanup: set[int] = set()
    headers: set[int] = set()
    for node in ast.walk(ast.parse(Path(filename).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Try):
            inners: list[ast.stmt | ast.ExceptHandler] = [*node.finalbody, *node.handlers]
            for inner in inners:
                cleanup.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
        elif isinstance(node, ast.With):
            headers.update(range(node.lineno, node.body[0].lineno))
    return frozenset(cleanup), frozenset(headers)


def fields(number: int) -> dict[str, Any]:
    """Return the fields of an event that carries a number below 900 ** 3, always in as many bytes.

    Three counts of three digits each, because larger ones would be rounded.
    """
    return {name: 100 + number // 900**place % 900 for place, name in enumerate(_DIGITS)}


def numbers_in(body: bytes) -> list[int]:
    """Return the numbers of the events in a request."""
    spans = json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    found = ({each["key"]: each["value"].get("intValue") for each in span["attributes"]} for span in spans)
    return [
        sum((int(each[f"event.{name}"]) - 100) * 900**place for place, name in enumerate(_DIGITS)) for each in found
    ]


def _drop(_logger: object, _method: str, _event_dict: object) -> str:
    raise structlog.DropEvent


def _assert_ended(thread: threading.Thread) -> None:
    if thread.is_alive():
        faulthandler.dump_traceback()
        raise AssertionError("a thread is stuck, see above")


class Application:
    """Logs numbered events and checks what became of each; `endpoint` is its own, or None if there is none."""

    def __init__(self, tracing: TracingManager, endpoint: Endpoint | None, first: int = 0) -> None:
        assert tracing.telemetry is not None
        self.tracing = tracing
        self.telemetry = tracing.telemetry
        self.endpoint = endpoint
        self.gate = threading.Event()
        """The endpoint answers while it is set."""
        self.gate.set()
        self.numbers = itertools.count(first)
        self.started: set[int] = set()
        self.returned: set[int] = set()
        self.may_be_dropped: set[int] = set()
        self.swallowed: set[int] = set()
        """Events whose call returned although it was interrupted."""
        self.delivered: Counter[int] = Counter()
        self._first = first
        self._settled: set[int] = set()
        self._events = logging.getLogger("automagik.agents")
        chain: list[Any] = [structlog.contextvars.merge_contextvars, automagik_telemetry.emit_event, _drop]
        structlog.configure(processors=chain)
        self._structlog = structlog.get_logger().bind(agent_name="simple")
        if endpoint is not None:
            endpoint.answers = [self._answer]

    def _answer(self, exchange: Exchange) -> None:
        self.gate.wait(STUCK_SECONDS)
        self.delivered.update(number for number in numbers_in(exchange.received.body) if number >= self._first)
        del exchange.endpoint.requests[:-1]  # they would take all memory
        exchange.reply(200, b"{}", content_type="application/json")

    def log(self, api: str = "logging") -> int:
        """Log the next event by a standard logger, by `track_event` or by structlog, and return its number."""
        number = next(self.numbers)
        self.started.add(number)
        if api == "logging":
            self._events.info("agent.run", extra={"agent_name": "simple", "success": True, **fields(number)})
        elif api == "track_event":
            self.telemetry.track_event(
                AgentExecutionEvent("simple", "agno", success=True, duration_ms=1.0, **fields(number))
            )
        else:
            self._structlog.info("agent.run", success=True, **fields(number))
        self.returned.add(number)
        return number

    def log_elsewhere(self) -> None:
        """Log the next event in another thread, and fail if that gets stuck."""
        thread = threading.Thread(target=self.log, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        _assert_ended(thread)

    def tracer(self) -> dict[str, Any]:
        """Return the delivery stats, after checking that they add up."""
        tracer: dict[str, Any] = {**self.telemetry.get_metrics()["tracer"]}
        assert tracer["queued"] == tracer["processed"] + tracer["dropped"] + tracer["pending"], tracer
        assert tracer["dropped"] == sum(tracer["dropped_by_reason"].values()), tracer
        assert min(tracer["pending"], tracer["processed"], tracer["dropped"]) >= 0, tracer
        return tracer

    def check(self) -> None:
        """Log as if nothing had been, here and in another thread, send it all, and check the stats."""
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        self.log()
        self.log_elsewhere()
        tracer = self.tracer()
        if self.endpoint is not None:
            assert self.telemetry.flush(PATIENCE), f"the flush did not finish: {self.telemetry.get_metrics()}"
            tracer = self.tracer()
            self._check_delivered(tracer)
        sure = len(self.returned - self.swallowed)
        assert sure <= tracer["queued"] <= len(self.started), (tracer, sure, len(self.started))
        faulthandler.cancel_dump_traceback_later()

    def _check_delivered(self, tracer: dict[str, Any]) -> None:
        twice = [number for number, count in self.delivered.items() if count > 1]
        assert not twice, f"delivered more than once: {twice}"
        lost = self.returned - self._settled - self.may_be_dropped - self.swallowed - self.delivered.keys()
        assert not lost, f"logged and not delivered: {lost}, {tracer}"
        self._settled = self.returned | self._settled
        assert (tracer["pending"], tracer["processed"]) == (0, len(self.delivered)), (tracer, len(self.delivered))

    def interrupt(self, call: Callable[[], object], trap: Trap) -> bool:
        """Call with an exception that arrives in the middle, and check that it reaches us; whether one arrived."""
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        before = set(self.started)
        raised = False
        try:
            with trap:
                call()
        except trap.exception:
            raised = True
        if trap.hit and trap.exception is Interrupt:
            assert raised, "the exception did not reach the application"
        elif trap.hit:
            self.swallowed |= self.started - before
        return bool(trap.hit)

    def fork(self) -> None:
        """Let a child of this process log and deliver an event."""
        number = next(self.numbers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside the endpoint's threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                self.numbers = itertools.count(number)
                self.log()
                self.log_elsewhere()
                status = 0 if self.telemetry.flush(PATIENCE) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a child that was forked did not deliver"
        assert self.delivered.pop(number) == self.delivered.pop(number + 1) == 1
        next(self.numbers)


class Operation(NamedTuple):
    """Something that is interrupted, with what comes before and after it each time."""

    call: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    restore: Callable[[], object] = lambda: None


def operation(application: Application, name: str) -> Operation:
    """Return the operation with this name."""
    log, telemetry = application.log, application.telemetry
    sinks: list[Any] = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
    if name == "segment":
        fill = _events_until_another_file(application) - 2

        def log_four() -> None:
            for _ in range(4):
                log()

        return Operation(log_four, prepare=lambda: [log() for _ in range(fill)])
    operations = {
        "logging": Operation(log),
        "track_event": Operation(lambda: log("track_event")),
        "structlog": Operation(lambda: log("structlog")),
        "batch": Operation(lambda: [log() for _ in range(7)]),  # the setting is batches of 3
        "full": Operation(log, lambda: _fill(application), lambda: _unblock(application)),
        "restart": Operation(log, prepare=application.tracing.shutdown),
        "flush": Operation(lambda: telemetry.flush(PATIENCE), prepare=log),
        "close": Operation(lambda: [sink.close() for sink in sinks], prepare=log),
        "shutdown": Operation(application.tracing.shutdown, prepare=log),
        "metrics": Operation(telemetry.get_metrics, prepare=log),
    }
    return operations[name]


def _events_until_another_file(application: Application) -> int:
    """Return how many events fill a segment, to the event: they all have the same length."""
    queue = Path(os.environ["AUTOMAGIK_STATE_DIR"]) / "queue"
    application.log()
    before = len(list(queue.rglob("*.json")))
    for count in range(1, 5000):
        application.log()
        if len(list(queue.rglob("*.json"))) > before:
            return count
    raise AssertionError("a segment takes all there is")


def _fill(application: Application) -> None:
    """Log until an event is dropped, while the endpoint does not answer."""
    application.gate.clear()
    before = application.tracer()["dropped"]
    while application.tracer()["dropped"] == before:
        application.may_be_dropped.add(application.log())
    application.may_be_dropped |= {max(application.started) + 1}  # the one that is interrupted


def _unblock(application: Application) -> None:
    application.gate.set()
    application.telemetry.flush(PATIENCE)


def emit(**values: object) -> None:
    """Print values for the test, as JSON."""
    os.write(1, json.dumps(values, default=sorted).encode() + b"\n")


def _silence() -> None:
    """Take the one warning that an application gets when an exception was swallowed."""
    logging.getLogger().addHandler(logging.NullHandler())


def everywhere(  # noqa: PLR0913 - the axes of the test
    name: str,
    exception: str = "Interrupt",
    *,
    is_up: bool = True,
    every_opcode: bool = False,
    stride: int = 1,
    fork: bool = False,
) -> None:
    """Interrupt an operation at each of its points, or every `stride`-th, one after the other in this process."""
    raises = {"Interrupt": Interrupt, "Failure": Failure}[exception]
    with Endpoint() as endpoint:
        if is_up:
            os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = endpoint.url
        application = Application(automagik_telemetry.configure(), endpoint if is_up else None)
        _silence()
        interrupted = operation(application, name)
        application.check()
        points = misses = 0
        at = 1
        while misses < 3:  # the worker's pace decides which api a call takes
            interrupted.prepare()
            trap = Trap(at, raises, every_opcode=every_opcode)
            hit = application.interrupt(interrupted.call, trap)
            try:
                interrupted.restore()
                if fork:
                    application.fork()
                application.check()
            except BaseException as error:
                error.add_note(f"after an interrupt at point {at}, {trap.hit}")
                raise
            if hit:
                points, at, misses = points + 1, at + stride, 0
            else:
                misses += 1
        emit(points=points, returned=application.returned if not is_up else [])


def first_call(api: str, exception: str, *, warm: bool = False, bodies: bool = False, stride: int = 1) -> None:
    """Interrupt the first logging call of a process at each of its points, each time in another child of this one.

    If this process is `warm`, all modules have been imported, and a call only builds what sends the events.
    """
    raises = {"Interrupt": Interrupt, "Failure": Failure}[exception]
    endpoint = Endpoint()
    os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = endpoint.url
    tracing = automagik_telemetry.configure()
    _silence()
    for module in ("httpx", "httpcore", "gzip"):  # which each child's worker would import anew
        import_module(module)
    for path in (path for root in ROOTS for path in Path(root).rglob("*.py")):
        _cleanup_lines(str(path))
    if warm:
        _serve(endpoint)
        with Trap(0, raises):  # which is never reached, and fills the caches
            Application(tracing, endpoint).check()
        tracing.shutdown()
        endpoint.shutdown()
    for points in itertools.count():
        at = 1 + points * stride
        child = os.fork()
        if child == 0:
            trap = Trap(at, raises, bodies=bodies, once=True)
            status = FAILED
            try:
                _serve(endpoint)  # a thread does not outlive a fork
                application = Application(tracing, endpoint, first=at * 100)
                hit = application.interrupt(partial(application.log, api), trap)
                application.check()
                status = 0 if hit else NOT_REACHED
                tracing.shutdown()
            except BaseException:  # the child ends here
                os.write(2, f"after an interrupt at point {at}, {trap.hit}\n{traceback.format_exc()}".encode())
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for left in Path(os.environ["AUTOMAGIK_STATE_DIR"]).glob("queue/**/*.json"):
            left.unlink()  # with an interrupted event, which may be delivered later, but not by the next child
        if status != 0:
            assert status == NOT_REACHED, status
            emit(points=points)
            endpoint.server_close()
            return


def _serve(endpoint: Endpoint) -> None:
    threading.Thread(target=endpoint.serve_forever, args=(0.01,), daemon=True).start()


def _random_calls(application: Application, source: random.Random, stop: bool = True) -> Iterator[Callable[[], object]]:
    """Yield calls of every kind, mostly logging; with `stop`, those that stop the worker too."""
    names = ["logging", "track_event", "structlog"] * 5 + ["flush", "metrics"]
    if stop:
        names += ["close", "shutdown", "restart"]
    calls = {name: operation(application, name) for name in set(names)}
    while True:
        chosen = calls[source.choice(names)]
        yield chosen.prepare
        yield chosen.call


def _quiet() -> None:
    """Print no interrupt that arrives where Python can't raise it: in a finalizer, or as a thread ends."""
    unraisable, excepthook = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda args: None if args.exc_type is Interrupt else unraisable(args)
    threading.excepthook = lambda args: None if args.exc_type is Interrupt else excepthook(args)


def alarms(seed: int, seconds: float) -> None:
    """Let a signal handler raise at random moments of random calls.

    Not of the first call, which imports: an interrupt in CPython's import system may leave its global lock taken.
    """
    _quiet()
    source = random.Random(seed)
    armed: list[bool] = []

    def interrupt(_number: int, _frame: object) -> None:
        if armed:
            armed.clear()
            raise Interrupt

    with Endpoint() as endpoint:
        os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = endpoint.url
        application = Application(automagik_telemetry.configure(), endpoint)
        application.check()
        signal.signal(signal.SIGALRM, interrupt)
        points, until = 0, time.monotonic() + seconds
        for call in _random_calls(application, source):
            if time.monotonic() > until:
                break
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            try:
                armed.append(True)
                signal.setitimer(signal.ITIMER_REAL, 10 ** source.uniform(-5, -2.5))
                call()
                armed.clear()
            except Interrupt:
                points += 1
            if points % 20 == 0:
                application.check()
        signal.setitimer(signal.ITIMER_REAL, 0)
        application.check()
        emit(points=points)


def asynchronous(seed: int, seconds: float) -> None:
    """Raise asynchronous exceptions in a thread that logs, at random moments.

    The worker is not stopped: while a thread starts another, CPython may raise in the new one, which `Thread.start`
    then waits for without end.
    """
    _quiet()
    source, pauses = random.Random(seed), random.Random(seed + 1)
    with Endpoint() as endpoint:
        os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = endpoint.url
        application = Application(automagik_telemetry.configure(), endpoint)
        application.check()
        done = threading.Event()
        caught = threading.Semaphore(0)
        points = 0

        def work() -> None:
            while not done.is_set():
                try:
                    for call in _random_calls(application, source, stop=False):
                        call()
                        if done.is_set():
                            return
                except Interrupt:
                    caught.release()

        def survive() -> None:
            """Work, though an exception may arrive while another is caught: only a thread that lives may get one."""
            while not done.is_set():
                try:
                    work()
                except Interrupt:
                    caught.release()

        thread = threading.Thread(target=survive, daemon=True)
        thread.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and thread.is_alive():
            time.sleep(pauses.uniform(0.0005, 0.01))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupt))
            points += caught.acquire(timeout=1.0)  # it may arrive where Python has to ignore it
        done.set()
        thread.join(STUCK_SECONDS)
        _assert_ended(thread)
        application.check()
        emit(points=points)


def logging_signals(seed: int, seconds: float) -> None:
    """Let a signal handler log at random moments of random calls; such an event may be dropped as `reentrant`."""
    source = random.Random(seed)
    with Endpoint() as endpoint:
        os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = endpoint.url
        application = Application(automagik_telemetry.configure(), endpoint)
        handled: set[int] = set()
        signal.signal(signal.SIGALRM, lambda *_: handled.add(application.log()))
        until = time.monotonic() + seconds
        for call in _random_calls(application, source):
            if time.monotonic() > until:
                break
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            signal.setitimer(signal.ITIMER_REAL, 10 ** source.uniform(-5, -2.5))
            call()
        signal.setitimer(signal.ITIMER_REAL, 0)
        application.may_be_dropped |= handled
        application.check()
        tracer = application.tracer()
        assert tracer["dropped_by_reason"].keys() <= {"reentrant"}, tracer
        assert tracer["queued"] == len(application.returned) == len(application.delivered) + tracer["dropped"]
        emit(points=len(handled))
