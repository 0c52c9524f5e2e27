"""`automagik-telemetry events` shows an application's own events, and compares them with a saved catalogue."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.events import _registry
from automagik_telemetry.events.catalogue import EVENTS
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

SHOP = '''
from automagik_telemetry import configure
from automagik_telemetry.events import Event, count, duration, measure, word

class CheckoutFinished(Event):
    """A checkout was finished."""
    name = "checkout.finished"
    owner = "shop"
    since = "1.2"
    expires = "2099-01-01"
    deprecated = "Use order.finished."
    items: int = count("Number of items.")
    plan: str = word("The plan, a|b.", allowed=("pro", "free"))

class Shared(Event):
    """Not an event."""

class Empty(Event):
    name = "shop.opened"
'''
CONFIGURED = SHOP + "\nconfigure(events=[CheckoutFinished])\nclasses = [Empty]\ndel Empty\n"


@pytest.fixture
def command() -> Callable[..., Result]:
    """Runs the command in this process, which must not fail with an exception."""

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["events", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return invoke


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes the application's module, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def write(code: str) -> str:
        names.append(f"shop_{tmp_path.name.replace('-', '_')}_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(code, encoding="utf-8")
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def saved(result: Result, folder: Path, edit: Callable[[dict[str, Any]], object] = lambda _: None) -> str:
    """Save a catalogue that the command printed, after an edit of its events by name, and return its path."""
    catalogue = json.loads(result.stdout)
    edit({event["event"]: event for event in catalogue["events"]})
    path = folder / "events.json"
    path.write_text(json.dumps(catalogue), encoding="utf-8")
    return str(path)


def test_an_applications_events_are_shown(command: Any, module: Any) -> None:
    """The events in the module are shown after the built-in ones, with all that is declared, in three forms."""
    name = module(SHOP)
    events = json.loads(command("--json", "--import", name).stdout)["events"]
    assert [event["event"] for event in events] == [
        *(event.name for event in EVENTS),
        "checkout.finished",
        "shop.opened",
    ]
    own = events[len(EVENTS)]
    assert own == {
        "event": "checkout.finished",
        "level": "INFO",
        "description": "A checkout was finished.",
        "owner": "shop",
        "since": "1.2",
        "expires": "2099-01-01",
        "deprecated": "Use order.finished.",
        "fields": [
            {"field": "items", "kind": "count", "description": "Number of items."},
            {"field": "plan", "kind": "word", "description": "The plan, a|b.", "allowed": ["free", "pro"]},
        ],
    }
    assert (
        "checkout.finished  (INFO)\n  A checkout was finished.\n"
        "  Deprecated: Use order.finished. Last sent on 2099-01-01. Since 1.2. Owner: shop.\n"
        "    items           count     Number of items.\n"
        "    plan            word      The plan, a|b. Allowed: free, pro.\n"
    ) in command("--import", name).stdout
    assert (
        "## checkout.finished\n\nA checkout was finished. Level: INFO. Deprecated: Use order.finished. "
        "Last sent on 2099-01-01. Since 1.2. Owner: shop.\n\n"
        "| field | kind | value |\n| --- | --- | --- |\n| `items` | count | Number of items. |\n"
        "| `plan` | word | The plan, a\\|b. Allowed: free, pro. |\n\n"
        "## shop.opened\n\nLevel: INFO.\n\nNo fields.\n"
    ) in command("--markdown", "--import", name).stdout


def test_events_that_are_given_to_configure_are_shown(command: Any, module: Any) -> None:
    """A module that configures telemetry shows the events that it gives, wherever their classes are."""
    events = json.loads(command("--json", "--import", module(CONFIGURED)).stdout)["events"]
    assert [event["event"] for event in events][len(EVENTS) :] == ["checkout.finished"]


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], list[str]]] = [
    ("nothing", lambda _: None, []),
    (
        "a removed field",
        lambda events: events["agent.run"]["fields"].append({"field": "cost", "kind": "measure"}),
        ["agent.run.cost: the field was removed."],
    ),
    (
        "another kind",
        lambda events: events["checkout.finished"]["fields"][0].update(kind="word"),
        ["checkout.finished.items: the kind was word, and is count."],
    ),
    (
        "a new field",
        lambda events: events["checkout.finished"]["fields"].pop(),
        ["checkout.finished.plan: the field is new, a word."],
    ),
    (
        "another name of an event",
        lambda events: events["shop.opened"].update(event="shop.closed"),
        ["shop.closed: the event was removed.", "shop.opened: the event is new."],
    ),
    ("other descriptions", lambda events: events["checkout.finished"].update(description="x", owner="y"), []),
]


@pytest.mark.parametrize(("edit", "lines"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_check_reports_changes_of_fields(
    command: Any, module: Any, tmp_path: Path, edit: Any, lines: list[str]
) -> None:
    """The exit code is 1 for a field or event that was removed, is new or has another kind, and 0 otherwise."""
    name = module(SHOP)
    path = saved(command("--json", "--import", name), tmp_path, edit)
    result = command("--check", path, "--import", name)
    assert result.exit_code == bool(lines)
    assert result.stdout.splitlines() == (lines or [f"No event or field differs from {path}."])
    number = "1 difference" if len(lines) == 1 else f"{len(lines)} differences"
    assert result.stderr.startswith(number if lines else "")


@pytest.mark.parametrize("text", ["", "[]", '{"events": 7}', '{"events": [{"event": "x"}]}', "\udcff"])
def test_check_of_another_file_is_an_error(command: Any, tmp_path: Path, text: str) -> None:
    """A file that is not a catalogue is one clear error with exit code 2."""
    path = tmp_path / "events.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = command("--check", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not a catalogue that `automagik-telemetry events --json` printed. Make one: " in result.stderr
    assert command("--check", str(tmp_path / "missing")).exit_code == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('broken')", "can't be imported: RuntimeError: broken."),
        (SHOP.replace("shop.opened", "agent.run"), "the event 'agent.run' is declared already"),
        (SHOP.replace("shop.opened", "Shop"), "Empty.name: an event's name must be"),
    ],
)
def test_a_broken_module_is_one_clear_error(command: Any, module: Any, code: str, words: str) -> None:
    """A module that can't be imported, or declares a wrong event, is an error with exit code 2."""
    result = command("--import", module(code))
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_broken_file_is_one_clear_error(command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mistake in the user's logging.yaml is an error with exit code 2."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(tmp_path / "missing.yaml"))
    result = command()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "missing.yaml" in result.stderr


def test_the_file_and_its_events_are_known_to_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events in the user's logging.yaml are shown, and `enable` counts as the notice for them."""
    default = (Path(__file__).parents[3] / "logging.yaml").read_text(encoding="utf-8")
    declared = "        events: {item.sold: {description: An item was sold.}}\n"
    path = tmp_path / "logging.yaml"
    path.write_text(default.replace("        allowlist: []", declared + "        allowlist: []", 1), encoding="utf-8")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", str(path))
    before = notice.digest(_registry.CATALOGUE)
    assert "item.sold  (INFO)\n  An item was sold.\n" in CliRunner().invoke(main, ["events"]).stdout
    assert CliRunner().invoke(main, ["enable"]).exit_code == 0
    assert notice.reason_to_suppress(application.current(), Settings.from_environ(), _registry.CATALOGUE, {}) is None
    (choice,) = preferences.load().scopes.values()
    assert choice.notice == notice.digest(_registry.CATALOGUE) != before
