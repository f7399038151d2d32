"""What planning looks at: facts about checkpoints, runs and versions, taken once from the store.

The passes are pure functions of this snapshot.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from lineage.provenance.query import live_versions
from storage import ledger
from storage.catalogue import tables
from unlearn.impact import Impact
from unlearn.plan.makers import Makers, TransformFacts


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """A checkpoint, and the segment that made it from ``previous`` (None: from scratch).

    ``given`` are the checkpoints of models that its run reads beside that. ``visits`` are those of
    the segment without the forgotten records; ``seconds`` as recorded.
    ``kept`` says that nobody purged it, not that its bytes are sound. ``barred`` ones descend from
    records that the plan leaves out, of its own requests (``tainted``) or of others: no replay may
    begin with them. Of a watched loop, states that changed without a step are told apart by their
    ``edition``.
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
    edition: int = 0
    barred: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoints that it descends from directly."""
        return self.given if self.previous is None else (self.previous, *self.given)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run, as far as planning depends on it; ``owner`` where it was only observed.

    ``transforms`` are those to execute again that made what it was given, in order. Runs of one
    program and ``specification`` have all settings in common; they may train other shards.
    ``models`` are the members of each model that it was given.
    """

    id: str
    program_id: str
    first_step: int
    transforms: tuple[str, ...]
    owner: "Owner | None" = None
    specification: str = ""
    models: tuple[tuple[str, ...], ...] = ()


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
    it stands in for is. ``orphaned`` says that one of those ends with a model that it was given.
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
    orphaned: bool = False


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
    transforms: Mapping[str, TransformFacts] = field(default_factory=dict)
    """Those that do not come out as they did, in the order in which they were executed."""
    canaries: frozenset[str] = frozenset()
    """The names of models whose replacements are measured."""
    settled: frozenset[str] = frozenset()
    """Runs whose rows are known, though transforms that made them are executed again."""

    def sources(self, checkpoint: CheckpointFacts) -> tuple[str, ...]:
        """The checkpoints that one descends from directly, or by rows that have to be made anew."""
        return (*checkpoint.sources, *self.models(self.runs[checkpoint.run_id].transforms))

    def models(self, transforms: Iterable[str]) -> tuple[str, ...]:
        """The checkpoints that some transforms are given."""
        return tuple(model for each in transforms for model in self.transforms[each].given)


Lap = Row[str, str, int, int, datetime | None, str, int, int, float]
"""A checkpoint's id, run, step, edition and when it was purged; its segment's id, first step,
visits and seconds.
"""


def laps_of(session: Session) -> Sequence[Lap]:
    """Every checkpoint with the segment that made it, run by run and in order.

    Plain rows: there may be a hundred thousand of them.
    """
    made, lap = tables.Checkpoint, tables.Segment
    found = select(
        *(made.id, made.run_id, made.step, made.edition, made.purged_at),
        *(lap.id, lap.first_step, lap.visits, lap.seconds),
    ).join(lap, lap.checkpoint_id == made.id)
    ordered = found.order_by(made.run_id, made.step, made.edition)
    return session.connection().execute(ordered).all()


def world(
    session: Session,
    laps: Sequence[Lap],
    impact: Impact,
    retained: Mapping[str, int],
    stale: Sequence[str],
    fenced: Impact,
) -> World:
    """Take the snapshot; ``retained`` gives the visits left in each fenced segment.

    ``stale`` are the transforms that do not come out as they did, in order. ``fenced`` is the
    impact of all that the plan leaves out.
    """
    fits = select(tables.Fit.id).where(tables.Fit.purged_at.is_(None))
    watched = select(tables.Model.name).join(
        tables.Canary, tables.Canary.model_id == tables.Model.id
    )
    makers = Makers(session, stale, impact.closure.taught)
    return World(
        _checkpoints(session, laps, impact, retained, fenced.checkpoints),
        _runs(session, makers),
        _versions(session, impact),
        tuple(fit for fit in session.scalars(fits) if fit in impact.fits),
        frozenset(retained),
        makers.facts(),
        frozenset(session.scalars(watched)),
    )


def _checkpoints(
    session: Session,
    laps: Sequence[Lap],
    impact: Impact,
    retained: Mapping[str, int],
    barred: Collection[str],
) -> dict[str, CheckpointFacts]:
    model = tables.RunModel
    starts = dict(session.execute(select(tables.Run.id, tables.Run.start_id)).all())
    given: dict[str, list[str]] = {}
    read = select(model.run_id, model.checkpoint_id).distinct().order_by(model.checkpoint_id)
    for run_id, member in session.execute(read):
        given.setdefault(run_id, []).append(member)
    facts: dict[str, CheckpointFacts] = {}
    latest: dict[str, str] = {}
    for name, run_id, step, edition, purged_at, segment, first_step, visits, seconds in laps:
        facts[name] = CheckpointFacts(
            name,
            run_id,
            step,
            first_step,
            latest.get(run_id, starts[run_id]),
            purged_at is None,
            name in impact.checkpoints,
            retained.get(segment, visits),
            seconds,
            segment,
            tuple(given.get(run_id, ())),
            edition,
            name in barred,
        )
        latest[run_id] = name
    return facts


def _runs(session: Session, makers: Makers) -> dict[str, RunFacts]:
    inputs: dict[str, list[str]] = {}
    given = select(tables.RunInput.run_id, tables.RunInput.version_id)
    for run_id, version in session.execute(given):
        inputs.setdefault(run_id, []).append(version)
    models = _models(session)
    owners = {
        row.run_id: Owner(tuple(row.command), row.folder)
        for row in session.scalars(select(tables.ObservedRun))
    }
    return {
        run.id: RunFacts(
            run.id,
            run.program_id,
            run.first_step,
            makers.of(inputs.get(run.id, ())),
            owners.get(run.id),
            _settings(run.specification),
            models.get(run.id, ()),
        )
        for run in session.scalars(select(tables.Run))
    }


def _models(session: Session) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the members of each model that a run was given, run by run."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in session.scalars(select(tables.RunModel)):
        found.setdefault(row.run_id, {}).setdefault(row.alias, []).append(row.checkpoint_id)
    return {run: tuple(map(tuple, by_alias.values())) for run, by_alias in found.items()}


def _settings(specification: Mapping[str, Any]) -> str:
    """A digest of all that a run was asked to do, but for its shard and what is in it."""
    schedule = {
        name: value
        for name, value in specification["schedule"].items()
        if name not in ("shard", "nominal")
    }
    rest = {name: value for name, value in specification.items() if name != "handles"}
    return ledger.json_digest({**rest, "schedule": schedule})


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
