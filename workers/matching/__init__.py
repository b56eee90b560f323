"""The matcher: read, apply, commit, publish, ack."""
