"""A client of the public API: its messages, its WebSocket, and what it keeps of a market."""
