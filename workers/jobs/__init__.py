"""Background jobs: each an actor, a few lines around a plain function."""
