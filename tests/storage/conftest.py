"""A new catalogue for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.catalogue import Catalogue, create_schema


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """A new one, ``catalogue.db``."""
    opened = Catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}")
    create_schema(opened.engine)
    yield opened
    opened.close()
