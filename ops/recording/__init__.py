"""Recorded orders, played back against a running exchange at the pace at which they came."""
