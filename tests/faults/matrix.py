"""Faults, the behaviour in each, and the tests that show it.

A test claims rows by its mark, `@pytest.mark.fault(12, 13)`; the marks are read from the sources, so that the table in
docs/faults.md has every row and only existing tests.
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
    5: ("400, 401, 402, 403", "not sent again if the endpoint says so; counted as `rejected`"),
    6: ("500, 408", "the same, as OTLP says"),
    7: ("Retry-After in seconds", "waits at least as long"),
    8: ("Retry-After as a date, past, NaN, negative, a year", "understood, and at most a day"),
    9: ("Retry-After beyond the life of the process", "kept with the segment: the next process waits, too"),
    10: ("413", "halved down to single events; only one that is too large is dropped"),
    11: ("an event larger than the limit", "dropped before it is queued; counted as `too_large`"),
    12: ("a reply of a gigabyte, or a gzip bomb", "at most 4 MiB are read and decompressed"),
    13: ("partialSuccess with rejected events", "not sent again; those are counted as `rejected`"),
    14: ("partialSuccess with none rejected", "success"),
    15: ("a redirect to a login page", "not a success and not followed; the batch is kept"),
    16: ("200 with a web page: a captive portal", "not a success; the batch is kept"),
    17: ("200 with an odd content type or body", "success"),
    18: ("the connection is reset after the request", "sent again with the same IDs"),
    19: ("the response is lost after acceptance", "sent again with the same IDs, which the store compares"),
    20: ("a persistent connection has died", "one attempt at once on a new one"),
    21: ("DNS fails, or hangs", "off the calling thread; neither flush() nor the end waits for it"),
    22: ("a certificate that is expired, self-signed or another's", "rejected; nothing is sent, also not without TLS"),
    23: ("one of two sinks is down", "the other is unaffected"),
    24: ("a burst of a million events", "memory and disk stay bounded; drops are counted exactly"),
    25: ("off, or without a usable endpoint", "nothing is queued"),
    26: ("the process ends at once", "nothing is lost: the next process sends, or one of many short ones"),
    27: ("SIGTERM, SIGINT", "what was logged is on disk; no signal handler of ours"),
    28: ("SIGKILL, os._exit, a segmentation fault", "nothing that was logged before is lost"),
    29: ("a segment torn or corrupt, at any byte", "whole events are sent, damaged ones counted as `corrupt`"),
    30: ("a full or read-only disk, no home", "events are queued in memory, silently; never a SIGBUS"),
    31: ("an outage for days", "bytes and age are bounded; the oldest are dropped and counted"),
    32: ("many processes share the state directory", "each segment is sent by one"),
    33: (
        "reused process IDs, other users' files",
        "a kernel lock decides, never a process ID; other users' files stay",
    ),
    34: ("links, owners and modes in the state directory", "rejected; ours are 0700 and 0600"),
    35: ("consent is withdrawn while events wait", "purged, in every process; nothing is sent"),
    36: ("os.fork at any moment", "no deadlock, no event twice; both processes deliver"),
    37: ("gunicorn --preload, Celery prefork, uvicorn --workers", "every worker delivers"),
    38: ("a child of multiprocessing, with any start method", "delivered, although no exit handler runs"),
    39: ("fork and atexit", "each process closes its own pipeline; nothing is sent twice"),
    40: (
        "the interpreter allows no new thread at its end",
        "events that are logged then are on disk; nothing is printed",
    ),
    41: ("logging after logging.shutdown()", "works, silently"),
    42: ("the root logger at DEBUG, the endpoint down", "no feedback loop"),
    43: ("a finalizer or signal handler logs meanwhile", "no deadlock; counted as `reentrant` at worst"),
    44: ("the application runs dictConfig after us", "sending continues"),
    45: ("dictConfig races with events", "no deadlock, nothing lost"),
    46: ("a processor raises", "the event is dropped and counted, with one warning and no exception"),
    47: ("cycles, NaN, surrogates, 10**400, bytes, hostile objects", "encoded safely, or dropped and counted"),
    48: ("false, 0 and the empty string", "sent as such"),
    49: ("the clock jumps", "timers are monotonic; no event is delayed for more than a day"),
    50: ("gevent monkey.patch_all, eventlet", "delivers"),
    51: ("asyncio", "the loop is never blocked; the added lag is measured"),
    52: ("thread pools, executors, concurrent agents", "each event has its own trace's IDs"),
    53: ("streaming responses, background tasks, websockets", "pure ASGI: first byte and order unchanged"),
    54: ("SIGSTOP and SIGCONT, a frozen Lambda", "flush() is public and bounded; sending continues afterwards"),
    55: ("first use off the main thread", "works, silently"),
    56: ("CPU-bound threads beside it", "a logging call makes no system call; its time is measured"),
    57: ("import", "no thread, file, socket or handler; nothing heavy"),
    58: ("the environment is set before first use", "the environment is used"),
    59: ("any opt-out", "no socket, thread, file or ID"),
    60: ("tests and CI of the application", "silent"),
    61: ("the application calls structlog.configure after us, with some arguments", "works as without us"),
    62: ("structlog at its defaults", "its lines look as before, with telemetry on and off"),
    63: ("handlers, levels, propagation, filters of the application", "each handler gets what it would get without us"),
    64: ("dictConfig or fileConfig before or after us", "events go on by all three ways; the doctor says what is off"),
    65: ("copy, deepcopy, pickle of a bound structlog logger", "as with structlog alone"),
    66: ("arguments, agents and results with methods that raise", "the call takes, returns and raises what it would"),
    67: ("no descriptor, memory, thread or module at first use", "calls are unharmed, tried again; flush() is False"),
    68: (
        "an exception at any point of a call: Ctrl-C, time limits",
        "it propagates; later events are sent, and the stats balance",
    ),
    69: (
        "the application closes our descriptors and reuses them",
        "no byte of ours in its files, and none of its in ours",
    ),
    70: ("standard descriptors are closed at the start", "no file or socket of ours gets 0, 1 or 2"),
    71: ("a live queue file is truncated", "a buffered one is sent from memory; a mapped one can't be saved: SIGBUS"),
    72: (
        "frozen by PyInstaller, imported from a zip, packed as a zipapp",
        "starts and works; no data file is needed or looked for",
    ),
    73: ("subinterpreters, and Python without the GIL", "off, for one reason; a clean end"),
    74: ("os.fork while the worker idles", "no warning: the worker ends for it, and goes on after"),
    75: (
        "values of NumPy, subclasses, decimals, time differences, enumerations",
        "taken by what they mean; a field that can't be is counted by name",
    ),
    76: (
        "any logging.yaml: null sections, own levels, extra keys, aliases, nonsense",
        "accepted as by dictConfig, or one error that names the key",
    ),
    77: ("AUTOMAGIK_LOGGING_CONFIG names a broken file", "one warning, telemetry off, the application starts"),
    78: ("a processor raises SystemExit", "a counted drop, as for any exception; a signal handler's ends the process"),
    79: (
        "logging while the clock is at 1970, or in the next century",
        "does not expire by mistake once the clock is right",
    ),
    80: ("a module is reloaded, the package imported anew", "goes on; nothing is there or sent twice"),
    81: (
        "NO_PROXY with ports and networks, SOCKS, bad proxies and certificates",
        "as curl and requests do; an error names the variable",
    ),
    82: ("`flush()` while the endpoint fails", "tries again until its timeout, then False; the command exits with 1"),
    83: ("`shutdown()`", "sends what is queued; returns at once if the endpoint refuses; the queue stays on disk"),
    84: ("a short traced command, a distant endpoint", "the trace arrives with it or with the next process"),
    85: ("killed while events are dropped", "delivered + dropped by reason + pending = logged"),
    86: ("a documented limit is reached", "it is the limit that holds"),
    87: ("a proxy's passing 400 or 500", "tried again three times, through restarts, then `rejected`"),
    88: ("a second handler on the logger of `track_*`", "gets these events as well"),
    89: ("a segment with an undeclared event, or of another resource", "not sent; `undeclared` or `foreign`"),
    90: ("the endpoint is set in logging.yaml or in code", "notice and commands name the real recipient"),
    91: ("two applications of different makers, one user", "consent, notice, ID and hash key apart"),
    92: ("consent can't be determined for a while", "nothing is sent or deleted; asked again within a second"),
    93: ("an opt-out variable is set, and the process ends", "what is logged afterwards is sent by no process"),
    94: ("a test run, of any runner in any phase", "no usage is sent"),
    95: ("continuous integration, a coding agent's sandbox, a hosting platform", "no usage from the first two"),
    96: ("the opt-outs of other software of Automagik", "honored"),
    97: ("the choice file is a pipe, a device, huge, deep, another user's", "off at once; no opt-out is lost"),
    98: ("names made at run time: routes, mounts, commands, agents, tools", "hashed; cost and memory are bounded"),
    99: ("control and bidi characters in texts of others", "harmless in a terminal"),
    100: ("credentials in URLs and variables", "shown by no command and no warning"),
    101: ("a relative path of a configuration, a stray logging.yaml", "refused; not read"),
    102: ("secrets of vendors' shapes, in places where passwords stand, and under their keys", "redacted"),
    108: ("a reader ends a stream early", "no failure; the text and tokens so far are in the trace"),
    110: ("a run returns an iterator, a stream or a block", "followed to its end"),
    120: ("a traced command dies by a signal or `os._exit`", "the next process reports it as abandoned"),
    122: ("many small requests to the collector", "those that wait share one commit; acknowledged is stored"),
    123: ("forged rates and times, invented names, other products' spans", "refused and counted by reason"),
    124: ("half-sent headers, slow bodies, many connections", "deadlines and limits; others are served"),
    125: ("bodies that grow when they are decompressed or parsed", "refused; memory is bounded in bytes"),
    126: ("a Host header of another name; an address that others reach", "refused; a token is required"),
    127: (
        "the collector's disk is full, or it is killed, in any step",
        "nothing acknowledged is lost; nothing is stored twice",
    ),
    128: ("users' own names", "listed apart, and bounded"),
    129: ("older clients, other encodings and paths", "accepted, or refused and counted"),
    130: ("a report while a collector has the store open", "the collector is found, on any port"),
}

Claims = dict[int, list[tuple[Path, str]]]


def claims() -> Claims:
    """Return the tests of each row, with their file below `tests` and their name, in order."""
    found: Claims = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.fault" not in text:
            continue
        module = ast.parse(text)
        of_module = [row for node in module.body for row in _rows_of_module(node)]
        for node in ast.walk(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                for row in [*of_module, *(row for mark in node.decorator_list for row in _rows(mark))]:
                    found[row].append((path.relative_to(TESTS), node.name))
    return found


def _rows_of_module(node: ast.stmt) -> list[int]:
    """Return the rows that `pytestmark` claims for all tests of a module; none if it is another statement."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
        marks = node.value.elts if isinstance(node.value, ast.List) else [node.value]
        return [row for mark in marks for row in _rows(mark)]
    return []


def _rows(mark: ast.expr) -> list[int]:
    """Return the rows that a decorator claims; none if it is another mark."""
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
        return [int(ast.literal_eval(argument)) for argument in mark.args]
    return []


def table() -> str:
    """Return the matrix as a table in Markdown, a line for each row, with a link to its tests."""
    rows = ["| # | fault | what happens | shown by |", "| --- | --- | --- | --- |"]
    claimed = claims()
    for number, (fault, answer) in ROWS.items():
        count = len(claimed[number])
        tests = f"[{count} test{'s' * (count != 1)}](fault-tests.md#row-{number})"
        rows.append(f"| {number} | {fault} | {answer} | {tests} |")
    return "\n".join(rows)


def tests() -> str:
    """Return the tests of each row in Markdown, a section for each."""
    claimed = claims()
    lines = []
    for number, (fault, answer) in ROWS.items():
        lines += [f"## Row {number}", "", f"{fault[:1].upper()}{fault[1:]}: {answer}.", ""]
        for path, name in claimed[number]:
            lines.append(f"- [{name.removeprefix('test_').replace('_', ' ')}](../tests/{path.as_posix()})")
        lines.append("")
    return "\n".join(lines).rstrip("\n")
