"""A reloaded module or a second import of the package changes nothing: events are sent, and only once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.process import PRELUDE, deliver, run, sent
from tests.faults.server import Endpoint

pytestmark = pytest.mark.slow

MODULES = (
    PRELUDE
    + """
import importlib, pkgutil
import structlog
import automagik_processors

def log_by_structlog(number):
    ids = {"trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}"}
    structlog.wrap_logger(structlog.ReturnLogger()).info("agent.run", agent_name="simple", success=True, **ids)

def modules():
    for package in (automagik_telemetry, automagik_processors):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__") and ".collector" not in found.name:
                yield found.name

def workers():
    # Those that were stopped end in a moment.
    deadline = time.monotonic() + 20
    while True:
        number = [thread.name for thread in threading.enumerate()].count("automagik-telemetry")
        if number <= 1 or time.monotonic() > deadline:
            return number
        time.sleep(0.01)

names = list(modules())
for name in names:
    importlib.import_module(name)
"""
)


@pytest.mark.fault(80)
def test_every_module_is_reloaded() -> None:
    """Each module is reloaded in turn, with events before and after, by old and new names, configured again or not."""
    code = """
        number = 0
        for name in names:
            log(number)
            importlib.reload(sys.modules[name])
            log(number + 1)
            log_by_structlog(number + 2)
            automagik_telemetry.configure()
            log(number + 3)
            tracing.telemetry.track_feature_usage("workflows")
            number += 4
        assert workers() == 1
        assert not automagik_telemetry.get_tracing_manager().telemetry.get_metrics()["tracer"]["dropped"]
        if (pid := os.fork()) == 0:  # the ids and the session of the child are its own
            log(number)
            tracing.telemetry.track_feature_usage("workflows")
            automagik_telemetry.get_tracing_manager().flush(20)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        emit(automagik_telemetry.get_tracing_manager().flush(20))
        emit(number)
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, MODULES)
    assert (ended.status, ended.lines[0]) == (0, "True")
    number = int(ended.lines[1])
    assert number > 400
    counts = Counter(endpoint.accepted)
    assert set(counts.values()) == {1}
    logged = set(sent(*range(number + 1)))
    assert logged <= set(counts)
    assert len(counts) == len(logged) + number // 4 + 1  # and those of `track_feature_usage`


@pytest.mark.fault(80)
@pytest.mark.parametrize("start", ["configure", "get_tracing_manager"])
def test_the_package_is_imported_anew(start: str) -> None:
    """A server that reloads its code imports the package anew; objects of the old import still work, too."""
    code = f"""
        managers, number = [tracing], 0
        for _ in range(4):
            for name in list(sys.modules):
                if name.startswith(("automagik_telemetry", "automagik_processors")):
                    del sys.modules[name]
            log(number)
            import automagik_telemetry
            managers.append(automagik_telemetry.{start}())
            log(number + 1)
            log_by_structlog(number + 2)
            for manager in managers:
                manager.telemetry.track_feature_usage("workflows")
            if (pid := os.fork()) == 0:
                log(number + 3)
                log_by_structlog(number + 4)
                automagik_telemetry.get_tracing_manager().flush(20)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            number += 5
        assert workers() == 1
        emit(number)
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, MODULES)
        assert (ended.status, ended.lines) == (0, ["20"])
        deliver(endpoint)
    counts = Counter(endpoint.accepted)
    assert set(sent(*range(20))) <= set(counts)
    assert len(counts) == 20 + 2 + 3 + 4 + 5
