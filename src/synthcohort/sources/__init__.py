"""Sources: one file reads one download layout exactly as users get it."""
