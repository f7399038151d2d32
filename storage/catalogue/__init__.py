"""The catalogue: SQLAlchemy tables, the engine that opens them, and their Alembic migrations."""

from storage.catalogue.engine import Catalogue, create_schema, migrate

__all__ = ["Catalogue", "create_schema", "migrate"]
