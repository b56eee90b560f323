"""The core: pure, synchronous, deterministic."""
