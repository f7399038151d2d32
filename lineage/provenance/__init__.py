"""The provenance graph and the questions asked of it."""
