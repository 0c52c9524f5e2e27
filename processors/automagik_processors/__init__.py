r"""structlog processors that anonymize, scrub, sample and encode events as OTLP; each is useful by itself.

An event dict follows structlog's conventions. Seven keys have a meaning of their own:

- `event`: the name, a str;
- `level`: lower-case, as structlog's `add_log_level` writes it;
- `timestamp`: Unix time in seconds, a float;
- `trace_id`, `span_id`, `parent_span_id`: 32, 16 and 16 lower-case hex digits;
- `sample_rate`: the rate at which the event was sampled, a float in (0, 1].

Every other key is a field. A processor is called with `(logger, method_name, event_dict)`. It returns the input of the
next processor, or raises `Dropped`, which is structlog's `DropEvent` with a `reason`.

>>> from automagik_processors import Anonymize, Duration, Flag, OTLPSpan, Sample, Word, envelope, merge_context
>>> catalogue = {"agent.run": {"agent_name": Word(), "success": Flag(), "duration_ms": Duration()}}
>>> chain = [
...     merge_context,
...     Anonymize(catalogue, allowlist={"simple"}, key=b"a key that stays on this machine"),
...     Sample(rate=1.0),
...     OTLPSpan(prefix="event.", ids=lambda: 2, clock=lambda: 1_700_000_000.0),
... ]
>>> event = {"event": "agent.run", "agent_name": "simple", "success": True, "duration_ms": 1234.5, "password": "secret"}
>>> for processor in chain:
...     event = processor(None, "info", event)
>>> head, tail = envelope("traces", {"service.name": "docs"}, "automagik_processors", "1")
>>> (head + event + tail).startswith(b'{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name"')
True
>>> print(event.decode().replace(',"', ',\n "'))
{"traceId":"00000000000000020000000000000002",
 "spanId":"0000000000000002",
 "name":"agent.run",
 "kind":1,
 "startTimeUnixNano":"1699999998000000000",
 "endTimeUnixNano":"1699999999230000000",
 "attributes":[{"key":"event.agent_name",
 "value":{"stringValue":"simple"}},{"key":"event.success",
 "value":{"boolValue":true}},{"key":"event.duration_ms",
 "value":{"doubleValue":1230.0}}],
 "status":{"code":1}}

PYTEST_DONT_REWRITE: pytest rewrites the assertions of distributions with a plugin, and warns if it can't.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automagik_processors.anonymize import Anonymize
    from automagik_processors.context import merge_context
    from automagik_processors.exceptions import Dropped
    from automagik_processors.kinds import Count, Duration, Flag, Kind, Measure, Word
    from automagik_processors.otlp import OTLPLogRecord, OTLPSpan, envelope
    from automagik_processors.sample import Sample
    from automagik_processors.scrub import Scrub

__all__ = [
    "Anonymize",
    "Count",
    "Dropped",
    "Duration",
    "Flag",
    "Kind",
    "Measure",
    "OTLPLogRecord",
    "OTLPSpan",
    "Sample",
    "Scrub",
    "Word",
    "envelope",
    "merge_context",
]

_MODULES = {
    "Anonymize": "anonymize",
    "Dropped": "exceptions",
    "OTLPLogRecord": "otlp",
    "OTLPSpan": "otlp",
    "Sample": "sample",
    "Scrub": "scrub",
    "envelope": "otlp",
    "merge_context": "context",
    **dict.fromkeys(("Count", "Duration", "Flag", "Kind", "Measure", "Word"), "kinds"),
}
"""Names resolved lazily on first access, with the module of each."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
