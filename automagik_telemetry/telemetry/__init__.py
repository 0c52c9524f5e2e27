"""Anonymous usage: what can be said, in which words, and the calls that say it."""
