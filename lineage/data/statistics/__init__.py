"""Statistics of rows that can be added and subtracted exactly: moments, counts, token counts.

A statistic of some rows less that of a part of them equals, in bytes, the statistic of the others.
"""

from lineage.data.statistics.contract import Columns, Statistic
from lineage.data.statistics.counts import Counts, TokenCounts
from lineage.data.statistics.moments import Moments

KINDS: dict[str, type[Statistic]] = {kind.__name__: kind for kind in (Counts, Moments, TokenCounts)}
"""Every statistic by the name it is stored under."""

__all__ = ["KINDS", "Columns", "Counts", "Moments", "Statistic", "TokenCounts"]
