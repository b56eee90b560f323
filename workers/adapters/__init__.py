"""The outside: one module per outside thing; errors are translated here."""
