"""What is stored, streamed to files: `source` reads, the others write, each a format."""
