"""Samples events, and records the rate on each kept one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_processors._conventions import is_error_level
from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_processors._scalars import flag_of, real_of
from automagik_processors.exceptions import Dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, WrappedLogger

_TRACE_ID_LENGTH = 32


class Sample:
    """Keep errors at `error_rate` and other events at `rate`, and raise `Dropped("sampled")` for the rest.

    An error is an event of level error or critical, or with `success=False`. An event with a trace ID is sampled by
    the ID's last 8 bytes, as OpenTelemetry's TraceIdRatioBased does, so that a trace is kept whole or not at all. A
    kept event has the rate as `sample_rate` if it is below 1, combined with the rate of an earlier sampling. Weight
    counts by 1 / sample_rate.

    In a sink's chain AUTOMAGIK_SAMPLING_RATE and AUTOMAGIK_ERROR_SAMPLING_RATE replace the rates.

    Args:
        rate: Sampling rate of events without an error, from 0 to 1. The default is 1, all of them.
        error_rate: Sampling rate of errors, likewise.
        random: Returns a float in [0, 1), to sample events without a trace ID. By default a random one.

    Raises:
        ValueError: A rate is not from 0 to 1.
    """

    def __init__(self, rate: float = 1.0, error_rate: float = 1.0, random: Callable[[], float] | None = None) -> None:
        self._rate = _checked("rate", rate)
        self._error_rate = _checked("error_rate", error_rate)
        self.keeps_all = self._rate == self._error_rate == 1.0
        """True if no event is ever dropped or changed."""
        self._random = random or ForkSafeRandom().random

    def with_rates(self, rate: float | None, error_rate: float | None) -> Sample:
        """Return a processor with other rates; None keeps a rate.

        Args:
            rate: The share of events to keep, from 0 to 1.
            error_rate: The share of errors to keep, from 0 to 1.

        Returns:
            This processor if both are None, else a new one.

        Raises:
            ValueError: A rate is outside [0, 1].
        """
        if rate is None and error_rate is None:
            return self
        return Sample(
            self._rate if rate is None else rate, self._error_rate if error_rate is None else error_rate, self._random
        )

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return the event, or raise `Dropped("sampled")`."""
        if self.keeps_all:
            return event_dict
        is_error = flag_of(event_dict.get("success")) is False or is_error_level(event_dict.get("level"))
        rate = self._error_rate if is_error else self._rate
        if rate >= 1.0:
            return event_dict
        earlier = real_of(event_dict.get("sample_rate"))
        if earlier is None or not 0.0 < earlier <= 1.0:
            earlier = 1.0
        trace_id = event_dict.get("trace_id")
        if is_id(trace_id, _TRACE_ID_LENGTH):
            # An earlier sampling looked at the same bits, so the lower of the two rates decides.
            kept, combined = int(trace_id[16:], 16) < round(rate * 2**64), min(rate, earlier)
        else:
            kept, combined = self._random() < rate, rate * earlier
        if not kept:
            raise Dropped("sampled")
        return {**event_dict, "sample_rate": combined}


def _checked(parameter: str, rate: float) -> float:
    if type(rate) not in (int, float) or not 0 <= rate <= 1:
        msg = f"Sample({parameter}={rate!r}): must be a number from 0 to 1"
        raise ValueError(msg)
    return float(rate)
