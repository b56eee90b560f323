"""Everything behind the stream: the core, its adapters, the matcher and the jobs."""
