"""The answers of listings: frozen, typed, and without anybody's id."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A frozen answer; made field by field, or of the attributes of a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class DatasetSummary(Answer):
    """A dataset and the version that new runs read."""

    id: str
    name: str
    namespace: str
    version: str
    sequence: int
    records: int
    created_at: datetime


class VersionOfData(Answer):
    """An immutable version of a dataset: ``rows`` positions, of which ``records`` are present."""

    id: str
    dataset: str
    sequence: int
    records: int
    rows: int
    digest: str
    reason: str
    created_at: datetime


class ColumnOfData(Answer):
    """A declared column; ``categories`` counts its codes."""

    name: str
    kind: str
    nullable: bool
    categories: int


class DatasetDetail(DatasetSummary):
    """A dataset with its columns and versions; ``subjects`` is None where no column names them."""

    subjects: int | None
    id_columns: tuple[str, ...]
    subject_columns: tuple[str, ...]
    columns: tuple[ColumnOfData, ...]
    versions: tuple[VersionOfData, ...]


class RunSummary(Answer):
    """A run of which ``step`` of ``steps`` are done; a replay belongs to no training.

    ``steps`` is null where a loader of the program's own decides when to end.
    """

    id: str
    model: str | None
    training: str | None
    replay_of: str | None
    shard: int
    state: str
    step: int
    steps: int | None


class CheckpointDetail(Answer):
    """Training state after ``step`` steps of a run; ``visits`` and ``seconds`` since the last.

    An ``edition`` other than 0 is a state that changed without a step, after the one before it,
    from which it descends: it carries the influence of all steps of the run up to there.
    """

    id: str
    run: str
    step: int
    edition: int
    visits: int
    seconds: float
    segment: str
    digest: str
    size: int
    created_at: datetime
    purged_at: datetime | None


class RunDetail(RunSummary):
    """A run with what decides its result and what it left.

    ``inputs`` maps alias to dataset version, ``given`` to the checkpoints of a model, by shard.
    ``fits`` are the ids of what it fitted, in order. ``untracked`` is what the program was found to
    keep between steps and not to track; null where nobody has looked, before a first checkpoint.
    """

    program: str
    start: str | None
    inputs: Mapping[str, str]
    given: Mapping[str, Mapping[int, str]]
    specification: Mapping[str, Any]
    created_at: datetime
    ended_at: datetime | None
    fits: tuple[str, ...]
    untracked: tuple[str, ...] | None
    checkpoints: tuple[CheckpointDetail, ...]


class TrainingDetail(Answer):
    """One ``train``: its runs, a shard each."""

    id: str
    model: str
    state: str
    created_at: datetime
    ended_at: datetime | None
    runs: tuple[RunSummary, ...]


class ModelSummary(Answer):
    """A model and its newest version that was not purged; ``aliases`` maps alias to version."""

    id: str
    name: str
    version: str | None
    sequence: int | None
    digest: str | None
    aliases: Mapping[str, str]
    retired_at: datetime | None


class VersionOfModel(Answer):
    """A version of a model; ``members`` maps shard to checkpoint, ``live`` while it is in use.

    ``aggregation`` is how they answer together; of the shards ``without``, there is no member.
    """

    id: str
    model: str
    sequence: int
    aggregation: str
    digest: str
    interim: bool
    live: bool
    aliases: tuple[str, ...]
    publications: tuple[str, ...]
    plan: str | None
    replaces: str | None
    members: Mapping[int, str]
    without: tuple[int, ...]
    created_at: datetime
    purged_at: datetime | None


class PlacementOfModel(Answer):
    """The placement of a model's newest version, drawn anew with each ``generation``.

    Of the ``records`` it was drawn for, so many have been ``deleted``; ``due`` past the cap.
    """

    model: str
    generation: int
    records: int
    deleted: int
    due: bool


class ModelDetail(ModelSummary):
    """A model and every version it ever had; without shards and slices it has no placement."""

    placement: PlacementOfModel | None
    versions: tuple[VersionOfModel, ...]


class PartDetail(Answer):
    """The rows that one ``dataset add`` or transform brought."""

    id: str
    dataset: str = Field(validation_alias="dataset_id")
    first_position: int
    rows: int
    source: str
    created_at: datetime


class ChunkDetail(Answer):
    """A run of positions, and the objects that hold them."""

    id: str
    part: str = Field(validation_alias="part_id")
    first_position: int
    rows: int
    manifest: str
    data: str


class RedactionDetail(Answer):
    """An object that a plan replaced by one without forgotten rows."""

    id: str
    chunk: str = Field(validation_alias="chunk_id")
    plan: str = Field(validation_alias="plan_id")
    kind: str
    old: str
    new: str
    created_at: datetime


class TransformDetail(Answer):
    """One execution of a transform, which wrote ``rows`` positions of its output.

    ``inputs`` are dataset versions in the order of its arguments; ``given`` maps a model's name
    to its checkpoints, by shard.
    """

    id: str
    ref: str
    root: str
    source: str
    scope: str
    by: tuple[str, ...]
    inputs: tuple[str, ...] = Field(validation_alias="input_ids")
    given: Mapping[str, Mapping[int, str]]
    output: str = Field(validation_alias="output_id")
    rows: int
    created_at: datetime


class ProgramDetail(Answer):
    """A training program at one state of its source; ``files`` maps name to SHA-256."""

    id: str
    ref: str
    root: str
    source: str
    files: Mapping[str, str]
    created_at: datetime


class FitDetail(Answer):
    """An artefact that was fitted inside a run on ``records`` of a dataset version.

    ``statistic`` names the kind of one that can be subtracted, and ``summary`` says a little of it,
    column by column. All three are null once it was purged.
    """

    id: str
    run: str
    ordinal: int
    alias: str
    dataset: str
    version: str
    records: int | None
    statistic: str | None
    digest: str
    created_at: datetime
    purged_at: datetime | None
    summary: Mapping[str, Mapping[str, Any]] | None


class EvaluationDetail(Answer):
    """A measure that may have steered a choice."""

    id: str
    run: str = Field(validation_alias="run_id")
    alias: str
    step: int
    metrics: Mapping[str, float]
    created_at: datetime


class SegmentDetail(Answer):
    """The steps of a run between two checkpoints."""

    id: str
    run: str = Field(validation_alias="run_id")
    checkpoint: str = Field(validation_alias="checkpoint_id")
    first_step: int
    visits: int
    seconds: float
    skipped: int
    environment: str


class ProbeDetail(Answer):
    """Whether an environment reproduced a recorded segment bit for bit."""

    id: str
    program: str = Field(validation_alias="program_id")
    segment: str = Field(validation_alias="segment_id")
    environment: str
    passed: bool
    created_at: datetime


class PublicationDetail(Answer):
    """A version that was given to a recipient."""

    id: str
    version: str = Field(validation_alias="version_id")
    recipient: str
    created_at: datetime
    withdrawn_at: datetime | None


class ChoiceDetail(Answer):
    """A version that was preferred to others; ``by`` maps a dataset version to a measure on it."""

    id: str
    version: str = Field(validation_alias="version_id")
    over: tuple[str, ...]
    by: Mapping[str, str | None]
    created_at: datetime


class HoldDetail(Answer):
    """What purge must leave, and why."""

    id: str
    artefact: str = Field(validation_alias="artefact_id")
    reason: str
    created_at: datetime
    released_at: datetime | None
