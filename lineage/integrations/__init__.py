"""Thin shells over frameworks; each is imported only by its user."""
