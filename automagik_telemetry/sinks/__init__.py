"""Where events go: what the telemetry sink sends, and how OTLP travels over HTTP."""
