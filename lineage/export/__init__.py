"""Lineage for other tools: W3C PROV documents and OpenLineage events, without anybody's id."""
