"""The steps of planning: pure functions, one a file."""
