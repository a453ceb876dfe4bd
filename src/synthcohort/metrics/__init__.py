"""Metrics: one file = one metric or audit, on arrays."""
