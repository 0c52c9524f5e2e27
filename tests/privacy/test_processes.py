"""Planted data of user and machine is neither on disk nor on the wire."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.privacy.search import Haystack, datum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.privacy.wire import Wire

APPLICATION = """
import getpass, logging, os, platform, pwd, socket, sys, uuid
host, user, address = sys.argv[1:4]
socket.gethostname = socket.getfqdn = platform.node = lambda *_: host
os.getlogin = getpass.getuser = lambda: user
uname = os.uname()
os.uname = lambda: os.uname_result((uname.sysname, host, uname.release, host, uname.machine))
platform.system = platform.machine = platform.processor = platform.python_version = platform.release = lambda: host
uuid.getnode = lambda: int.from_bytes(address.encode()[:6])

from automagik_telemetry import configure
from automagik_telemetry.events.catalogue import EVENTS

tracing = configure()
log = logging.getLogger("automagik.agents")
for event in EVENTS:
    log.error(event.name)
log.error("agent.run", extra={"agent_name": sys.argv[4], "environment": dict(os.environ), "here": os.getcwd()})
try:
    open(os.path.join(os.getcwd(), "missing"))
except OSError as error:
    log.exception("agent.error", extra={"error_type": type(error), "component": error})
    tracing.telemetry.track_error(repr(error), __file__)
tracing.telemetry.track_feature_usage("agents")
if "--crash" in sys.argv:
    os._exit(1)
assert tracing.flush(10)
"""


def test_a_process_reveals_nothing_of_its_user(
    environment: dict[str, str], wire: Wire, tmp_path: Path, count_cases: Callable[[int], None]
) -> None:
    """Host, user, folders, arguments, environment and a .netrc password for the endpoint are not sent."""
    generator = random.Random(5)

    def fresh(kind: str = "user_name") -> str:
        return datum(kind, generator).replace("/", "-").replace("\n", " ")

    host, user, address, argument, home, folder, script = (fresh() for _ in range(7))
    variables = {
        name: fresh("github pat")
        for name in (
            *("USER", "LOGNAME", "USERNAME", "HOSTNAME", "COMPUTERNAME", "PWD", "MAIL", "SSH_CONNECTION", "EMAIL"),
            *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"),
            *("PROCESSOR_ARCHITECTURE", "PROCESSOR_ARCHITEW6432", "AUTOMAGIK_ANYTHING"),
        )
    }
    variables["OTEL_RESOURCE_ATTRIBUTES"] = f"host.name={(resource := fresh())}"
    here, at_home = tmp_path / folder, tmp_path / home
    here.mkdir()
    at_home.mkdir()
    secret = fresh("npm")
    (at_home / ".netrc").write_text(f"machine 127.0.0.1 login me password {secret}\n")
    (at_home / ".netrc").chmod(0o600)
    program = here / f"{script}.py"
    program.write_text(APPLICATION)
    state = at_home / "state"
    given = {**environment, **variables, "HOME": str(at_home), "PATH": os.environ["PATH"]}
    given |= {"PYTHONPATH": os.pathsep.join(sys.path), "AUTOMAGIK_STATE_DIR": str(state)}
    kept = b""
    for crash in ("--crash", "--end"):  # the second process ships what the first one left
        command = [sys.executable, str(program), host, user, address, argument, crash]
        done = subprocess.run(command, env=given, cwd=here, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == (1 if crash == "--crash" else 0), done.stderr
        for path in state.rglob("*"):
            kept += str(path.relative_to(state)).encode() + (path.read_bytes() if path.is_file() else b"")
    sent = wire.content()
    assert sent.count(b'"system.startup"') == 2
    assert b"system.startup" in kept
    assert sent.count(b'{"key":"system.os","value":{"stringValue":"other"}}') == sent.count(b'"traceId"') > 20
    planted = [host, user, address, argument, home, folder, script, secret, resource, *variables.values()]
    haystack = Haystack(sent + kept)
    assert [text for text in planted if haystack.forms_of(text)] == []
    assert str(tmp_path).encode() not in sent + kept
    assert str(os.getuid()).encode() not in [part for request in wire.requests for part in request.head.split()]
    count_cases(2 * len(planted))
