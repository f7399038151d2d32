"""``none``: a run that takes no step, and so trains on no record."""

from collections.abc import Iterator
from dataclasses import dataclass

from lineage.schedule.contract import Epoch, Records


@dataclass(frozen=True)
class NoSteps:
    """No record is ever visited; implements ``Forward``."""

    steps: int = 0
    boundaries: tuple[int, ...] = (0,)

    def epochs(self, records: Records, start: int = 0) -> Iterator[Epoch]:
        """There are none."""
        return iter(())
