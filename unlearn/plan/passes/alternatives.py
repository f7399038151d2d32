"""What else could be done, what it would cost, and why it lost."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from unlearn.plan.model import Accuracy, Rejected
from unlearn.plan.passes.needed import needed_checkpoints, needed_models
from unlearn.plan.passes.restarts import Chain, recomputed, whole_runs
from unlearn.plan.retained import seconds
from unlearn.plan.world import CheckpointFacts, VersionFacts, World


def full_retrain(world: World, affected: Iterable[VersionFacts]) -> tuple[int, float]:
    """Visits and seconds to train every affected live version from scratch, shared work once."""
    every: dict[str, CheckpointFacts] = {}
    waiting = [member for version in affected for member in version.members.values()]
    waiting += needed_models(world)
    while waiting:
        current = waiting.pop()
        if current not in every:
            every[current] = world.checkpoints[current]
            waiting += world.sources(every[current])
    every |= whole_runs(world, every.values())
    return sum(each.visits for each in every.values()), seconds(every.values())


def later_restarts(
    world: World, chains: Sequence[Chain], tasks: Sequence[str], visits: int
) -> Iterator[Rejected]:
    """For each chain, and the task that it is, to start a checkpoint later."""
    for chain, task in zip(chains, tasks, strict=True):
        first, rest = chain.checkpoints[0], chain.checkpoints[1:]
        if rest:
            why = f"{first.id} descends from the forgotten records"
            if world.runs[chain.run_id].owner is not None:
                why = f"{chain.run_id} was only observed: its owner's command begins anew"
            elif first.barred and not first.tainted:
                why = f"{first.id} descends from records of another accepted request"
            elif not first.tainted:
                why = f"{first.id} is clean, but was purged or is damaged"
            name = f"restart {chain.run_id} at step {first.step}"
            yield Rejected(name=name, visits=visits - first.visits, why=why, task=task)


def giving_up(
    world: World,
    affected: Sequence[VersionFacts],
    usable: Callable[[str], bool],
    visits: int,
    accuracy: Mapping[str, Accuracy],
) -> Iterator[Rejected]:
    """To retire a model, or to let an ensemble go on without its affected shards for good."""
    needs = {each.id: recomputed(world, needed_checkpoints((each,)), usable) for each in affected}
    rows = recomputed(world, needed_models(world), usable)
    models: dict[str, list[VersionFacts]] = {}
    for version in affected:
        models.setdefault(version.model, []).append(version)
    of_models = {
        name: {made: facts for each in versions for made, facts in needs[each.id].items()}
        for name, versions in models.items()
    }
    for name, saved in _own(of_models, rows).items():
        used = ", ".join(f"v{each.sequence}" for each in models[name])
        why = f"{used} of {name} is in use"
        if not saved:
            why += ", and what it is made of is needed in any case"
        yield Rejected(name=f"retire {name}", visits=visits - saved, why=why)
    own = _own(needs, rows)
    for version in affected:
        lost = [shard for shard, made in version.members.items() if made in needs[version.id]]
        if version.newest and len(lost) < len(version.members):
            which = f"shard{'s' if len(lost) > 1 else ''} {', '.join(map(str, sorted(lost)))}"
            yield Rejected(
                name=f"keep {version.model} v{version.sequence} without {which} for good",
                visits=visits - own[version.id],
                why=f"it would have {len(version.members) - len(lost)} of "
                f"{len(version.members)} members; {_consequence(accuracy.get(version.id))}",
            )


def exactly_selected(visits: int) -> Rejected:
    """To recompute what measures on the forgotten records may have steered as well."""
    return Rejected(
        name="plan --exact-selection",
        visits=visits,
        why="what measures on the forgotten records returned may have steered a training: "
        "the claim says so, unless it is replayed from the first of them",
    )


def retrained(visits: int, full_visits: int) -> Iterator[Rejected]:
    """To train everything in use again from scratch."""
    more = f"{full_visits - visits} visits more than needed"
    if full_visits:
        yield Rejected(
            name="full retrain",
            visits=full_visits,
            why=more if full_visits > visits else "the plan already recomputes everything",
        )


def _own(
    needs: Mapping[str, Mapping[str, CheckpointFacts]], rows: Mapping[str, CheckpointFacts]
) -> dict[str, int]:
    """The visits of what each needs and no other does, nor the ``rows`` that are made anew."""
    users = Counter(made for each in (rows, *needs.values()) for made in each)
    return {
        name: sum(facts.visits for made, facts in each.items() if users[made] == 1)
        for name, each in needs.items()
    }


def _consequence(measured: Accuracy | None) -> str:
    if measured is None or measured.interim is None:
        return "what that does to its accuracy was not measured"
    return (
        f"its accuracy on {measured.dataset} would go from {measured.whole:.4f} to "
        f"{measured.interim:.4f}"
    )
