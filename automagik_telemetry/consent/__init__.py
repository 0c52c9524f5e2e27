"""May an event be sent: the decision, what it follows from, and who is asked."""
