"""An application's use of logging and threads harms neither it nor its events."""

from __future__ import annotations

import pytest

from tests.faults.process import deliver, run, sent
from tests.faults.server import Endpoint, closed_port

METRICS = """
tracer = tracing.telemetry.get_metrics()["tracer"]
assert tracer["queued"] == tracer["processed"] + tracer["dropped"] + tracer["pending"], tracer
"""


@pytest.mark.fault(41)
def test_logging_after_logging_shutdown() -> None:
    """It closes our handler; the next event starts it again."""
    code = """
        log(0)
        logging.shutdown()
        log(1)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True"]
    assert sorted(endpoint.accepted) == sorted(sent(0, 1))


@pytest.mark.fault(40, 41)
def test_logging_while_the_process_ends() -> None:
    """In an atexit function that runs after ours, and in a finalizer at the very end: silent, and on disk."""
    code = """
        import atexit
        log(0)

        class Last:
            def __del__(self):
                log(2)

        last = Last()
        late = [lambda: log(1)]
        for function in late:
            atexit.register(function)
        from automagik_telemetry.export import _pipeline as pipeline
        atexit.unregister(pipeline._at_exit)
        atexit.register(pipeline._at_exit)  # the last that is registered runs first
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).status == 0
        deliver(endpoint)
    assert sorted(endpoint.accepted) == sorted(sent(0, 1, 2))


@pytest.mark.fault(44)
def test_the_applications_dict_config_closes_our_handler() -> None:
    """Run after ours it closes every handler; while ours is attached, the next event goes on."""
    code = """
        import logging.config
        log(0)
        (handler,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        logging.getLogger("automagik").addHandler(handler)
        log(1)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True"]
    assert sorted(endpoint.accepted) == sorted(sent(0, 1))


@pytest.mark.fault(44, 45)
def test_dict_config_races_with_events() -> None:
    """An application that reconfigures logging while it logs, our handler included: no deadlock, no loss."""
    code = """
        import logging.config
        from automagik_telemetry.handlers.handler import BatchQueueHandler

        handle, seen, made = BatchQueueHandler.handle, [], []
        def watched(handler, record):
            handle(handler, record)
            seen.append(record.span_id)
            if not made or made[-1] is not handler:
                made.append(handler)  # so that none is lost with what it counted
        BatchQueueHandler.handle = watched
        chain = {
            "()": "automagik_telemetry.ChainFormatter",
            "processors": [{"()": "automagik_telemetry.Anonymize"}, {"()": "automagik_telemetry.OTLP"}],
        }
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"chain": chain},
            "handlers": {"usage": {"()": "automagik_telemetry.telemetry_handler", "formatter": "chain"}},
            "loggers": {"automagik": {"level": "INFO", "handlers": ["usage"]}},
        }

        def configure():
            for _ in range(30):
                logging.config.dictConfig(config)
            done.set()

        done = threading.Event()
        configuring = threading.Thread(target=configure)
        configuring.start()
        number = 0
        while not done.is_set() or number < 1000:
            log(number)
            number += 1
            time.sleep(0)
        configuring.join()
        emit(len(seen))
        emit(all(handler.metrics()["tracer"]["dropped"] == 0 for handler in made))
        for each in seen:
            emit(each)
    """
    with Endpoint() as endpoint:
        count, kept, *seen = run(endpoint.url, code).lines
        deliver(endpoint)
    assert (int(count), kept) == (len(seen), "True")
    assert len(seen) >= 1000
    assert sorted(endpoint.accepted) == sorted(sent(*(int(each, 16) - 1 for each in seen)))


@pytest.mark.fault(45)
def test_closing_races_with_events() -> None:
    """Closing and logging at the same time neither blocks nor loses an event."""
    code = """
        (handler,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
        done = threading.Event()
        def close():
            while not done.is_set():
                handler.close()
        closer = threading.Thread(target=close)
        closer.start()
        for number in range(2000):
            log(number)
        done.set()
        closer.join()
        emit(tracing.flush(15))
    """ + METRICS.replace("\n", "\n        ")
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True"]
        deliver(endpoint)
    assert sorted(set(endpoint.accepted)) == sorted(sent(*range(2000)))


@pytest.mark.fault(43)
def test_a_finalizer_or_a_signal_handler_logs_while_an_event_is_queued() -> None:
    """At any instruction: no deadlock, and every event is delivered or counted."""
    code = """
        class Noisy:
            def __init__(self):
                self.itself = self  # so that the garbage collector finds it, at a moment of its own

            def __del__(self):
                calls.append(None)
                log(len(calls) + 1_000_000)

        def handle(*_):
            calls.append(None)
            log(len(calls) + 2_000_000)

        import gc
        gc.set_threshold(1, 1, 1)
        calls = []
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for number in range(3000):
            Noisy()
            log(number)
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.disable()
        emit(tracing.flush(15))
        tracer = tracing.telemetry.get_metrics()["tracer"]
        assert tracer["queued"] == tracer["processed"] + tracer["dropped"], tracer
        assert tracer["queued"] == 3000 + len(calls), (tracer, len(calls))
        assert set(tracer["dropped_by_reason"]) <= {"reentrant"}, tracer
        emit(tracer["processed"])
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code)
        assert ended.lines[0] == "True"
        assert len(endpoint.accepted) == int(ended.lines[1]) >= 3000


@pytest.mark.fault(43)
def test_a_signal_handler_shuts_down() -> None:
    """Closing from a handler that interrupts a logging call does not wait for that call."""
    code = """
        def handle(*_):
            tracing.flush(1)
            tracing.shutdown()
            signal.setitimer(signal.ITIMER_REAL, 0.003)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        for number in range(2000):
            log(number)
        signal.setitimer(signal.ITIMER_REAL, 0)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True"]
        deliver(endpoint)
    assert sorted(set(endpoint.accepted)) == sorted(sent(*range(2000)))


@pytest.mark.fault(46)
def test_a_processor_that_raises() -> None:
    """The event is dropped and counted, with one warning and no exception; the next event is sent."""
    code = """
        (handler,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
        chain = handler.formatter
        warnings = []
        ours = logging.getLogger("automagik_telemetry")
        ours.addHandler(keep := logging.Handler())
        ours.propagate = False
        keep.emit = lambda record: warnings.append(record.getMessage())

        def broken(*_):
            raise RuntimeError("secret")

        handler.setFormatter(type(chain)([broken, *chain.processors]))
        log(0)
        log(1)
        handler.setFormatter(chain)
        log(2)
        emit(tracing.flush(15))
        emit(warnings)
        emit(tracing.telemetry.get_metrics()["tracer"]["dropped_by_reason"])
    """
    with Endpoint() as endpoint:
        flushed, warnings, dropped = run(endpoint.url, code).lines
    assert flushed == "True"
    assert warnings == "['sink telemetry dropped an event: RuntimeError; more are only counted']"
    assert dropped == "{'processor_error': 2}"
    assert endpoint.accepted == sent(2)


@pytest.mark.fault(42)
def test_no_feedback_loop() -> None:
    """With our handler on the root logger at DEBUG and an endpoint that is down, our own records are not events."""
    code = """
        (handler,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.DEBUG)
        log(0)
        emit(tracing.flush(0.5))
        tracer = tracing.telemetry.get_metrics()["tracer"]
        emit(tracer["pending"])
    """
    ended = run(f"http://127.0.0.1:{closed_port()}", code)
    assert ended.lines == ["False", "1"]


@pytest.mark.fault(35)
@pytest.mark.parametrize("switch", ["DO_NOT_TRACK", "AUTOMAGIK_DISABLE_ALL_TRACING"])
def test_consent_withdrawn_between_processes(switch: str) -> None:
    """A process that a variable opts out sends nothing. What another process queued with consent waits for a third."""
    with Endpoint() as endpoint:
        run(endpoint.url, "log(0)")
        run(endpoint.url, f"os.environ['{switch}'] = '1'; log(1); emit(tracing.flush(5))")
        assert endpoint.requests == []
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(88)
@pytest.mark.parametrize("name", ["automagik_telemetry.events", "automagik"])
def test_a_second_handler_gets_what_is_tracked(name: str) -> None:
    """On the logger of `track_*` it gets each of these events, with its fields; one on the logger above gets none."""
    code = f"""
        records = []

        class Second(logging.Handler):
            def emit(self, record):
                records.append((record.getMessage(), record.feature_name))

        tracing.telemetry.track_feature_usage("before")
        logging.getLogger({name!r}).addHandler(Second(level=1))
        tracing.telemetry.track_feature_usage("first")
        tracing.telemetry.track_feature_usage("second")
        emit(tracing.flush(15))
        emit(records)
    """
    found = [("feature.used", "first"), ("feature.used", "second")] if name == "automagik_telemetry.events" else []
    with Endpoint() as endpoint:
        assert run(endpoint.url, code).lines == ["True", str(found)]
    assert len(endpoint.accepted) == 3
