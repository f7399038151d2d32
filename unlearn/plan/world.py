"""What planning looks at: facts about checkpoints, runs and versions, taken once from the store.

The passes are pure functions of this snapshot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.provenance.query import live_versions
from storage.catalogue import tables
from unlearn.impact import Impact


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """A checkpoint, and the segment that made it from ``previous`` (None: from scratch).

    ``given`` are the checkpoints of models that its run reads beside that. ``visits`` are those of
    the segment without the forgotten records; ``seconds`` as recorded.
    ``kept`` says that nobody purged it, not that its bytes are sound.
    """

    id: str
    run_id: str
    step: int
    first_step: int
    previous: str | None
    kept: bool
    tainted: bool
    visits: int
    seconds: float
    segment_id: str
    given: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoints that it descends from directly."""
        return self.given if self.previous is None else (self.previous, *self.given)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, as far as planning depends on it; ``owner`` where it was only observed."""

    id: str
    program_id: str
    first_step: int
    datasets: tuple[str, ...]
    owner: "Owner | None" = None


@dataclass(frozen=True, slots=True)
class Owner:
    """How the owner of an observed run trains it again: a command, and the folder to start it in.

    It can only be trained again as a whole.
    """

    command: tuple[str, ...]
    folder: str


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A model version and its members, shard → checkpoint; some may be ``left_out`` from now on.

    An interim version is never ``live`` or ``newest`` here: it is not made again, the version that
    it stands in for is.
    """

    id: str
    model: str
    sequence: int
    members: Mapping[int, str]
    live: bool
    newest: bool
    tainted: bool
    interim: bool
    left_out: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class World:
    """Everything the passes may know."""

    checkpoints: Mapping[str, CheckpointFacts]
    runs: Mapping[str, RunFacts]
    versions: tuple[VersionFacts, ...]
    fits: tuple[str, ...]
    """Tainted artefacts that still exist."""
    fenced: frozenset[str]
    """Segments that records of any accepted request reached: they do not come out as recorded."""


def world(session: Session, impact: Impact, retained: Mapping[str, int]) -> World:
    """Take the snapshot; ``retained`` gives the visits left in each fenced segment."""
    fits = select(tables.Fit.id).where(tables.Fit.purged_at.is_(None))
    return World(
        _checkpoints(session, impact, retained),
        _runs(session),
        _versions(session, impact),
        tuple(fit for fit in session.scalars(fits) if fit in impact.fits),
        frozenset(retained),
    )


def _checkpoints(
    session: Session, impact: Impact, retained: Mapping[str, int]
) -> dict[str, CheckpointFacts]:
    starts = {run.id: run.start_id for run in session.scalars(select(tables.Run))}
    rows = session.execute(
        select(tables.Checkpoint, tables.Segment)
        .join(tables.Segment, tables.Segment.checkpoint_id == tables.Checkpoint.id)
        .order_by(tables.Checkpoint.run_id, tables.Checkpoint.step)
    )
    given: dict[str, list[str]] = {}
    for model in session.scalars(select(tables.RunModel)):
        given.setdefault(model.run_id, []).append(model.checkpoint_id)
    facts: dict[str, CheckpointFacts] = {}
    latest: dict[str, str] = {}
    for checkpoint, segment in rows:
        facts[checkpoint.id] = CheckpointFacts(
            checkpoint.id,
            checkpoint.run_id,
            checkpoint.step,
            segment.first_step,
            latest.get(checkpoint.run_id, starts[checkpoint.run_id]),
            checkpoint.purged_at is None,
            checkpoint.id in impact.checkpoints,
            retained.get(segment.id, segment.visits),
            segment.seconds,
            segment.id,
            tuple(sorted(set(given.get(checkpoint.run_id, ())))),
        )
        latest[checkpoint.run_id] = checkpoint.id
    return facts


def _runs(session: Session) -> dict[str, RunFacts]:
    datasets: dict[str, list[str]] = {}
    given = select(tables.RunInput.run_id, tables.DatasetVersion.dataset_id).join(
        tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id
    )
    for run_id, dataset in session.execute(given):
        datasets.setdefault(run_id, []).append(dataset)
    owners = {
        row.run_id: Owner(tuple(row.command), row.folder)
        for row in session.scalars(select(tables.ObservedRun))
    }
    return {
        run.id: RunFacts(
            run.id,
            run.program_id,
            run.first_step,
            tuple(datasets.get(run.id, ())),
            owners.get(run.id),
        )
        for run in session.scalars(select(tables.Run))
    }


def _versions(session: Session, impact: Impact) -> tuple[VersionFacts, ...]:
    live = live_versions(session)
    members: dict[str, dict[int, str]] = {}
    for member in session.scalars(select(tables.ModelMember)):
        members.setdefault(member.version_id, {})[member.shard] = member.checkpoint_id
    rows = session.execute(
        select(tables.ModelVersion, tables.Model.name)
        .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
        .where(tables.ModelVersion.purged_at.is_(None))
        .order_by(tables.Model.name, tables.ModelVersion.place, tables.ModelVersion.sequence)
    ).all()
    newest = {version.model_id: version.id for version, _ in rows if not version.interim}
    return tuple(
        VersionFacts(
            version.id,
            name,
            version.sequence,
            members[version.id],
            version.id in live and not version.interim,
            newest.get(version.model_id) == version.id,
            version.id in impact.versions,
            version.interim,
        )
        for version, name in rows
    )
