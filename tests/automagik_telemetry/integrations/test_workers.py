"""Events of worker processes of applications that only log are delivered, however these start and end."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.process import environ
from tests.faults.server import PATIENCE, Endpoint

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="workers that fork")]

# The application's own configuration, in which our handler is one of its handlers; and its own structlog chain.
LOGGING = """
import logging.config
import structlog

from automagik_telemetry import emit_event

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "anonymous": {
                "()": "automagik_telemetry.ChainFormatter",
                "processors": [{"()": "automagik_telemetry.Anonymize"}, {"()": "automagik_telemetry.OTLP"}],
            }
        },
        "handlers": {"usage": {"()": "automagik_telemetry.telemetry_handler", "formatter": "anonymous"}},
        "loggers": {"automagik": {"level": "INFO", "handlers": ["usage"]}},
    }
)
structlog.configure(
    processors=[emit_event, structlog.processors.JSONRenderer()],
    logger_factory=structlog.PrintLoggerFactory(open("/dev/null", "w")),
)

def work():
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple", "success": True})
    structlog.get_logger().info("feature.used", feature_name="agents")
"""
MULTIPROCESSING = """
import multiprocessing, sys
from application import work

if __name__ == "__main__":
    work()
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2, maxtasksperchild=2) as pool:
        pool.starmap(work, [()] * 4, chunksize=1)
    child = context.Process(target=work)
    child.start()
    child.join()
"""
CELERY = """
import os
from celery import Celery
from application import work

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "queue")
os.makedirs(folder, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder},
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)

@app.task
def task():
    work()

if __name__ == "__main__":
    for _ in range(6):
        task.delay()
"""


def flush(variables: dict[str, str]) -> None:
    """Run the command that sends the remaining events."""
    command = [sys.executable, "-m", "automagik_telemetry", "flush"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.fault(38)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """No event of terminated pool workers or of processes is lost or sent twice."""
    (tmp_path / "application.py").write_text(LOGGING)
    (tmp_path / "main.py").write_text(MULTIPROCESSING)
    with Endpoint() as endpoint:
        variables = environ(endpoint.url, PYTHONWARNINGS="ignore")
        done = subprocess.run(
            [sys.executable, tmp_path / "main.py", method], env=variables, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        flush(variables)
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) == 2 * (1 + 4 + 1)


@pytest.mark.fault(37)
def test_celery(tmp_path: Path) -> None:
    """Tasks in Celery's prefork workers, which set up logging themselves, deliver while the worker runs."""
    (tmp_path / "application.py").write_text(LOGGING)
    (tmp_path / "tasks.py").write_text(CELERY)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with Endpoint() as endpoint:
        variables = environ(
            endpoint.url, PYTHONWARNINGS="ignore", PYTHONPATH=str(tmp_path), AUTOMAGIK_TRACE_SCHEDULE_DELAY="0.1"
        )
        subprocess.run([sys.executable, "tasks.py"], cwd=tmp_path, env=variables, check=True)
        with subprocess.Popen(
            [*command, *quiet], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as worker:
            try:
                endpoint.wait_for(lambda: len(endpoint.accepted) >= 12)
                worker.send_signal(signal.SIGTERM)
                output, _ = worker.communicate(timeout=PATIENCE)
            finally:
                worker.kill()
        assert "Traceback" not in output, output
        flush(variables)
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) == 12
