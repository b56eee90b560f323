"""The participants of a market that is made up: pure decisions, and what brings them to it."""
