"""What forgetting does to accuracy, measured on the canaries of models."""

from collections.abc import Sequence
from dataclasses import replace

from lineage.store import Store
from lineage.training.model import load_model
from unlearn.canary import accuracy, canary_of
from unlearn.plan.model import Accuracy
from unlearn.plan.world import VersionFacts, World


def measured(store: Store, world: World, affected: Sequence[VersionFacts]) -> dict[str, Accuracy]:
    """The accuracy of each newest affected version whose model has a canary, by its id.

    Raises:
        CheckpointError, ProgramError: a version cannot be opened to predict.
        InvalidInputError: a canary does not fit its model.
    """
    found = {}
    for version in affected:
        canary = canary_of(store, version.model) if version.newest else None
        if canary is None:
            continue
        whole = load_model(store, version.id)
        stay = {s for s, each in version.members.items() if not world.checkpoints[each].tainted}
        clean = [member for member in whole.members if member.shard in stay]
        left = accuracy(store, replace(whole, members=tuple(clean)), canary) if clean else None
        found[version.id] = Accuracy(
            dataset=canary.on, whole=accuracy(store, whole, canary), interim=left
        )
    return found
