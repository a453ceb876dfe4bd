"""Phantoms: one file writes one download layout with procedural anatomy whose truth is known."""
