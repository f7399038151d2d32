"""Aggregate: put the members of a replacement version together."""

from typing import Any

from lineage.training.aggregation import Aggregation, model_digest, weights_of
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
            members[shard] = context.results[member.task]["checkpoints"][member.key]
        else:
            members[shard] = member.checkpoint_id
    with context.store.catalogue.read() as session:
        found = {
            shard: session.get_one(tables.Checkpoint, member)
            for shard, member in sorted(members.items())
        }
        how = Aggregation(session.get_one(tables.ModelVersion, work.version_id).aggregation)
        weights = weights_of(session, found.values())
    digests = [checkpoint.digest for checkpoint in found.values()]
    return {
        "replaces": work.version_id,
        "members": {str(shard): checkpoint.id for shard, checkpoint in found.items()},
        "left_out": {str(shard): member for shard, member in work.left_out.items()},
        "member_digests": digests,
        "aggregation": how.value,
        "weights": weights,
        "digest": model_digest(how, digests, weights),
    }
