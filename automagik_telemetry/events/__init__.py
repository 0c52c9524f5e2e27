"""The declared events, and the calls that log them."""
