"""Network parts used by several rooms."""
