"""OTLP over HTTP: one POST, and the meaning of its answer."""
