"""The one command, ``expunge``: each verb parses, calls the library, and hands on the answer."""

from unlearn.cli.entry import main

__all__ = ["main"]
