"""A small application to watch: two agents, a command line and an HTTP API, each tracked as a real one would be."""
