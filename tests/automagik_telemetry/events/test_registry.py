"""The registry: all ways to declare events, and everything that follows from the declarations."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import automagik_telemetry
from automagik_telemetry import ConfigurationError, configure, declare, get_tracing_manager
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.events import Event, _registry, count, duration, flag, measure, word
from automagik_telemetry.events._allowlist import allowlist, for_application
from automagik_telemetry.events._entry_points import register_libraries
from automagik_telemetry.events.catalogue import EVENTS
from automagik_telemetry.handlers import _loggers as loggers

if TYPE_CHECKING:
    from automagik_telemetry.events.client import TelemetryClient

DEFAULT = Path(automagik_telemetry.__file__).parent.parent / "logging.yaml"


class CheckoutFinished(Event):
    """A checkout was finished."""

    name = "checkout.finished"
    items: int = count("Number of items.")
    plan: str = word("The customer's plan.", allowed=("free", "pro"))
    duration_ms: float = duration("Time to finish.")
    success: bool | None = flag("Whether it was paid.", default=None)
    score: float | None = measure("The score.", minimum=-1, maximum=1, default=None)
    country: str | None = word("The country.", default=None)


class Expired(Event):
    """An event that is not sent any more."""

    name = "test.expired"
    expires = "2020-01-01"
    items: int = count("Number of items.")


class Lasting(Event):
    """An event that is still sent."""

    name = "test.lasting"
    expires = "2099-01-01"
    items: int = count("Number of items.")


def telemetry_with(*events: type[Event]) -> TelemetryClient:
    """Return the telemetry of a process with these events."""
    telemetry = configure(events=events).telemetry
    assert telemetry is not None
    return telemetry


def normal(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without ids, times and attributes of the machine."""
    kept = {key: value for key, value in event.items() if not key.endswith(("Id", "UnixNano"))}
    kept["attributes"] = [pair for pair in event["attributes"] if not pair["key"].startswith(("system.", "log."))]
    kept["duration"] = int(event.get("endTimeUnixNano", 0)) - int(event.get("startTimeUnixNano", 0))
    return kept


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["free", "pro", "simple", "BR", b"x", [1], object()]),
)


@pytest.mark.parametrize("suffix", ["/v1/traces", "/v1/logs"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(fields=st.fixed_dictionaries({}, optional=dict.fromkeys(CheckoutFinished.fields, VALUES)))
def test_three_ways_send_the_same_bytes(
    opted_in: Any, monkeypatch: pytest.MonkeyPatch, suffix: str, fields: dict[str, Any]
) -> None:
    """An event that is tracked, logged, or logged with structlog, gives the same bytes, whatever its values are."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", opted_in.url + suffix)
    fields.pop("success", None)  # of which the class makes the level
    opted_in.requests.clear()
    manager = configure(events=[CheckoutFinished])
    assert manager.telemetry is not None
    every: dict[str, Any] = {**dict.fromkeys(CheckoutFinished.fields), **fields}
    manager.telemetry.track_event(CheckoutFinished(**every))
    manager.track(CheckoutFinished(**every))
    logging.getLogger("automagik.shop").info("checkout.finished", extra=dict(reversed(fields.items())))
    structlog.get_logger().info("checkout.finished", **fields)
    assert manager.flush(10)
    sent = opted_in.records() if suffix == "/v1/logs" else opted_in.spans()
    assert len(sent) == 4
    assert all(normal(event) == normal(sent[0]) for event in sent)


def test_words_are_sent_verbatim_if_they_are_allowed(opted_in: Any, fields: Any) -> None:
    """A field's own list is the only one; without it the allowlist counts, to which an application may add."""
    telemetry = telemetry_with(CheckoutFinished)
    declare("BR")
    telemetry.track_event(CheckoutFinished(1, "pro", 1.0, country="BR"))
    telemetry.track_event(CheckoutFinished(1, "BR", 1.0, country="pro"))
    assert telemetry.flush(10)
    first, second = (fields(span) for span in opted_in.spans())
    assert (first["event.plan"], first["event.country"]) == ("pro", "BR")
    assert second["event.plan"].startswith("custom-")
    assert second["event.country"].startswith("custom-")


def test_a_wrong_kind_is_a_counted_drop(opted_in: Any, fields: Any) -> None:
    """A value that is not of its field's kind is dropped, and counted by event and field."""
    telemetry = telemetry_with(CheckoutFinished)
    wrong: Any = CheckoutFinished
    telemetry.track_event(wrong("three", 7, 12.5, country="BR"))
    assert telemetry.flush(10)
    (span,) = opted_in.spans()
    assert {"event.items", "event.plan"}.isdisjoint(fields(span))
    assert fields(span)["event.duration_ms"] == 12.5
    dropped = telemetry.get_metrics()["tracer"]["dropped_fields"]
    assert dropped == {"checkout.finished.items": 1, "checkout.finished.plan": 1}


def test_an_event_that_is_not_declared_is_dropped(opted_in: Any) -> None:
    """A class that was not given to `configure` is dropped, and counted."""
    telemetry = telemetry_with()
    telemetry.track_event(CheckoutFinished(1, "pro", 1.0))
    assert telemetry.flush(10)
    assert opted_in.requests == []
    assert telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"unknown_event": 1}


def test_an_event_may_be_declared_after_the_sink_was_built(opted_in: Any) -> None:
    """An event counts from its declaration on, also if one of that name was dropped before."""
    telemetry = telemetry_with()
    logger = logging.getLogger("automagik.shop")
    logger.info("checkout.finished", extra={"items": 1})
    telemetry.track_feature_usage("first")
    _registry.register([CheckoutFinished])
    logger.info("checkout.finished", extra={"items": 2})
    telemetry.track_event(CheckoutFinished(3, "pro", 1.0))
    assert telemetry.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["feature.used", "checkout.finished", "checkout.finished"]
    assert telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"unknown_event": 1}


@pytest.mark.parametrize("bound", [False, True])
def test_an_expired_event_is_dropped(opted_in: Any, bound: bool) -> None:
    """After its last day an event is dropped, and counted with a reason, in one pass and step by step."""
    telemetry = telemetry_with(Expired, Lasting)
    with structlog.contextvars.bound_contextvars(**({"tenant": "x"} if bound else {})):
        for _ in range(3):
            telemetry.track_event(Expired(1))
            telemetry.track_event(Lasting(1))
    assert telemetry.flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["test.lasting"] * 3
    assert telemetry.get_metrics()["tracer"]["dropped_by_reason"] == {"expired_event": 3}


class Built(Event):
    """An event with the name of a built-in one."""

    name = "agent.run"


class Twin(Event):
    """An event with the name of another."""

    name = "checkout.finished"


class Nameless(Event):
    """A class that only passes its fields on."""


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            [Built],
            r"test_registry\.Built: the event 'agent\.run' is declared already, by .*AgentExecutionEvent\. Choose",
        ),
        ([CheckoutFinished, Twin], r"Twin: the event 'checkout\.finished' is declared already, by .*CheckoutFinished"),
        ([Nameless], r"Nameless: the event has no name\. Add one"),
        ([Event], "not a subclass"),
        ([7], r"events: 7 is not a subclass of automagik_telemetry\.events\.Event"),
        ([Expired(1)], r"Give the class, not an instance"),
        (CheckoutFinished, r"events: a list of event classes is needed, got <class"),
        ("checkout", r"events: a list of event classes is needed, got 'checkout'"),
    ],
)
def test_wrong_events_are_one_clear_error(opted_in: Any, events: Any, words: str) -> None:
    """The error names the class and what to do, and nothing was changed."""
    before = configure(), dict(_registry.CATALOGUE)
    with pytest.raises(ConfigurationError, match=words):
        configure(events=events)
    assert (get_tracing_manager(), _registry.CATALOGUE) == before


def test_events_are_declared_while_the_users_own_file_is_broken(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file turns telemetry off; the application's events are declared and checked nevertheless."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", "/missing/logging.yaml")
    assert configure(events=[CheckoutFinished]).telemetry is None
    assert "checkout.finished" in _registry.CATALOGUE
    with pytest.raises(ConfigurationError, match="Built"):
        configure(events=[Built])


def test_the_same_class_may_be_declared_again(opted_in: Any) -> None:
    """A second call with the same class, or a later version of it, is no conflict."""
    configure(events=[CheckoutFinished])
    configure(events=(CheckoutFinished, CheckoutFinished))
    newer = type("CheckoutFinished", (Event,), {"__module__": __name__, "name": "checkout.finished"})
    telemetry = telemetry_with(newer)
    telemetry.track_event(newer())
    assert telemetry.flush(10)
    (span,) = opted_in.spans()
    assert normal(span)["attributes"] == []


def test_everything_follows_from_the_declarations(opted_in: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The notice's digest changes, the drop log knows the fields, and the sink's chain does."""
    before = notice.digest(_registry.CATALOGUE)
    telemetry = telemetry_with(CheckoutFinished)
    assert notice.digest(_registry.CATALOGUE) != before
    with caplog.at_level(logging.DEBUG, logger="automagik_telemetry"):
        logging.getLogger("automagik.shop").info("checkout.finished", extra={"plan": "gold", "coupon": 7})
    assert telemetry.flush(10)
    messages = [record.getMessage() for record in caplog.records if "checkout" in record.getMessage()]
    remedy = "It is sent as a hash. Add it to the field's allowed values"
    assert messages == [
        f"checkout.finished: plan holds a string that is not an allowed value. {remedy}",
        "checkout.finished: 'coupon' is not a field of this event and is dropped. Did you mean country?",
    ]
    assert "checkout.finished" in loggers.sinks()["telemetry"].chain.processors[1].declared  # type: ignore[attr-defined]


def test_declaring_events_without_consent_does_nothing_else(tmp_path: Path) -> None:
    """Without an opt-in the events are declared, and nothing is imported that only sending needs."""
    code = """
import sys
import structlog  # an old one imports importlib.metadata itself
theirs = set(sys.modules)
from automagik_telemetry import configure
from automagik_telemetry.events import Event, count
class Sold(Event):
    name = "item.sold"
    items: int = count("Number of items.")
tracing = configure(events=[Sold])
tracing.track(Sold(1))
print(tracing.telemetry, "orjson" in sys.modules, "importlib.metadata" in set(sys.modules) - theirs)
"""
    home = tmp_path / "own"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (["None", "False", "False"], "")
    assert list(home.iterdir()) == []


YAML = """\
        events:
          checkout.finished:
            description: A checkout was finished.
            level: DEBUG
            owner: shop
            since: "1.2"
            expires: 2099-01-01
            deprecated: Use order.finished.
            fields:
              items: {kind: count, description: Number of items., maximum: 10}
              plan: {kind: word, description: The customer's plan., allowed: [free, pro]}
              duration_ms: {kind: duration, description: Time to finish.}
              score: {kind: measure, description: The score., minimum: 0, maximum: 1}
              success: {kind: flag, description: Whether it was paid.}
"""


def write(folder: Path, events: str) -> Path:
    """Write a logging.yaml with these events."""
    path = folder / "logging.yaml"
    text = DEFAULT.read_text(encoding="utf-8")
    start = text.index("        allowlist: []")
    path.write_text(text[:start] + events + text[start:], encoding="utf-8")
    return path


def test_yaml_declares_the_same_events(opted_in: Any, fields: Any, tmp_path: Path) -> None:
    """An event that a file declares has the same kinds; the file may be read again."""
    path = write(tmp_path, YAML)
    configure(path)
    manager = configure(path)
    (event,) = [each for each in _registry.declared_events() if each not in EVENTS]
    assert (event.owner, event.since, event.level, event.deprecated) == ("shop", "1.2", 10, "Use order.finished.")
    assert event.expires_at() is not None
    extra = {"items": 3, "plan": "pro", "duration_ms": 1234.5, "score": 0.5, "success": True, "coupon": "x"}
    logging.getLogger("automagik.shop").info("checkout.finished", extra=extra)
    structlog.get_logger().info("checkout.finished", items=11, plan="gold")
    assert manager.flush(10)
    first, second = opted_in.spans()
    sent = {key.removeprefix("event."): value for key, value in fields(first).items() if key.startswith("event.")}
    assert sent == {"items": 3, "plan": "pro", "duration_ms": 1230.0, "score": 0.5, "success": True}
    assert "event.items" not in fields(second)
    assert fields(second)["event.plan"].startswith("custom-")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "kind: count",
            "kind: counter",
            "events.checkout.finished.fields.items.kind: 'counter' is not a kind of field",
        ),
        ("kind: count", "kind: counter", "did you mean count? Allowed are count, duration, measure, word, flag"),
        ("maximum: 10}", "most: 10}", "events.checkout.finished.fields.items.most: unknown; "),
        ("maximum: 10}", "maximum: x}", "events.checkout.finished.fields.items: maximum must be an integer, got 'x'"),
        ("minimum: 0, ", "", "events.checkout.finished.fields.score: a measure needs minimum and maximum"),
        ("[free, pro]", "free", "events.checkout.finished.fields.plan: allowed must be a list of strings, got 'free'"),
        ("description: Number of items., ", "", "events.checkout.finished.fields.items.description: a sentence is"),
        (
            "            description: A checkout was finished.\n",
            "",
            "checkout.finished.description: a sentence is needed",
        ),
        ("level: DEBUG", "level: OFF", "events.checkout.finished.level: False is not allowed; allowed are DEBUG, "),
        ("level: DEBUG", "level: [x]", "events.checkout.finished.level: ['x'] is not allowed"),
        ("expires: 2099-01-01", "expires: soon", "events.checkout.finished.expires: must be the last day"),
        ('since: "1.2"', "since: 1.2", "events.checkout.finished.since: must be a string, got 1.2"),
        ("owner: shop", "owners: shop", "events.checkout.finished.owners: unknown; did you mean owner?"),
        ("items: {", "msg: {", "events.checkout.finished.fields.msg: logging uses this name. Choose another"),
        ("items: {", "level: {", "events.checkout.finished.fields.level: not a valid name of a field"),
        ("items: {", "class: {", "events.checkout.finished.fields.class: a field's name must be"),
        ("checkout.finished:", "Checkout:", "events.Checkout.name: an event's name must be lower-case words"),
        ("checkout.finished:", "agent.run:", "'agent.run' is declared already"),
        ("fields:\n", "fields: 7\n            unknown:\n", "events.checkout.finished.unknown: unknown;"),
    ],
)
def test_a_mistake_in_yaml_is_one_clear_error(tmp_path: Path, old: str, new: str, words: str) -> None:
    """The error names the processor and the key, the value and what is allowed; nothing was declared."""
    assert old in YAML
    path = write(tmp_path, YAML.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as caught:
        configure(path)
    assert str(caught.value).startswith("formatters.telemetry.processors[1]: automagik_telemetry.Anonymize: ")
    assert words in str(caught.value)
    assert [each for each in _registry.declared_events() if each not in EVENTS] == []


def test_yaml_and_code_may_not_declare_the_same_event(opted_in: Any, tmp_path: Path) -> None:
    """The name of an event belongs to one declaration, whichever comes first."""
    path = write(tmp_path, YAML)
    with pytest.raises(ConfigurationError, match=r"CheckoutFinished: .* is declared already, by logging\.yaml"):
        configure(path, events=[CheckoutFinished])


LIBRARY = '''
from automagik_telemetry.events import Event, count

class ItemSold(Event):
    """An item was sold."""
    name = "item.sold"
    items: int = count("Number of items.")
'''


def library(folder: Path, entry_points: str, code: str = LIBRARY, name: str = "shoplib") -> None:
    """Install a library with entry points into a folder."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(entry_points), encoding="utf-8")


PROGRAM = """
import logging, sys
warnings = []
class Keep(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())
logging.getLogger("automagik_telemetry").addHandler(Keep())
import structlog  # an old one imports importlib.metadata itself
theirs = set(sys.modules)
import automagik_telemetry
assert not {"shoplib", "importlib.metadata"} & (set(sys.modules) - theirs)
tracing = automagik_telemetry.configure()
logging.getLogger("automagik.shop").info("item.sold", extra={"items": 3})
import json
counts = tracing.telemetry and tracing.telemetry.get_metrics()["tracer"]
print(json.dumps([warnings, "shoplib" in sys.modules, counts and [counts["queued"], counts["dropped"]]]))
"""


def run(folder: Path, **variables: str) -> list[Any]:
    """Return what the program prints in a process that finds the folder's libraries."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
            "AUTOMAGIK_TELEMETRY_ENABLED": "true",
            "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9",
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    result: list[Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("value", ["shoplib:ItemSold", "shoplib:EVENTS"])
def test_a_library_declares_its_events_by_an_entry_point(tmp_path: Path, value: str) -> None:
    """The entry point is a class or a list of classes, and is loaded only while telemetry is on."""
    library(tmp_path, f"[automagik_telemetry.events]\nshop = {value}\n", LIBRARY + "\nEVENTS = [ItemSold]\n")
    assert run(tmp_path) == [[], True, [1, 0]]
    assert run(tmp_path, AUTOMAGIK_TELEMETRY_ENABLED="false") == [[], False, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("", "AttributeError: "),
        ("ItemSold = 7", "TypeError: a list of event classes is needed, got 7"),
        (LIBRARY.replace("item.sold", "agent.run"), "ValueError: shoplib.ItemSold: the event 'agent.run' is declared"),
        ("import automagik_telemetry\nautomagik_telemetry.get_tracing_manager()\nItemSold = []\n", None),
    ],
)
def test_a_broken_entry_point_is_one_warning(tmp_path: Path, code: str, words: str | None) -> None:
    """It is one warning on our logger and no exception, and other libraries' events are sent."""
    library(tmp_path, "[automagik_telemetry.events]\nshop = shoplib:ItemSold\n", code)
    library(tmp_path, "[automagik_telemetry.events]\nother = otherlib:ItemSold\n", LIBRARY, "otherlib")
    warnings, _, counts = run(tmp_path)
    assert counts == [1, 0]
    assert len(warnings) == (0 if words is None else 1)
    for warning in warnings:
        assert warning.startswith("the events of the entry point shop = shoplib:ItemSold are not sent: ")
        assert words is not None
        assert words in warning


def test_unreadable_folders_of_the_path_are_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing folder, a zip and an entry that is not a package on the path are no failure."""
    (tmp_path / "some.zip").write_bytes(b"not a zip")
    (tmp_path / "empty.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "missing"), str(tmp_path / "some.zip")])
    before = dict(_registry.CATALOGUE)
    register_libraries()
    register_libraries()
    assert before == _registry.CATALOGUE


@pytest.mark.slow
def test_events_that_wait_on_disk_are_sent_by_a_process_that_does_not_declare_them(
    opted_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue remembers the names that the application declares: `flush` from the command line sends its events."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", "http://127.0.0.1:9")
    code = """
from automagik_telemetry import configure
from automagik_telemetry.events import Event, _registry, count
class Early(Event):
    name = "test.early"
class Late(Event):
    name = "test.late"
telemetry = configure(events=[Early]).telemetry
telemetry.track_event(Early())
_registry.register([Late])
telemetry.track_event(Late())
telemetry.shutdown(0.1)
"""
    # The same queue, because an endpoint has its own.
    environment = {**os.environ, "AUTOMAGIK_TELEMETRY_ENDPOINT": opted_in.url}
    stopped = "import socket\nsocket.socket.connect = lambda *_: (_ for _ in ()).throw(OSError(1))\n"
    subprocess.run([sys.executable, "-c", stopped + code], env=environment, check=True)
    assert opted_in.requests == []
    done = subprocess.run(
        [sys.executable, "-m", "automagik_telemetry", "flush"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("2 events sent, 0 dropped: ")
    assert done.stderr == ""
    assert [span["name"] for span in opted_in.spans()] == ["test.early", "test.late"]


def test_names_of_agents_are_allowed_for_automagik_agents_only() -> None:
    """Another application sends them as a hash, unless it declares them."""
    declare("stan")
    for_application("bookshop")
    assert {"sofia", "agent.sofia"}.isdisjoint(allowlist)
    assert {"stan", "agent.stan", "GET", "ValueError"} <= allowlist
    automagik_telemetry.telemetry_handler(service_name="automagik-agents")
    assert {"sofia", "agent.sofia"} <= allowlist
    automagik_telemetry.telemetry_handler(service_name="bookshop")
    assert "sofia" not in allowlist
