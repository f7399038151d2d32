"""What a run works with: objects whose state is kept, and where it leaves what it does."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lineage.data.statistics import Statistic
from lineage.schedule.contract import Positions
from lineage.training.lap import Lap


class Stateful(Protocol):
    """Anything whose state can be taken and put back, as every torch module and optimizer can."""

    def state_dict(self) -> Any:
        """The state, as encodable values."""
        ...

    def load_state_dict(self, state_dict: Any) -> object:
        """Put a state back."""
        ...


class Recorder(Protocol):
    """Where a run leaves what it does; the executor behind it knows the store."""

    @property
    def visited(self) -> Callable[[int, Positions], None] | None:
        """Writes down which records a step was given; None where the schedule says it."""
        ...

    def checkpoint(self, step: int, state: Mapping[str, object], lap: Lap) -> None:
        """Keep the state after ``step`` steps."""
        ...

    def carried(self, ordinal: int, alias: str, wanted: Statistic) -> Statistic | None:
        """What a fit gives, where that follows without reading all rows; see `fits.carried`."""
        ...

    def fitted(self, ordinal: int, alias: str, value: object) -> None:
        """Keep what was fitted on all rows of an input that the run may see."""
        ...

    def evaluated(
        self, alias: str, step: int, metrics: Mapping[str, float], *, steers: bool = True
    ) -> None:
        """Keep a measure that may have steered a choice, or what the run does next."""
        ...
