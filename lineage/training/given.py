"""Models that a run is given beside its data: a frozen base, a teacher, the parts of a soup.

What the run makes descends from each of them, from its first step on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.given import Members
from lineage.errors import ProgramError
from lineage.store import Store
from lineage.training.checkpoint import load
from storage.catalogue import tables

State = Mapping[str, object]
"""What the program of a model tracked, by name."""


@dataclass(frozen=True)
class GivenModels:
    """The models of one run, by the names they have in its program."""

    store: Store
    models: Mapping[str, Members]

    def states(self, alias: str) -> tuple[State, ...]:
        """The state of each member of a model, in the order of shards.

        Raises:
            ProgramError: the run was given no model of this name.
            CheckpointError: a member was purged.
        """
        if alias not in self.models:
            known = ", ".join(sorted(self.models)) or "none"
            raise ProgramError(
                f"the program asks for model {alias!r}, and this run was given {known}",
                hint=f"pass --given {alias}=MODEL",
            )
        return tuple(load(self.store, checkpoint) for checkpoint in self.models[alias].values())


def members_of(session: Session, version_id: str) -> Members:
    """The checkpoints that a version was made of."""
    member = tables.ModelMember
    found = select(member.shard, member.checkpoint_id).where(member.version_id == version_id)
    members = session.execute(found.order_by(member.shard))
    return {each.shard: each.checkpoint_id for each in members}


def given_to(session: Session, run_id: str) -> dict[str, Members]:
    """The models that a run was given, by alias."""
    row = tables.RunModel
    given: dict[str, dict[int, str]] = {}
    for alias, shard, checkpoint in session.execute(
        select(row.alias, row.shard, row.checkpoint_id)
        .where(row.run_id == run_id)
        .order_by(row.alias, row.shard)
    ):
        given.setdefault(alias, {})[shard] = checkpoint
    return {**given}


def give(session: Session, run_id: str, models: Mapping[str, Members]) -> None:
    """Write down that a run was given models, in the caller's transaction; some it may have."""
    known = given_to(session, run_id)
    session.add_all(
        tables.RunModel(run_id=run_id, alias=alias, shard=shard, checkpoint_id=checkpoint)
        for alias, members in models.items()
        if alias not in known
        for shard, checkpoint in members.items()
    )
    session.flush()
