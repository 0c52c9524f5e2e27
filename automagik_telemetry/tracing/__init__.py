"""Full traces of agent runs: recorded span by span, sampled at their end, and logged as one record."""
