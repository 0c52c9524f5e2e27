"""Events that are logged while the clock is wrong are sent once it is right: they do not expire by mistake."""

from __future__ import annotations

import pytest

from tests.faults.process import PRELUDE, deliver, run, sent
from tests.faults.server import Endpoint, closed_port

DAY = 86_400.0
WRONG = """
import time
right, right_ns = time.time, time.time_ns
begin = right()
def set_clock(seconds):
    "Let the clock have begun at so many seconds since 1970 when the process did."
    time.time = lambda: right() - begin + seconds
    time.time_ns = lambda: right_ns() + int((seconds - begin) * 1e9)
"""


@pytest.mark.fault(79)
@pytest.mark.parametrize("ending", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("clock", ["5.0", "946_684_800.0", "1_420_070_400.0", "begin + 4e9", "begin - 100.0"])
def test_a_clock_that_was_wrong(clock: str, ending: str) -> None:
    """The next process, with the right time, sends what was logged in 1970, 2000, 2015 or the next century."""
    port = closed_port()
    run(f"http://127.0.0.1:{port}", f"log(0)\n{ending}", f"{WRONG}set_clock({clock})\n{PRELUDE}")
    with Endpoint(port=port) as endpoint:
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(79)
def test_a_clock_that_is_set_meanwhile() -> None:
    """A process that lives through the correction knows the age of its events, however wrong the clock was."""
    port = closed_port()
    code = "log(0)\nset_clock(begin)\nlog(1)"
    prelude = f"{WRONG}set_clock(begin - {30 * DAY})\n{PRELUDE}"
    run(f"http://127.0.0.1:{port}", code, prelude)
    with Endpoint(port=port) as endpoint:
        deliver(endpoint)
    assert endpoint.accepted == sent(0, 1)


@pytest.mark.fault(79)
def test_a_clock_that_stays_wrong() -> None:
    """In 1970 events of today are sent, too, and those of 1970."""
    port = closed_port()
    run(f"http://127.0.0.1:{port}", "log(0)")
    wrong = f"{WRONG}set_clock(5.0)\n{PRELUDE}"
    run(f"http://127.0.0.1:{port}", "log(1)", wrong)
    with Endpoint(port=port) as endpoint:
        assert run(endpoint.url, "emit(tracing.flush(20))", wrong).lines == ["True"]
    assert sorted(endpoint.accepted) == sorted(sent(0, 1))
