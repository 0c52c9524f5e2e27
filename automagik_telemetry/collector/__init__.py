"""An OTLP receiver with an embedded store, and the questions it answers (extra `collector`)."""
