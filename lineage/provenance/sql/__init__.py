"""Read-only SQL over a store: one SELECT over views of its manifests, runs and exposures.

DuckDB is an engine here and never the truth: the views are drawn from the store while a statement
is carried out, and only those that it names.
"""

from lineage.provenance.sql.engine import Answer, query
from lineage.provenance.sql.view import Column, View
from lineage.provenance.sql.views import VIEWS

__all__ = ["VIEWS", "Answer", "Column", "View", "query"]
