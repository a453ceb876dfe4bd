"""Generators: one file = one generator, or one family with a shared architecture."""
