"""Faults, what this software does in each, and the tests that show it: the rows, and who claims them.

A test claims rows by its mark, `@pytest.mark.fault(12, 13)`; the marks are read from the sources, so that the table in
docs/faults.md can neither name a test that is gone nor forget a row.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parent.parent

ROWS: dict[int, tuple[str, str]] = {
    1: ("connection refused", "kept on disk; the end of the process waits for nothing"),
    2: ("a black hole accepts and never answers", "the same; one deadline for connecting, sending and reading"),
    3: ("the reply drips, a byte at a time", "one deadline for the whole exchange, not for each read"),
    4: ("429, 502, 503, 504", "sent again after a jittered, exponentially growing delay"),
    5: ("400, 401, 402, 403", "not sent again; counted as `rejected`"),
    6: ("500, 408", "not sent again, as OTLP says; counted as `rejected`"),
    7: ("Retry-After in seconds", "waits at least as long"),
    8: ("Retry-After as a date, past, NaN, negative, a year", "understood, and at most a day"),
    9: ("Retry-After beyond the life of the process", "kept with the segment: the next process waits, too"),
    10: ("413", "halved down to the offender, which alone is dropped"),
    11: ("an event larger than the limit", "refused before it is queued; counted as `too_large`"),
    12: ("a reply of a gigabyte, or a gzip bomb", "at most 4 MiB of it are read, decompressed"),
    13: ("partialSuccess with rejected events", "not sent again; those are counted as `rejected`"),
    14: ("partialSuccess with none rejected", "success"),
    15: ("a redirect to a login page", "no success, never followed; kept"),
    16: ("200 with a web page: a captive portal", "no success; kept"),
    17: ("200 with an odd content type or body", "success"),
    18: ("the connection is reset after the request", "sent again with the same ids"),
    19: ("the answer is lost after acceptance", "sent again with the same ids, for the store to know"),
    20: ("a kept connection has died", "one attempt at once on a new one"),
    21: ("DNS fails, or hangs", "off the calling thread; neither flush() nor the end waits for it"),
    22: ("a certificate that is expired, self-signed or another's", "refused, nothing is sent; never in the clear"),
    23: ("one of two sinks is down", "the other is unaffected"),
    24: ("a burst of a million events", "memory and disk stay bounded; what is dropped is counted exactly"),
    25: ("off, or without a usable endpoint", "nothing is queued"),
    26: ("the process ends at once", "nothing waits, nothing is lost: the next process sends"),
    27: ("SIGTERM, SIGINT", "what was logged is on disk; no signal handler of ours"),
    28: ("SIGKILL, os._exit, a segmentation fault", "nothing that was logged before is lost"),
    29: ("a segment torn or corrupt, at any byte", "whole events are sent, damaged ones counted as `corrupt`"),
    30: ("a full or read-only disk, no home", "memory, silently; never a SIGBUS"),
    31: ("an outage for days", "bytes and age are bounded; the oldest are dropped and counted"),
    32: ("many processes share the state directory", "each segment is sent by one"),
    33: ("process ids used again, other users' files", "a lock of the kernel decides, never an id; theirs stay"),
    34: ("links, owners and modes in the state directory", "refused; ours are 0700 and 0600"),
    35: ("consent is withdrawn while events wait", "purged, in every process; nothing is sent"),
    36: ("os.fork at any moment", "no deadlock, nothing twice; both sides deliver"),
    37: ("gunicorn --preload, Celery prefork, uvicorn --workers", "every worker delivers"),
    38: ("a child of multiprocessing, with any start method", "delivered, although nothing is called at its end"),
    39: ("fork and atexit", "each process ends its own; nothing is sent twice"),
    40: ("the interpreter allows no new thread at its end", "what is logged then is on disk; nothing is printed"),
    41: ("logging after logging.shutdown()", "goes on, silently"),
    42: ("the root logger at DEBUG, the endpoint down", "no feedback loop"),
    43: ("a finalizer or signal handler logs meanwhile", "no deadlock; counted as `reentrant` at worst"),
    44: ("the host runs dictConfig after us", "goes on"),
    45: ("dictConfig races with events", "no deadlock, nothing lost"),
    46: ("a processor raises", "the event is dropped and counted, the host is unharmed and warned once"),
    47: ("cycles, NaN, surrogates, 10**400, bytes, hostile objects", "encoded safely, or dropped and counted"),
    48: ("false, 0 and the empty string", "sent as such"),
    49: ("the clock jumps", "timers are monotonic; nothing is held back for more than a day"),
    50: ("gevent monkey.patch_all, eventlet", "delivers"),
    51: ("asyncio", "the loop is never blocked; the lag that is added is measured"),
    52: ("thread pools, executors, concurrent agents", "each event carries its own trace's ids"),
    53: ("streaming responses, background tasks, websockets", "pure ASGI: first byte and order unchanged"),
    54: ("SIGSTOP and SIGCONT, a frozen Lambda", "flush() is public and bounded; goes on after"),
    55: ("first use off the main thread", "works, silently"),
    56: ("CPU-bound threads beside it", "a logging call makes no system call; its time is measured"),
    57: ("import", "no thread, file, socket or handler; nothing heavy"),
    58: ("the environment is set before first use", "honoured"),
    59: ("any off switch", "no socket, thread, file or id"),
    60: ("tests and CI of the host", "silent"),
    68: ("an exception at any point of a call: Ctrl-C, time limits", "it arrives; later events flow, the stats add up"),
    69: (
        "the application closes our descriptors and reuses them",
        "not a byte of ours in its files, nor of its in ours",
    ),
    70: ("standard descriptors are closed at the start", "no file or socket of ours takes 0, 1 or 2"),
    71: ("a live queue file is truncated", "a buffered one is sent from memory; a mapped one can't be saved: SIGBUS"),
    85: ("killed while events are dropped", "delivered, dropped by reason and pending are all that was logged"),
    88: ("a second handler on the logger of `track_*`", "gets these events, too"),
}

Claims = dict[int, list[tuple[Path, str]]]


def claims() -> Claims:
    """Return the tests that claim each row, as their file below `tests` and their name, in order."""
    found: Claims = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.fault" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for row in (row for mark in node.decorator_list for row in _rows(mark)):
                    found[row].append((path.relative_to(TESTS), node.name))
    return found


def _rows(mark: ast.expr) -> list[int]:
    """Return the rows that a decorator claims; none if it is another mark."""
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
        return [int(ast.literal_eval(argument)) for argument in mark.args]
    return []


def table() -> str:
    """Return the matrix as a table in Markdown."""
    rows = ["| # | fault | what happens | shown by |", "| --- | --- | --- | --- |"]
    claimed = claims()
    for number, (fault, answer) in ROWS.items():
        tests = [
            f"[{name.removeprefix('test_').replace('_', ' ')}](../tests/{path.as_posix()})"
            for path, name in claimed[number]
        ]
        rows.append(f"| {number} | {fault} | {answer} | {'; '.join(tests)} |")
    return "\n".join(rows)
