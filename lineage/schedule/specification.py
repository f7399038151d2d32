"""A schedule as it is written down: everything but the salt, which is secret and passed apart."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from lineage.errors import ScheduleError
from lineage.schedule.mixer import LIMIT
from lineage.schedule.placement import Division
from lineage.schedule.risk import Risk
from lineage.schedule.sliced import stages_for
from lineage.schedule.stable import StableSchedule

Size = Annotated[int, Field(ge=1, le=LIMIT)]
Share = Annotated[int, Field(ge=1, le=10**6)]


class ScheduleSpec(BaseModel):
    """The schedule of one shard's run, frozen at its first train.

    ``nominal`` has the frozen size of each slice of *this* shard, so its length is the number of
    slices; other shards do not enter. A plain run is shard 0 of 1 with one slice. ``seed`` is below
    2**53, where every JSON reader keeps integers exact. ``epochs`` are those of the whole run, or
    one number a slice. ``shares``, ``risk`` and ``generation`` are those of the `Division`.

    Raises:
        ScheduleError: the shard does not exist, the epochs are too few for so many slices, or there
            is not one share a shard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stable/1"] = "stable/1"
    epochs: Size | tuple[Size, ...]
    batch_size: Size
    seed: int = Field(ge=0, lt=2**53)
    shards: Size
    shard: int = Field(ge=0)
    nominal: tuple[Size, ...] = Field(min_length=1)
    shares: tuple[Share, ...] | None = None
    risk: Risk | None = None
    generation: int = Field(default=0, ge=0, lt=2**53)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.shard >= self.shards:
            raise ScheduleError(f"there is no shard {self.shard} among {self.shards}")
        if self.shares is not None and len(self.shares) != self.shards:
            raise ScheduleError(f"{len(self.shares)} shares were given for {self.shards} shards")
        stages_for(self.epochs, self.nominal, self.batch_size)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_plain(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields, without those that a plain division has no use for."""
        fields: dict[str, Any] = serialised(self)
        plain = {"shares": None, "risk": None, "generation": 0}
        return {name: value for name, value in fields.items() if value != plain.get(name, ...)}

    @property
    def slices(self) -> int:
        """The number of slices, and of stages."""
        return len(self.nominal)

    @property
    def division(self) -> Division:
        """How records are spread over all shards and slices."""
        return Division(self.shards, self.slices, self.shares, self.risk, self.generation)

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

    @property
    def division(self) -> Division:
        """All records together."""
        return Division()


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
    return StableSchedule(salt, spec.seed, spec.shard, spec.division, stages)
