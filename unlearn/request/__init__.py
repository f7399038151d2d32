"""Requests to forget and their lifecycle."""
