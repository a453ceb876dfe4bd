"""Extractors: one file = one feature space with its own weights."""
