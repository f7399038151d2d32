"""Programs, the runs that executed them, and the state they left behind."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.tables.base import Base


class Program(Base):
    """A user's training function at one state of its source."""

    __tablename__ = "programs"
    __table_args__ = (UniqueConstraint("ref", "root", "source"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    ref: Mapped[str]
    root: Mapped[str]
    source: Mapped[str]
    files: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Training(Base):
    """One ``train``: isolated runs, a shard each, that become a version of a model.

    Where it ``extends`` a version, its shards come beside the members of that version.
    """

    __tablename__ = "trainings"

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    aggregation: Mapped[str]
    extends_id: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    state: Mapped[str]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Run(Base):
    """One linear execution of a program under a schedule, from a start state.

    A replay starts at ``first_step``, that of its start; a fine-tune at 0, with the weights of
    another run. ``untracked`` names what the program was found to keep between steps and not to
    track; null where nobody has looked.
    """

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    training_id: Mapped[str | None] = mapped_column(ForeignKey("trainings.id"), index=True)
    task_id: Mapped[str | None] = mapped_column(unique=True)
    replay_of: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    program_id: Mapped[str] = mapped_column(ForeignKey("programs.id"))
    start_id: Mapped[str | None]  # a checkpoint; not a foreign key, the tables would form a circle
    first_step: Mapped[int]
    specification: Mapped[dict[str, Any]]
    state: Mapped[str]
    owner: Mapped[str | None]
    untracked: Mapped[list[str] | None]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RunInput(Base):
    """A dataset version a run was given under an alias; ``trains`` where batches came from it."""

    __tablename__ = "run_inputs"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    trains: Mapped[bool]


class RunModel(Base):
    """A checkpoint a run was given beside its start: a frozen base, a teacher, part of a soup.

    ``alias`` is the model's name in the program; an ensemble has a member a ``shard``.
    """

    __tablename__ = "run_models"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), index=True)


class Fit(Base):
    """An artefact fitted inside a run on all rows of an input that the run may see."""

    __tablename__ = "fits"
    __table_args__ = (UniqueConstraint("run_id", "ordinal"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    ordinal: Mapped[int]
    alias: Mapped[str]
    object: Mapped[str]
    digest: Mapped[str]
    purged_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Evaluation(Base):
    """A selection edge: a measure on an input, after ``step`` optimizer steps.

    It may have steered a choice, and where the program did not declare otherwise (``steers``) what
    the run did next. Measures on rows that are erased have no values any more.
    """

    __tablename__ = "evaluations"

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    alias: Mapped[str]
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    steers: Mapped[bool] = mapped_column(server_default=true())
    created_at: Mapped[datetime]


class Checkpoint(Base):
    """Full training state of a run after ``step`` optimizer steps.

    A loop that is only watched may change its state without a step, as where it loads its best
    weights back: each such state has an ``edition`` of its own; that right after the step has 0.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("run_id", "step", "edition"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    step: Mapped[int]
    edition: Mapped[int]
    object: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    size: Mapped[int]
    consumed: Mapped[str]
    created_at: Mapped[datetime]
    purged_at: Mapped[datetime | None]


class Segment(Base):
    """The steps ``first_step … checkpoint.step`` of a run: what lies between two checkpoints.

    It is empty where the state was changed without a step.
    """

    __tablename__ = "segments"

    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), unique=True)
    first_step: Mapped[int]
    visits: Mapped[int]
    seconds: Mapped[float]
    skipped: Mapped[int]
    environment: Mapped[str] = mapped_column(ForeignKey("environments.digest"))


class Environment(Base):
    """A machine and its software, as far as they can change a bit of a result."""

    __tablename__ = "environments"

    digest: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[dict[str, Any]]


class Probe(Base):
    """Whether this environment reproduced a recorded segment of a program bit for bit."""

    __tablename__ = "probes"

    id: Mapped[str] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(ForeignKey("environments.digest"), index=True)
    program_id: Mapped[str] = mapped_column(ForeignKey("programs.id"))
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id"))
    passed: Mapped[bool]
    created_at: Mapped[datetime]
