"""The catalogue: SQLAlchemy tables, the engine that opens them, and their Alembic migrations."""

from storage.catalogue.engine import Catalogue, migrate

__all__ = ["Catalogue", "migrate"]
