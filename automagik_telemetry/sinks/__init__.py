"""The destinations of events, one module or folder each."""
