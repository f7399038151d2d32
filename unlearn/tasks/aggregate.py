"""Aggregate: put the members of a replacement version together."""

from typing import Any

from lineage.training.ensemble import model_digest
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.plan.model import Aggregate, Made


def execute(context: Context) -> dict[str, Any]:
    """Name the checkpoint of every shard, and the digest they have together."""
    work = context.task.work
    assert isinstance(work, Aggregate)
    members = {}
    for shard, member in work.members.items():
        if isinstance(member, Made):
            members[shard] = context.results[member.task]["checkpoints"][str(member.step)]
        else:
            members[shard] = member.checkpoint_id
    with context.store.catalogue.read() as session:
        digests = [
            session.get_one(tables.Checkpoint, members[shard]).digest for shard in sorted(members)
        ]
    return {
        "replaces": work.version_id,
        "members": {str(shard): checkpoint for shard, checkpoint in sorted(members.items())},
        "member_digests": digests,
        "digest": model_digest(digests),
    }
