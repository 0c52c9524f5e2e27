"""The sampling processor of the telemetry sink: the rates of logging.yaml, or the environment's."""

from __future__ import annotations

from automagik_processors import Sample
from automagik_telemetry.settings import Settings


def sample(rate: float = 1.0, error_rate: float = 1.0) -> Sample:
    """Return the processor that keeps `rate` of the events and `error_rate` of the failures, both from 0 to 1.

    AUTOMAGIK_SAMPLING_RATE and AUTOMAGIK_ERROR_SAMPLING_RATE go first. Raises ValueError for what is no such rate.
    """
    Sample(rate, error_rate)  # what is given must be right even where the environment goes first
    settings = Settings.from_environ()
    chosen, of_errors = settings.default_sampling_rate, settings.error_sampling_rate
    return Sample(rate if chosen is None else chosen, error_rate if of_errors is None else of_errors)
