"""One line each for agents, command lines and web applications."""
