"""Every view that a statement may name."""

from lineage.provenance.sql.catalogue import CATALOGUE_VIEWS
from lineage.provenance.sql.records import RECORDS
from lineage.provenance.sql.visits import EXPOSURES

VIEWS = (*CATALOGUE_VIEWS, RECORDS, EXPOSURES)
