"""Datasets, their versions and transforms, and the fences around what is to be forgotten."""
