"""What can be said of a plan before it is carried out: the claim it may bear, and warnings."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.counted import counted
from lineage.data.identity import Positions
from lineage.provenance.exposure import incomplete_runs
from lineage.provenance.selection import Chosen, chosen
from lineage.training.placements import cap_of_placements, due, wear
from lineage.training.registry import active_holds
from lineage.training.untracked import sentence, untracked_of
from storage.catalogue import tables
from unlearn.claim import Claim
from unlearn.failed_twins import failed_in_use
from unlearn.impact import Impact
from unlearn.plan.model import Task
from unlearn.plan.sources import source_faults
from unlearn.plan.world import VersionFacts


def possible_claim(
    session: Session,
    found: Impact,
    gone: Positions,
    replayed: Sequence[Task],
    steered: Collection[str],
) -> Claim:
    """The strongest claim that a twin could bear.

    ``steered`` are the segments that measures on the records may have steered.
    """
    if incomplete_runs(session, gone):
        return Claim.NONE
    if _held(session, found) or any(task.work.kind == "external" for task in replayed):
        return Claim.EXACT_BY_PROVENANCE
    if not found.segments.issuperset(steered):
        return Claim.EXACT_BY_PROVENANCE
    return Claim.REPLAY_VERIFIED


def adaptive(
    session: Session, received: Mapping[str, datetime], affected: Iterable[VersionFacts]
) -> tuple[str, ...]:
    """The requests that came after an affected model was published: they may depend on it.

    What sharding guarantees assumes requests that do not depend on the models (Gupta et al. 2021,
    arXiv 2106.04378, section 4). ``received`` says when each request came.
    """
    first = session.scalar(
        select(func.min(tables.Publication.created_at))
        .join(tables.ModelVersion, tables.ModelVersion.id == tables.Publication.version_id)
        .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
        .where(tables.Model.name.in_({version.model for version in affected}))
    )
    return tuple(each for each, when in received.items() if first is not None and when > first)


def notes(
    session: Session,
    found: Impact,
    affected: Sequence[VersionFacts],
    gone: Positions,
    late: Sequence[str],
    tasks: Sequence[Task],
) -> tuple[str, ...]:
    """Sentences about a plan that whoever reviews it should read."""
    said = [
        f"{run} was given records that no dataset holds: whether it saw these cannot be told"
        for run in incomplete_runs(session, gone)
    ]
    if not found.exposures:
        said.append("no recorded run trained on these records: nothing learned from them")
    elif not affected:
        said.append("no model in use learned from these records: what did is only purged")
    said += (left for version in affected if (left := _left(version)))
    said += (worn for version in affected if version.members and (worn := _worn(session, version)))
    if _held(session, found):
        said.append("a hold keeps something that descends from these records: it lowers the claim")
    named = {version.id for version in affected}
    said += (
        f"{each.version} differs from its twin: nothing is claimed for {each.plan}, which made it"
        for each in failed_in_use(session)
        if each.version in named
    )
    if late:
        said.append(
            f"{counted(len(late), 'request')} came after a model was published, and may depend on "
            "it: sharding promises less then"
        )
    said += (
        f"{fault.message}: this plan cannot be applied as it is"
        for fault in source_faults(session, tasks)
    )
    replays = [task.work.run_id for task in tasks if task.work.kind == "replay"]
    if untracked := untracked_of(session, replays):
        said.append(f"{sentence(untracked)}: only a twin shows whether a replay is exact")
    said += map(_choice, chosen(session, found.closure.everything, found.versions))
    return tuple(said)


def _choice(each: Chosen) -> str:
    how = [f"by looking at {', '.join(each.by)}, which has these records"] if each.by else []
    how += [f"over {', '.join(each.over)}, which learned from them"] if each.over else []
    return f"{each.version} was chosen {' and '.join(how)}: that choice is not made again"


def _held(session: Session, found: Impact) -> bool:
    return bool(active_holds(session) & (found.checkpoints | found.versions | found.fits))


def _left(version: VersionFacts) -> str:
    """What becomes of a version some of whose shards would learn from no record any more."""
    name = f"{version.model} v{version.sequence}"
    if not version.members:
        why = (
            "was given a model of which nothing is left"
            if version.orphaned
            else "has no record left to learn from"
        )
        return f"{name} {why}: it ends, and nothing replaces it"
    shards = ", ".join(map(str, sorted(version.left_out)))
    return shards and f"{name} goes on without shard {shards}: no record is left to learn from"


def _worn(session: Session, version: VersionFacts) -> str:
    """Whether the placement of a version has borne more deletions than it should."""
    found = wear(session, version.id)
    if found is None or not due(found.deleted, found.records, cap_of_placements()):
        return ""
    return (
        f"{found.deleted} of the {found.records} records that {version.model} was placed with have "
        f"been deleted: draw a new placement with `expunge reshard {version.model}`"
    )
