"""Formats: one file writes a cohort in the form its recipients use, marked as synthetic."""
