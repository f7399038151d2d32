"""Recorded visits: which records a run was given in which batch, where no function can say.

A recording is written as *logs*, in the order in which things happened, and compacted into files
that are sorted by record. Both answer the same two questions; see `reading.Exposures`.

A *batch* here is what was drawn at once: an optimizer step has one, or several that it accumulates.
"""

from storage.exposures.compaction import compact
from storage.exposures.files import File, Kind
from storage.exposures.log import Batch, Log, merge
from storage.exposures.reading import Batches, Exposures, Found

__all__ = ["Batch", "Batches", "Exposures", "File", "Found", "Kind", "Log", "compact", "merge"]
