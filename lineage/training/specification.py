"""A run as it is written down: all that decides its result, but data, source and the salt."""

from typing import Annotated, Any, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lineage.errors import ProgramError
from lineage.schedule import NoStepsSpec, RecordedSpec, ScheduleSpec


class RunSpec(BaseModel):
    """The frozen specification of one run.

    ``handles`` says per alias what a program may know of a dataset: nominal length, columns and
    numbers of categories. ``train`` is the alias whose records the schedule spreads over steps;
    a run without steps trains on none.
    ``restore`` names the tracked objects that a start from another run's checkpoint fills. With a
    ``world_size``, so many processes train together, each on its share of every batch.

    Raises:
        ProgramError: a setting in ``config`` has no exact canonical JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[ScheduleSpec | RecordedSpec | NoStepsSpec, Field(discriminator="kind")]
    train: str | None
    handles: dict[str, "HandleSpec"]
    config: dict[str, Any] = Field(default_factory=dict)
    restore: tuple[str, ...] = ()
    min_batch: int = Field(default=2, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    world_size: int = Field(default=1, ge=1)

    @field_validator("config")
    @classmethod
    def _can_be_kept(cls, config: dict[str, Any]) -> dict[str, Any]:
        try:
            rfc8785.dumps(config)
        except rfc8785.CanonicalizationError as error:
            raise ProgramError(
                f"a setting of the program cannot be kept exactly: {error}",
                hint="pass infinities, NaN and whole numbers above 2**53 as text",
            ) from error
        return config

    @model_validator(mode="after")
    def _trains_where_it_has_steps(self) -> Self:
        if (self.train is None) != (self.schedule.kind == "none"):
            raise ValueError("a run trains on a dataset exactly where it has steps")
        return self

    @property
    def seed(self) -> int:
        """The seed of the run's random numbers: the schedule's, apart for every shard."""
        return (self.schedule.seed * 0x9E3779B97F4A7C15 + self.schedule.shard) % 2**63


class HandleSpec(BaseModel):
    """What a program is told of a dataset, and how its categories are coded for it.

    ``categories`` counts the codes of each categorical column. ``codes`` belong to a column that
    another dataset of the run codes: they give, for each code of this dataset, the code in the run;
    None for a label that the other dataset does not have. A column in ``unlike`` is a category in
    one dataset and something else in the other, so it cannot be read here. Runs from before there
    was one vocabulary have neither, and are repeated with the codes of each dataset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    nominal: int
    columns: tuple[str, ...]
    categories: dict[str, int]
    codes: dict[str, tuple[int | None, ...]] = Field(default_factory=dict)
    unlike: tuple[str, ...] = ()
