"""`automagik-telemetry collector` and `report` as real processes and in their failures."""

from __future__ import annotations

import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main, report
from automagik_telemetry.collector import _control as control
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector.server import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-c", "from automagik_telemetry.cli import main; main()")


@contextmanager
def _process(store: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Run a collector as a process; yield it, its URL and its first line."""
    process = subprocess.Popen(
        [*COMMAND, "collector", "--port", "0", "--store", str(store), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("Receiving OTLP at http://"), line + process.stderr.read()
        yield process, line.split()[3].rstrip(","), line
    finally:
        process.kill()
        process.communicate()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def unused_url() -> Iterator[str]:
    """A URL without a server: its port is bound, but does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def filled(tmp_path: Path, span: Make, traces: Make) -> Path:
    """A store that no collector has open, with one feature used."""
    path = tmp_path / "filled.duckdb"
    with Collector(path) as collector:
        feature = span("feature.used", feature_name="search")
        httpx.post(f"{collector.url}/v1/traces", json=traces(feature), trust_env=False).raise_for_status()
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_collector_runs_until_a_signal(tmp_path: Path, span: Make, traces: Make, number: signal.Signals) -> None:
    """One line has the URL. SIGTERM and Ctrl-C end it with exit code 0, and the report then has the events."""
    store = tmp_path / "new" / "collector.duckdb"
    with _process(store) as (process, url, line):
        assert line == f"Receiving OTLP at {url}, storing it in {store}. Press Ctrl-C to stop.\n"
        feature = span("feature.used", feature_name="search")
        httpx.post(f"{url}/v1/traces", json=traces(feature), trust_env=False).raise_for_status()
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    found = _run("report", "--store", str(store))
    assert (found.returncode, found.stderr) == (0, "")
    assert "feature   search" in found.stdout


def test_an_open_address_needs_tokens(tmp_path: Path) -> None:
    """Without tokens, an address that other machines reach is one line. With them, clear text is warned of."""
    everyone = ("--host", "0.0.0.0")  # noqa: S104 - what is warned of
    failed = _run("collector", *everyone, "--port", "0", "--store", str(tmp_path / "c.duckdb"))
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert failed.stderr.startswith("Error: Other machines can reach 0.0.0.0")
    tokens = tmp_path / "tokens.toml"
    tokens.touch(mode=0o600)
    tokens.write_text('[[token]]\ntoken = "0123456789abcdef"\nread = true\n')
    with _process(tmp_path / "c.duckdb", *everyone, "--tokens", str(tokens)) as (_, _url, line):
        assert "unencrypted" in line
    with _process(tmp_path / "c.duckdb", "--host", "127.0.0.2") as (_, _url, line):
        assert "unencrypted" not in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--raw", "7"], "is not an age. Use a number and d, h, m or s, such as 7d, or 0."),
        (["--tls-cert", __file__], "--tls-cert and --tls-key belong together. Give both or neither."),
        (["--events", "missing.json"], "The catalogue missing.json can't be read: No such file or directory."),
    ],
)
def test_a_wrong_option_is_one_sentence(tmp_path: Path, options: list[str], message: str) -> None:
    """Options are checked before the collector listens."""
    failed = _run("collector", "--port", "0", "--store", str(tmp_path / "c.duckdb"), *options)
    assert failed.returncode == 2
    assert message in " ".join(failed.stderr.split())
    assert not (tmp_path / "c.duckdb").exists()


def test_accepted_rows_survive_a_kill(tmp_path: Path, span: Make, traces: Make) -> None:
    """A 200 means that the rows are on the disk: SIGKILL right after it loses nothing."""
    store = tmp_path / "collector.duckdb"
    with _process(store) as (process, url, _line):
        spans = [span("feature.used", feature_name="search") for _ in range(500)]
        httpx.post(f"{url}/v1/traces", json=traces(*spans), trust_env=False).raise_for_status()
        process.kill()
        process.wait(timeout=60)
        with Store(store, read_only=True) as read_only:
            assert [row["count"] for row in read_only.report()["feature_usage"]] == [500]


def test_a_running_collector_reports_over_http(tmp_path: Path, span: Make, traces: Make) -> None:
    """`report --url` shows the report of a running collector, as text and as JSON."""
    with _process(tmp_path / "collector.duckdb") as (_, url, _line):
        feature = span("feature.used", feature_name="search")
        httpx.post(f"{url}/v1/traces", json=traces(feature), trust_env=False).raise_for_status()
        shown, as_json = _run("report", "--url", url), _run("report", "--url", url, "--json")
    assert (shown.returncode, as_json.returncode) == (0, 0)
    assert "feature   search" in shown.stdout
    assert json.loads(as_json.stdout)["feature_usage"] == [
        {"kind": "feature", "name": "search", "category": "", "count": 1}
    ]


def test_a_report_may_need_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the token the way out is named; with it, as an option or a variable, the report is shown."""
    tokens = tmp_path / "tokens.toml"
    tokens.touch(mode=0o600)
    tokens.write_text('[[token]]\ntoken = "0123456789abcdef"\nread = true\n')
    with Collector(tmp_path / "c.duckdb", tokens=tokens) as collector:
        arguments = ["report", "--url", collector.url]
        refused = CliRunner().invoke(main, arguments)
        assert (refused.exit_code, refused.output) == (
            2,
            f"Error: The collector at {collector.url} requires a token that may read. Give --url and --token.\n",
        )
        assert CliRunner().invoke(main, [*arguments, "--token", "0123456789abcdef"]).exit_code == 0
        monkeypatch.setenv("AUTOMAGIK_COLLECTOR_TOKEN", "0123456789abcdef")
        assert CliRunner().invoke(main, arguments).exit_code == 0


def test_a_port_in_use_is_one_line(tmp_path: Path, unused_url: str) -> None:
    """A port in use is reported in one line, with exit code 2, before a store is created."""
    port = unused_url.rpartition(":")[2]
    failed = _run("collector", "--port", port, "--store", str(tmp_path / "c.duckdb"))
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == f"Error: Port {port} on 127.0.0.1 is in use. Choose another with --port.\n"
    assert not (tmp_path / "c.duckdb").exists()


def test_a_store_in_use_is_one_line(tmp_path: Path) -> None:
    """A second collector on the same file reports this and ends; the first continues."""
    store = tmp_path / "collector.duckdb"
    with _process(store) as (_, url, _line):
        failed = _run("collector", "--port", "0", "--store", str(store))
        assert (failed.returncode, failed.stderr) == (2, f"Error: The store {store} is in use by another process.\n")
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200


def test_a_foreign_address_is_one_line(tmp_path: Path) -> None:
    """An address that is not this machine's cannot be listened on."""
    tokens = tmp_path / "tokens.toml"
    tokens.touch(mode=0o600)
    tokens.write_text('[[token]]\ntoken = "0123456789abcdef"\n')
    options = ["--host", "192.0.2.1", "--tokens", str(tokens), "--store", str(tmp_path / "c.duckdb")]
    result = CliRunner().invoke(main, ["collector", *options])
    assert result.exit_code == 2
    assert result.output.startswith("Error: Cannot listen on 192.0.2.1 port 4318: ")
    assert result.output.count("\n") == 1


def test_the_report_reads_a_store_that_is_free(filled: Path) -> None:
    """Without a collector, the file itself is read, and stays as it was."""
    before = filled.read_bytes()
    result = CliRunner().invoke(main, ["report", "--store", str(filled)])
    assert (result.exit_code, "feature   search" in result.output) == (0, True)
    assert filled.read_bytes() == before


def _without_control(store: Path) -> None:
    """Let a running collector be one that another user started, whose token can't be read."""
    store.with_name(f"{store.name}.control").unlink()


def test_a_locked_store_is_read_over_http(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another user's collector has the file open, the one at the default URL is queried, if the file is its own."""
    with Collector(filled) as collector:
        _without_control(filled)
        monkeypatch.setattr(report, "_DEFAULT_URL", collector.url)
        result = CliRunner().invoke(main, ["report", "--store", str(filled)])
    assert (result.exit_code, "feature   search" in result.output) == (0, True)


@pytest.mark.parametrize("certificate", [None, "removed.pem"])
def test_the_file_of_a_killed_collector_is_passed_over(
    filled: Path, unused_url: str, monkeypatch: pytest.MonkeyPatch, certificate: str | None
) -> None:
    """If no collector responds there, or its certificate is gone, the one at the default URL is queried."""
    with Collector(filled) as collector:
        control.write(filled, control.make(unused_url, "token", certificate))
        monkeypatch.setattr(report, "_DEFAULT_URL", collector.url)
        result = CliRunner().invoke(main, ["report", "--store", str(filled)])
    assert (result.exit_code, "feature   search" in result.output) == (0, True)


@pytest.mark.fault(130)
def test_the_owner_finds_the_collector_of_a_store(filled: Path, unused_url: str, tokens: Path) -> None:
    """On any port, with tokens or TLS, without naming it. No token goes to the default URL."""
    arguments = ["report", "--store", str(filled), "--token", "0123456789abcdef"]
    with Collector(filled, tokens=tokens, host="0.0.0.0"):  # noqa: S104 - what is tested
        found = CliRunner().invoke(main, arguments)
    assert (found.exit_code, "feature   search" in found.output) == (0, True)
    assert not filled.with_name(f"{filled.name}.control").exists()


def test_a_token_goes_to_no_collector_that_was_not_named(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server at the default URL does not receive it."""
    received: list[str | None] = []

    class Listening(_Page):
        def do_GET(self) -> None:
            received.append(self.headers.get("Authorization"))
            super().do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server, Collector(filled):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _without_control(filled)
        monkeypatch.setattr(report, "_DEFAULT_URL", f"http://127.0.0.1:{server.server_port}")
        for store in (["--store", str(filled)], []):
            result = CliRunner().invoke(main, ["report", *store, "--token", "0123456789abcdef"])
            assert result.exit_code == 2
        server.shutdown()
    assert received == [None, None]


def test_another_collectors_report_is_not_shown(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a collector with another file is not shown."""
    with Collector(filled), Collector(tmp_path / "other.duckdb") as other:
        _without_control(filled)
        monkeypatch.setattr(report, "_DEFAULT_URL", other.url)
        result = CliRunner().invoke(main, ["report", "--store", str(filled)])
    assert result.exit_code == 2
    assert result.output == (
        f"Error: The store {filled} is in use by another process. The collector at {other.url} has another store. "
        "Give the right URL with --url.\n"
    )


def test_a_locked_store_without_a_collector_is_one_line(
    filled: Path, unused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file is in use and no collector responds at the default URL, the message asks for the URL."""
    monkeypatch.setattr(report, "_DEFAULT_URL", unused_url)
    with Collector(filled):
        _without_control(filled)
        result = CliRunner().invoke(main, ["report", "--store", str(filled)])
    assert result.exit_code == 2
    assert result.output == (
        f"Error: The store {filled} is in use by another process. No collector responds at {unused_url} either. "
        "Give the URL of one with --url.\n"
    )


def test_neither_store_nor_collector_is_one_line(
    tmp_path: Path, unused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store and a collector there is nothing to report, and no file is made."""
    monkeypatch.setattr(report, "_DEFAULT_URL", unused_url)
    result = CliRunner().invoke(main, ["report"])
    assert result.exit_code == 2
    assert result.output.startswith("Error: There is no store at ")
    assert result.output.endswith(
        f"collector.duckdb. No collector responds at {unused_url} either. Give the URL of one with --url.\n"
    )
    missing = tmp_path / "missing.duckdb"
    result = CliRunner().invoke(main, ["report", "--store", str(missing)])
    assert (result.exit_code, result.output) == (2, f"Error: There is no store at {missing}. Check the path.\n")
    assert not missing.exists()


def test_the_default_collector_is_used_when_there_is_no_store(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector at the default URL is queried even if its store is not the default one."""
    with Collector(filled) as collector:
        monkeypatch.setattr(report, "_DEFAULT_URL", collector.url)
        result = CliRunner().invoke(main, ["report"])
    assert (result.exit_code, "feature   search" in result.output) == (0, True)


def test_a_file_that_is_no_store_is_one_line(tmp_path: Path) -> None:
    """A file of another kind is reported in one line and not changed, by both commands."""
    other = tmp_path / "notes.txt"
    other.write_text("not a database " * 1000)
    for arguments in (["report"], ["collector", "--port", "0"]):
        result = CliRunner().invoke(main, [*arguments, "--store", str(other)])
        assert result.exit_code == 2
        assert result.output.startswith(f"Error: The store {other} cannot be opened: ")
        assert result.output.count("\n") == 1
    assert other.read_text() == "not a database " * 1000


class _Page(http.server.BaseHTTPRequestHandler):
    """Any web page."""

    body = b"<html>hello</html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_arguments: object, **_named: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}", b'{"store": "x", "report": 5}'])
def test_a_url_that_is_no_collector_is_one_line(body: bytes) -> None:
    """Another server at the URL is reported in one line."""
    handler = type("Page", (_Page,), {"body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = CliRunner().invoke(main, ["report", "--url", url])
        server.shutdown()
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert "collector" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("url", ["http://[", "nonsense", "http://127.0.0.1:1/"])
def test_a_bad_url_is_one_line(url: str) -> None:
    """An invalid URL, or one without a server, is reported in one line."""
    result = CliRunner().invoke(main, ["report", "--url", url])
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: No collector responds at {url}: ")
    assert result.output.count("\n") == 1


def test_the_commands_load_nothing_heavy_before_they_run() -> None:
    """Help of all commands needs none of the extras."""
    code = """
import sys
from click.testing import CliRunner
from automagik_telemetry.cli import collector, report
for command in (collector.command, report.command):
    assert CliRunner().invoke(command, ["--help"]).exit_code == 0
print(sorted({"duckdb", "starlette", "uvicorn", "google", "httpx"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("command", ["collector", "report"])
def test_a_missing_extra_is_one_line(command: str) -> None:
    """Without the extra's packages a command shows how to install them."""
    code = f"import sys; sys.modules['duckdb'] = None; from automagik_telemetry.cli import main; main(['{command}'])"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    message = "Error: This command needs the package duckdb. Install it: pip install 'automagik-telemetry[collector]'\n"
    assert (failed.returncode, failed.stderr) == (2, message)


def test_the_store_is_for_its_owner_only(tmp_path: Path) -> None:
    """The collected data can be read by the user alone."""
    path = tmp_path / "folder" / "collector.duckdb"
    with Store(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == [path.name]
