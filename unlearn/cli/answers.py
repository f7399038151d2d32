"""The shapes of answers that are put together from several of the library's."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from lineage.data.version import Version
from lineage.provenance.listing import HoldDetail, PlacementOfModel, TrainingDetail, VersionOfModel
from unlearn.failed_twins import FailedTwin
from unlearn.request.listing import PlanSummary
from unlearn.withheld import WithheldAlias

if TYPE_CHECKING:
    from lineage.provenance.sql import Column, View


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Made(_Answer):
    """A store that was made or opened."""

    store: str


class Status(_Answer):
    """What is in a store, and what waits; runs and requests are counted by state.

    ``withheld`` are aliases that name nothing since a gate did not pass, and ``failed``
    versions whose twin differs. ``reshard`` lists placements that have borne more deletions than
    they should.
    """

    store: str
    datasets: int
    records: int
    models: int
    runs: Mapping[str, int]
    requests: Mapping[str, int]
    plans: tuple[PlanSummary, ...]
    holds: tuple[HoldDetail, ...]
    withheld: tuple[WithheldAlias, ...]
    failed: tuple[FailedTwin, ...]
    reshard: tuple[PlacementOfModel, ...]


class Registered(_Answer):
    """A dataset after rows were added; ``subjects`` is None where no column names them."""

    id: str
    name: str
    version: str
    sequence: int
    records: int
    subjects: int | None
    namespace: str
    digest: str

    @classmethod
    def of(cls, version: Version) -> Self:
        """The dataset whose version this is."""
        places = set(version.present.records.placement.tolist())
        return cls(
            id=version.dataset.id,
            name=version.dataset.name,
            version=version.id,
            sequence=version.row.sequence,
            records=version.row.live,
            subjects=len(places) if version.dataset.subject_columns else None,
            namespace=version.dataset.namespace,
            digest=version.row.digest,
        )


class Trained(_Answer):
    """A model version that was trained: ``version`` is its number, ``runs`` are in shard order."""

    id: str
    model: str
    version: int
    digest: str
    training: str
    runs: tuple[str, ...]
    checkpoints: Mapping[int, str]

    @classmethod
    def of(cls, version: VersionOfModel, training: TrainingDetail) -> Self:
        """A version and the training it came from."""
        return cls(
            id=version.id,
            model=version.model,
            version=version.sequence,
            digest=version.digest,
            training=training.id,
            runs=tuple(run.id for run in training.runs),
            checkpoints=version.members,
        )


class Predicted(_Answer):
    """What the members of a model version say together, a row a record."""

    id: str
    records: int
    output: str | None
    probabilities: tuple[tuple[float, ...], ...] | None


class ColumnOfView(_Answer):
    """A column of a view that a statement may ask; ``type`` is DuckDB's."""

    view: str
    column: str
    type: str
    about: str

    @classmethod
    def of(cls, view: "View", column: "Column") -> Self:
        """A column of this view."""
        return cls(view=view.name, column=column.name, type=column.type, about=column.about)


class Exported(_Answer):
    """The lineage of a run or training, written to a file of ``size`` bytes."""

    id: str
    format: str
    output: str
    size: int
