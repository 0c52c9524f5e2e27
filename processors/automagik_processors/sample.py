"""Keeps a share of the events, and says on each which share it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_processors._conventions import is_error_level
from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_processors.exceptions import Dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, WrappedLogger

_TRACE_ID_LENGTH = 32


class Sample:
    """Keep errors at `error_rate` and everything else at `rate`, both shares from 0 to 1.

    An error is an event of level error or critical, or with `success=False`. An event with a trace id is decided
    by the id's last 8 bytes, as OpenTelemetry's TraceIdRatioBased does, so a trace is kept whole or not at all;
    any other by `random()`, a float in [0, 1). What is kept at a rate below 1 gets it as `sample_rate`, combined
    with the rate of an earlier sampling, so that counts can be weighted by 1 / sample_rate.

    Raises `Dropped("sampled")` for the rest. The constructor raises ValueError for a rate outside [0, 1].
    """

    def __init__(self, rate: float = 1.0, error_rate: float = 1.0, random: Callable[[], float] | None = None) -> None:
        self._rate = _checked("rate", rate)
        self._error_rate = _checked("error_rate", error_rate)
        self.keeps_all = self._rate == self._error_rate == 1.0
        """Whether nothing is ever dropped, nor changed."""
        self._random = random or ForkSafeRandom().random

    def __call__(self, _logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        """Return the event, or raise `Dropped("sampled")`."""
        if self.keeps_all:
            return event_dict
        is_error = event_dict.get("success") is False or is_error_level(event_dict.get("level"))
        rate = self._error_rate if is_error else self._rate
        if rate >= 1.0:
            return event_dict
        earlier = event_dict.get("sample_rate")
        if type(earlier) is not float or not 0.0 < earlier <= 1.0:
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
        msg = f"Sample({parameter}={rate!r}): allowed is a number from 0 to 1"
        raise ValueError(msg)
    return float(rate)
