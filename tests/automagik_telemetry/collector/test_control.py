"""`collector forget`, `export` and `backup`, while a collector has the store open and while none has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import pytest

from automagik_telemetry.collector import _control as control
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector.server import Collector
from tests.automagik_telemetry.collector.conftest import READER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.slow, pytest.mark.fault(127)]


@pytest.fixture
def filled(tmp_path: Path, span: Make, traces: Make) -> Path:
    """A store with two events of one install."""
    path = tmp_path / "filled.duckdb"
    with Collector(path) as collector:
        request = traces(span("feature.used", feature_name="a"), span("feature.used", feature_name="b"))
        httpx.post(f"{collector.url}/v1/traces", json=request, trust_env=False).raise_for_status()
    return path


def _invoke(*arguments: str) -> tuple[int, str]:
    """Run the command in a process of its own, because DuckDB opens a file twice within one."""
    code = "from automagik_telemetry.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "collector", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("served", ["", "http", "https", "tokens"])
def test_each_command_works_while_the_store_is_open(
    filled: Path, tmp_path: Path, tokens: Path, certificate: tuple[Path, Path], served: str
) -> None:
    """And while it is not. The option of the store stands before the command or after it."""
    options: dict[str, Any] = {
        "http": {},
        "https": {"certificate": certificate},
        "tokens": {"tokens": tokens, "host": "0.0.0.0"},  # noqa: S104 - what is tested
    }
    with Collector(filled, **options[served]) if served else nullcontext():
        exported, backup = tmp_path / "events.parquet", tmp_path / "backup.duckdb"
        assert _invoke("--store", str(filled), "export", "--to", str(exported)) == (
            0,
            f"Wrote 2 events to {exported}.\n",
        )
        code, output = _invoke("backup", str(backup), "--store", str(filled))
        assert (code, output) == (0, f"Wrote {backup.stat().st_size:,} bytes to {backup}.\n")
        code, output = _invoke("forget", "unknown", "anonymous", "--store", str(filled))
        assert (code, output.startswith("Deleted 2 events, 2 spans, 0 log records and ")) == (0, True)
        assert _invoke("forget", "anonymous", "--store", str(filled)) == (
            2,
            "Error: Nothing is stored of the install anonymous. Check the ID.\n",
        )
    assert duckdb.read_parquet(str(exported)).count("*").fetchall() == [(2,)]
    for path, count in ((backup, 2), (filled, 0)):
        with Store(path, read_only=True) as store:
            assert len(store.report()["feature_usage"]) == count


def test_failures_are_one_line(filled: Path, tmp_path: Path) -> None:
    """A missing store, a file that can't be written, and a store that a process of another kind has open."""
    missing = tmp_path / "missing.duckdb"
    assert _invoke("forget", "x", "--store", str(missing)) == (
        2,
        f"Error: There is no store at {missing}. Give its path with --store.\n",
    )
    assert not missing.exists()
    bad = tmp_path / "none" / "events.csv"
    message = f"The file {bad} cannot be written: No such file or directory."
    arguments = ("export", "--to", str(bad), "--store", str(filled))
    assert _invoke(*arguments) == (2, f"Error: {message}\n")
    with Collector(filled) as collector:
        assert _invoke(*arguments) == (2, f"Error: The collector at {collector.url} failed: {message}\n")
        file = filled.with_name(f"{filled.name}.control")
        written = file.read_text()
        file.write_text(json.dumps(json.loads(written) | {"url": "http://127.0.0.1:1"}))
        code, output = _invoke(*arguments)
        assert (code, output.startswith("Error: The collector at http://127.0.0.1:1 does not respond")) == (2, True)
        file.write_text("{}")
        message = (
            f"The store {filled} is in use by another process. No collector of yours has it open. End that process."
        )
        assert _invoke(*arguments) == (2, f"Error: {message}\n")


def test_a_store_of_an_earlier_version_is_left_to_the_collector(filled: Path, tmp_path: Path) -> None:
    """It would be migrated without the catalogue of the application."""
    with duckdb.connect(filled) as database:
        database.execute("DROP TABLE events")
    for arguments in (("forget", "x"), ("backup", str(tmp_path / "backup.duckdb"))):
        code, output = _invoke(*arguments, "--store", str(filled))
        assert (code, "made by an earlier version. Start `automagik-telemetry collector" in output) == (2, True)
    with duckdb.connect(filled) as database:
        assert "events" not in {row[0] for row in database.execute("SHOW TABLES").fetchall()}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="it takes root to give a file away")
def test_the_file_of_another_user_is_not_used(filled: Path) -> None:
    """It could lead to a server of that user."""
    written = control.make("http://127.0.0.1:1", "token", None)
    control.write(filled, written)
    assert control.read(filled) == written
    os.chown(filled.with_name(f"{filled.name}.control"), 12_345, -1)
    assert control.read(filled) is None


@pytest.mark.fault(126)
def test_only_the_owner_of_the_store_controls_it(filled: Path, tmp_path: Path, tokens: Path) -> None:
    """Neither a reader's token nor being on this machine is enough. The owner's is in a file for the owner only."""
    body = {"action": "forget", "arguments": ["anonymous"]}
    for file, headers in ((None, {}), (tokens, {"authorization": f"Bearer {READER}"})):
        with Collector(filled, tokens=file) as collector:
            url = f"{collector.url}/api/control"
            assert httpx.post(url, json=body, headers=headers, trust_env=False).status_code == 403
            written = filled.with_name(f"{filled.name}.control")
            if sys.platform != "win32":
                assert written.stat().st_mode & 0o777 == 0o600
            owner = {"authorization": f"Bearer {json.loads(written.read_text())['token']}"}
            for wrong in (
                {},
                {"action": "drop", "arguments": []},
                {"action": "export", "arguments": []},
                {"action": "forget", "arguments": 1},
            ):
                assert httpx.post(url, json=wrong, headers=owner, trust_env=False).status_code == 400
            rebound = owner | {"host": "evil.example"}
            assert httpx.post(url, json=body, headers=rebound, trust_env=False).status_code == 421
        assert not written.exists()
    with Store(filled, read_only=True) as store:
        assert len(store.report()["feature_usage"]) == 2
