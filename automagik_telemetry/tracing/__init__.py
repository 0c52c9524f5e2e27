"""Full traces of agent runs: collected span by span, sampled with hindsight, logged whole to the user's own account."""
