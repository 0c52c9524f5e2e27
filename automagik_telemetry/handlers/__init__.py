"""Loggers, records, handlers and chains of processors: the path from a log call to an encoded event."""
