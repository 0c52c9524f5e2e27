"""Full traces to LangWatch: the handler, and the processor that encodes a trace for it."""
