"""Studies: many runs under one protocol."""
