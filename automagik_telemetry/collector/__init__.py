"""An OTLP receiver with an embedded store and a report (extra `collector`)."""
