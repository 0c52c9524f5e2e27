"""Consent, notice, ids and hash key belong to one application and one recipient."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry import OTLP, Anonymize, ChainFormatter, configure, telemetry_handler
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _records as records
from automagik_telemetry.consent._application import Application, Given, Scope
from automagik_telemetry.consent._preferences import ANY, Choice, Choices
from automagik_telemetry.consent.decision import decide_telemetry
from automagik_telemetry.events.catalogue import FeatureUsageEvent
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.settings import LEVELS, OFF, Settings, origin_of

if TYPE_CHECKING:
    from tests.automagik_telemetry.conftest import Receiver

BOOKS, BREAD = "https://books.example", "https://bread.example"
SHOP, BAKERY = Scope("bookshop", BOOKS), Scope("bakery", BREAD)


@pytest.fixture(autouse=True)
def outside_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let test runs send."""
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")


def command(*arguments: str) -> Any:
    """Run a command of ours; return its output as JSON."""
    done = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def is_on(scope: Scope) -> bool:
    """Return whether an application may send to a recipient."""
    sender = Application(Given(service_name=scope.application, endpoint=scope.recipient))
    return decide_telemetry(Settings.from_environ(), sender=sender).given


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Books.Example:443/v1/traces?key=1", BOOKS),
        ("http://books.example:80", "http://books.example"),
        ("https://books.example.:8443/x", "https://books.example:8443"),
        ("http://[::1]:4318/v1/logs", "http://[::1]:4318"),
    ],
)
def test_recipient_is_the_origin(url: str, origin: str) -> None:
    """Path, query, case and the scheme's own port don't make another recipient."""
    assert origin_of(url) == origin


@pytest.mark.fault(91)
def test_a_grant_covers_one_application_and_one_recipient() -> None:
    """Neither another application, nor another endpoint of the same one, nor an OTEL name is covered."""
    command("enable", "bookshop", "--endpoint", f"{BOOKS}/v1/traces")
    assert is_on(SHOP)
    assert not any(
        map(is_on, (BAKERY, Scope("bookshop", BREAD), Scope("bakery", BOOKS), Scope("automagik-agents", BOOKS)))
    )


@pytest.mark.fault(90, 91)
def test_an_otel_name_is_not_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of OpenTelemetry names the service, and changes no consent and no id."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", BOOKS)
    settings = Settings.from_environ()
    before = Application(Given()).scope(settings)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bookshop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=bakery")
    settings = Settings.from_environ()
    assert Application(Given()).name(settings) == "bookshop"
    assert Application(Given()).scope(settings) == before == Scope("automagik-agents", BOOKS)


@pytest.mark.fault(91)
def test_one_global_off_covers_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """`off` turns every application off. `on` for one of them withdraws the earlier grants of the others."""
    command("on", "bookshop", "--endpoint", BOOKS)
    command("on", "bakery", "--endpoint", BREAD)
    assert is_on(SHOP)
    assert is_on(BAKERY)
    command("off")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    assert not is_on(SHOP)
    assert not is_on(Scope("another", BOOKS))
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    command("on", "bookshop")
    assert is_on(SHOP)
    assert not is_on(BAKERY)
    shown = {each["application"]: each for each in command("status")["applications"]}
    assert shown["bakery"]["reason"] == "you ran `automagik-telemetry off`"


@pytest.mark.fault(91)
def test_off_for_one_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """It covers all its recipients, later ones too, and no other application."""
    command("on", "bookshop", "--endpoint", BOOKS)
    command("on", "bakery", "--endpoint", BREAD)
    command("off", "bookshop")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    assert not is_on(SHOP)
    assert not is_on(Scope("bookshop", "https://elsewhere.example"))
    assert is_on(BAKERY)
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    command("on", "bookshop")
    assert is_on(SHOP)


def test_level_off_then_on() -> None:
    """`level off` is off, for one or for all; `on` sets the default level again."""
    command("on", "bookshop", "--endpoint", BOOKS)
    for words in (("level", "off"), ("level", "off", "bookshop")):
        command(*words)
        assert not is_on(SHOP)
        command("on", "bookshop")
        assert is_on(SHOP)
    command("level", "debug")
    (shown,) = command("status")["applications"]
    assert (shown["application"], shown["level"]) == ("bookshop", "DEBUG")
    command("level", "error", "bookshop")
    (shown,) = command("status")["applications"]
    assert (shown["level"], "choice.toml is ERROR" in shown["level_reason"]) == ("ERROR", True)


OF_DEFAULT = "[[applications]]\nname = 'automagik-agents'\nrecipient = 'https://telemetry.namastex.ai'\n"


@pytest.mark.parametrize(
    ("text", "everything", "default"),
    [
        ("enabled = false\n", False, None),
        ("enabled = true\nlevel = 'ERROR'\nnotice = 'abc'\n", None, True),
        (f"enabled = true\n{OF_DEFAULT}enabled = false\n", None, False),
    ],
)
def test_an_earlier_file(text: str, everything: bool | None, default: bool | None) -> None:
    """An opt-out stays one for all. A grant without a recipient counts for the defaults alone. A save keeps both."""
    preferences.path().parent.mkdir(parents=True)
    preferences.path().write_text(text)
    of_default = Scope("automagik-agents", "https://telemetry.namastex.ai")
    for _ in range(2):
        saved = preferences.load()
        assert (saved.everything.enabled, saved.of(of_default).enabled) == (everything, default)
        assert saved.everything.level == (LEVELS["ERROR"] if "ERROR" in text else None)
        assert not is_on(SHOP)
        assert preferences.change(lambda each: each.with_notice(SHOP, "digest")).of(SHOP).notice == "digest"


def test_choices_are_read_as_they_were_saved() -> None:
    """Names of any printable characters, levels, and who decided."""
    names = ["shop", 'a "quoted" \\ name', "søk \U0001f4da", "# [x] = 'y'"]
    scopes = {Scope(name, BOOKS): Choice(enabled=True, level=LEVELS["ERROR"], notice="n", by="x `y`") for name in names}
    scopes[Scope("shop", ANY)] = Choice(enabled=False)
    wanted = Choices(Choice(level=OFF, by="automagik-telemetry level off"), scopes)
    assert preferences.change(lambda _saved: wanted) == wanted
    assert preferences.load() == wanted


def test_too_many_choices_are_refused() -> None:
    """A file that could not be read again is not written."""
    before = preferences.change(lambda saved: saved.refused("shop", "off"))
    scopes = {Scope(f"{number:04} {'x' * 100}", BOOKS): Choice(enabled=True) for number in range(1000)}
    with pytest.raises(OSError, match="too many"):
        preferences.change(lambda _saved: Choices(Choice(), scopes))
    assert preferences.load() == before


@pytest.mark.fault(91)
def test_ids_can_not_be_joined(tmp_path: Path) -> None:
    """Nothing is equal for two recipients or two applications; in a second process only the session is another."""
    state = str(tmp_path / "state")
    found = []
    for scope in (SHOP, BAKERY, Scope("bookshop", BREAD), Scope("bakery", BOOKS)):
        own = identity.Identity(scope, state)
        found += [own.anonymous_id, own.session_id, own.hash_key.hex()]
    assert len(set(found)) == 12
    identity.forget()
    own = identity.Identity(SHOP, state)
    assert (own.anonymous_id, own.hash_key.hex()) == (found[0], found[2])
    assert own.session_id != found[1]
    secrets = [path for path in Path(state).rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert len(secrets) == 2
    assert command("reset-id", "bookshop")["reset"] == 1
    identity.forget()
    assert identity.Identity(SHOP, state).anonymous_id != found[0]
    assert identity.Identity(BAKERY, state).anonymous_id == found[3]


@pytest.mark.fault(91)
def test_one_word_in_two_sinks_of_one_process(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sinks that share a chain hash with keys of their own."""
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENDPOINT")
    chain = ChainFormatter([Anonymize(), OTLP()])
    lines = []
    for endpoint in (opted_in.url, BREAD, opted_in.url):
        sink = telemetry_handler(endpoint=endpoint, service_name="bookshop")
        sink.setFormatter(chain)
        event = FeatureUsageEvent("one word")
        lines.append(sink.chain.encode_event(event.name, 20, 1.0, event.as_fields()))
    first, second, third = (line.partition(b"custom-")[2][:16] for line in lines)
    assert first == third != second
    first, second, _ = (line.partition(b'"traceId":"')[2][:16] for line in lines)
    assert first != second  # the half that belongs to the process


@pytest.mark.fault(90)
def test_record_is_written_after_a_grant_or_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An application that was never asked, or is off by a global choice or a variable, leaves none."""

    def shop() -> list[records.Record]:
        configure(service_name="bookshop", endpoint=f"{BOOKS}/v1/traces")
        return records.read(Settings.from_environ())

    assert shop() == []
    command("off")
    assert shop() == []
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert shop() == []
    assert not Path(os.environ["AUTOMAGIK_STATE_DIR"]).exists()
    monkeypatch.delenv("DO_NOT_TRACK")
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    command("off", "bookshop")
    (record,) = shop()
    assert (record.name, record.endpoint) == ("bookshop", f"{BOOKS}/v1/traces")
    script = tmp_path / "somebody" / "bakery"
    script.parent.mkdir()
    script.touch(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr("sys.argv", [str(script), "--secret"])
    monkeypatch.setattr("__main__.__spec__", None)
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    command("on", "bakery", "--endpoint", BREAD)
    configure(service_name="bakery", endpoint=BREAD)
    assert {each.command for each in records.read(Settings.from_environ()) if each.name == "bakery"} == {"bakery"}
    assert "somebody" not in "".join(path.read_text() for path in tmp_path.rglob("*.record"))
    monkeypatch.setattr("sys.argv", [str(tmp_path / "a script of somebody")])
    command("on", "baker", "--endpoint", BREAD)
    configure(service_name="baker", endpoint=BREAD)
    assert {each.command for each in records.read(Settings.from_environ()) if each.name == "baker"} == {""}


@pytest.mark.fault(90, 91)
def test_status_names_the_real_recipient_of_each_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoints are those of the applications, set in code and in logging.yaml, not those of this environment."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    configure(service_name="bookshop", endpoint=f"{BOOKS}/v1/traces")
    configure(service_name="bakery", endpoint=f"{BREAD}/v1/traces?key=hidden")
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    assert [each["application"] for each in command("status")["applications"]] == ["bakery", "bookshop"]
    command("on", "bookshop")
    command("off", "bakery")
    printed = CliRunner().invoke(main, []).output
    assert (
        f"bookshop: on (you ran `automagik-telemetry on bookshop`). Sends to {BOOKS}/v1/traces; level info." in printed
    )
    assert f"bakery: off (you ran `automagik-telemetry off bakery`). Would send to {BREAD}/v1/traces?***." in printed
    assert "automagik-agents" not in printed
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    printed = CliRunner().invoke(main, ["settings"]).output
    assert f"bookshop: off (DO_NOT_TRACK is set). Would send to {BOOKS}/v1/traces." in printed
    assert "hidden" not in printed
    assert "bookshop: off (DO_NOT_TRACK is set)" in CliRunner().invoke(main, ["doctor"]).output


RECORD = '{"name": "%s", "endpoint": "%s", "command": "", "services": []}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"name": "a"}', "[" * 5000, RECORD % ("bakery", BREAD), RECORD % ("bookshop", "ftp://x")),
        RECORD % ("book\\u202eshop", BOOKS),
    ],
)
def test_a_malformed_record_is_ignored(text: str) -> None:
    """It is ignored, as is one in the folder of another application."""
    state = os.environ["AUTOMAGIK_STATE_DIR"]
    folder = identity.make_folder(state, "bookshop")
    path = Path(folder, "0.record")
    path.write_text(text)
    path.chmod(0o600)
    assert records.read(Settings.from_environ()) == []
    assert command("status")["applications"]


@pytest.mark.fault(90)
def test_flush_sends_what_another_application_has_left(
    opted_in: Receiver, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its endpoint is in its record. Nothing is sent if that application is off."""
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENDPOINT")
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "60")
    configure(service_name="bookshop", endpoint=receiver.url).track(FeatureUsageEvent("memory"))
    loggers.sinks()["telemetry"].close()
    loggers.detach()
    configure(service_name="bakery", endpoint=BREAD)
    loggers.detach()
    monkeypatch.delenv("AUTOMAGIK_TELEMETRY_ENABLED")
    printed = CliRunner().invoke(main, ["flush", "--timeout", "5"]).output
    assert receiver.requests == []
    assert "1 event of bookshop not sent, because its telemetry is off" in " ".join(printed.split())
    command("on", "bookshop")
    printed = CliRunner().invoke(main, ["flush", "--timeout", "5"]).output
    assert f"1 event sent, 0 dropped: bookshop to {receiver.url}." in " ".join(printed.split())
    assert len(receiver.spans()) == 1


@pytest.mark.fault(91, 97)
@pytest.mark.parametrize("arguments", [("level", "error"), ("off", "bakery"), ("level", "off"), ("on", "bookshop")])
def test_all_else_stays_off_over_a_file_that_can_not_be_read(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice that is saved over a malformed file turns nothing on but what it grants."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    command("on", "bookshop", "--endpoint", BOOKS)
    command("off")
    preferences.path().write_text(preferences.path().read_text() + "future = 1\n")
    if arguments[0] == "on":
        arguments = (*arguments, "--endpoint", BOOKS)
    command(*arguments)
    assert not any(map(is_on, (BAKERY, Scope("bookshop", BREAD), Scope("automagik-agents", BOOKS))))
    assert is_on(SHOP) == (arguments[0] == "on")


@pytest.mark.fault(91)
def test_a_grant_after_a_global_off_is_for_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable opts in the others, until each is granted or everything is turned off again."""
    command("off")
    command("on", "bookshop", "--endpoint", BOOKS)
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    assert [is_on(each) for each in (SHOP, BAKERY, Scope("bookshop", BREAD))] == [True, False, False]
    command("on", "bakery", "--endpoint", BREAD)
    assert [is_on(each) for each in (SHOP, BAKERY, Scope("bookshop", BREAD))] == [True, True, False]
    command("off", "bookshop")
    assert [is_on(each) for each in (SHOP, BAKERY)] == [False, True]


@pytest.mark.fault(91)
def test_a_level_covers_each_recipient_and_outlasts_an_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`level off bookshop` covers recipients that come later, and `off` does not remove a level."""
    command("on", "bookshop", "--endpoint", BOOKS)
    command("level", "off", "bookshop")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    assert [is_on(each) for each in (SHOP, Scope("bookshop", BREAD), BAKERY)] == [False, False, True]
    command("off", "bookshop")
    command("level", "error", "bookshop")
    command("on", "bookshop", "--endpoint", BOOKS)
    assert preferences.load().level(SHOP) == LEVELS["ERROR"]


def test_the_endpoint_of_a_grant_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with another endpoint is one clear error, because events would go there."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", BREAD)
    done = CliRunner().invoke(main, ["on", "bookshop", "--endpoint", BOOKS])
    assert done.exit_code != 0
    assert "AUTOMAGIK_TELEMETRY_ENDPOINT is set and comes before --endpoint" in done.output
    assert preferences.load() == Choices()


def test_an_opt_out_fits_into_a_full_file() -> None:
    """Beyond the size of the file, notices are forgotten, and never an opt-out."""
    for number in range(0, 1_000, 50):
        scopes = [Scope(f"shop-{each}", f"https://{each}.example") for each in range(number, number + 50)]

        def shown(saved: Choices, scopes: list[Scope] = scopes) -> Choices:
            for scope in scopes:
                saved = saved.with_notice(scope, "0" * 32)
            return saved

        preferences.change(shown)
    command("on", "bakery", "--endpoint", BREAD)
    command("level", "off", "bakery")
    command("off", "bookshop")
    assert preferences.load().refusal(SHOP)
    assert preferences.load().level(BAKERY) == OFF
    command("off")
    assert preferences.load().everything.enabled is False


@pytest.mark.fault(93)
def test_a_refusal_counts_where_something_else_keeps_telemetry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queued events are deleted in CI too, after the user has opted out."""
    monkeypatch.delenv("AUTOMAGIK_ENABLE_TRACING_IN_CI")
    monkeypatch.setenv("CI", "true")
    assert decide_telemetry(Settings.from_environ()).refused is None
    command("off")
    assert decide_telemetry(Settings.from_environ()).refused == "everywhere"


@pytest.mark.fault(95)
@pytest.mark.parametrize("level", ["error", "info", "debug"])
@pytest.mark.parametrize(
    ("variable", "value"), [("CI", "true"), ("ENVIRONMENT", "test"), ("AUTOMAGIK_TELEMETRY_ENABLED", "maybe")]
)
def test_a_saved_level_turns_nothing_on(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, level: str) -> None:
    """A level that a user has saved is no refusal, and no reason to send where something else keeps telemetry off."""
    monkeypatch.delenv("AUTOMAGIK_ENABLE_TRACING_IN_CI")
    command("on", "bookshop", "--endpoint", BOOKS)
    command("level", level)
    monkeypatch.setenv(variable, value)
    assert not is_on(SHOP)


@pytest.mark.fault(93)
def test_a_saved_off_counts_beside_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`level off` deletes what is queued, whatever the variable is; of everything, it is about no application alone."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "OFF")
    command("level", "off")
    found = decide_telemetry(Settings.from_environ())
    assert (found.refused, found.asked) == ("everywhere", False)


@pytest.mark.parametrize(
    "arguments", [("off", ""), ("off", "\udcff"), ("reset-id", ""), ("purge", ""), ("level", "error", "")]
)
def test_an_invalid_name_is_refused(arguments: tuple[str, ...]) -> None:
    """An empty variable of a shell script does not pass for an application."""
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code != 0
    assert "APPLICATION must be" in done.output
    assert preferences.load() == Choices()
