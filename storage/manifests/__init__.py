"""Record tables: Parquet chunks of rows and of their identities, and what was deleted of them."""

from storage.manifests.chunks import Chunk, identified, redact, same_rows, write_chunks
from storage.manifests.deletions import dump_bitmap, load_bitmap, version_digest
from storage.manifests.reading import (
    Index,
    ambiguous_types,
    decoded,
    find,
    no_rows,
    read_cells,
    read_commitments,
    read_identified,
    read_ids,
    read_index,
    read_names,
    read_rows,
)

__all__ = [
    "Chunk",
    "Index",
    "ambiguous_types",
    "decoded",
    "dump_bitmap",
    "find",
    "identified",
    "load_bitmap",
    "no_rows",
    "read_cells",
    "read_commitments",
    "read_identified",
    "read_ids",
    "read_index",
    "read_names",
    "read_rows",
    "redact",
    "same_rows",
    "version_digest",
    "write_chunks",
]
