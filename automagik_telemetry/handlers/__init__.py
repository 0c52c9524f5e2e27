"""From a log call to an encoded event: loggers, records, handlers and their chains of processors."""
