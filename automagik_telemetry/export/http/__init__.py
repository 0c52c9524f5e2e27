"""OTLP over HTTP: one POST, and the classification of its response."""
