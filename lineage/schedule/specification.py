"""A schedule as it is written down: everything but the salt, which is secret and passed apart."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lineage.errors import ScheduleError
from lineage.schedule.mixer import LIMIT
from lineage.schedule.sliced import stages_for
from lineage.schedule.stable import StableSchedule

Size = Annotated[int, Field(ge=1, le=LIMIT)]


class ScheduleSpec(BaseModel):
    """The schedule of one shard's run, frozen at its first train.

    ``nominal`` has the frozen size of each slice of *this* shard, so its length is the number of
    slices; other shards do not enter. A plain run is shard 0 of 1 with one slice. ``seed`` is below
    2**53, where every JSON reader keeps integers exact.

    Raises:
        ScheduleError: the shard does not exist, or the epochs are too few for so many slices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stable/1"] = "stable/1"
    epochs: Size
    batch_size: Size
    seed: int = Field(ge=0, lt=2**53)
    shards: Size
    shard: int = Field(ge=0)
    nominal: tuple[Size, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.shard >= self.shards:
            raise ScheduleError(f"there is no shard {self.shard} among {self.shards}")
        stages_for(self.epochs, self.nominal, self.batch_size)
        return self

    @property
    def slices(self) -> int:
        """The number of slices, and of stages."""
        return len(self.nominal)

    @property
    def steps(self) -> int:
        """The nominal number of steps of the run."""
        stages = stages_for(self.epochs, self.nominal, self.batch_size)
        return sum(stage.epochs * stage.steps_per_epoch for stage in stages)


class _OneShard(BaseModel):
    """What is not spread over shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def shards(self) -> int:
        """One."""
        return 1

    @property
    def shard(self) -> int:
        """The only one."""
        return 0


class RecordedSpec(_OneShard):
    """The schedule of a run whose order is drawn as it trains, by a loader of the program's own.

    ``epochs`` is null where the loop itself decides when to end: such a run is observed, and never
    executed again. ``nominal`` has the number of records when it was first trained. There is one
    shard: an order that is drawn over all records isolates none.
    """

    kind: Literal["recorded/1"] = "recorded/1"
    epochs: Size | None
    seed: int = Field(ge=0, lt=2**53)
    nominal: tuple[Size]

    @property
    def steps(self) -> None:
        """Not known before it was drawn."""
        return None


class NoStepsSpec(_OneShard):
    """No schedule: the run takes no step, and makes its state of the models that it is given."""

    kind: Literal["none"] = "none"
    epochs: Literal[0] = 0
    seed: int = Field(ge=0, lt=2**53)
    nominal: tuple[()] = ()

    @property
    def steps(self) -> int:
        """None at all."""
        return 0


def schedule_for(spec: ScheduleSpec, salt: bytes) -> StableSchedule:
    """Build the schedule of a specification under its dataset's schedule salt (16 to 64 bytes).

    Raises:
        ScheduleError: the salt has another length.
    """
    stages = stages_for(spec.epochs, spec.nominal, spec.batch_size)
    return StableSchedule(salt, spec.seed, spec.shard, spec.shards, stages)
