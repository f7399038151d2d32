"""The planner against a brute force that tries every subset of segments, on small random worlds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import find, given, settings

from lineage.data.closure import Closure
from unlearn.impact import Impact
from unlearn.plan.model import Task
from unlearn.plan.passes.alternatives import full_retrain
from unlearn.plan.passes.finish import finish
from unlearn.plan.passes.interim import interims
from unlearn.plan.passes.needed import needed, needed_checkpoints, needed_models
from unlearn.plan.passes.order import in_order
from unlearn.plan.passes.probes import probes
from unlearn.plan.passes.replays import replays
from unlearn.plan.passes.restarts import Chain, restarts
from unlearn.plan.passes.transforms import makers, transforms
from unlearn.plan.world import VersionFacts, World

pytestmark = pytest.mark.no_cover

Usable = Callable[[str], bool]
Makers = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Passes:
    """The planner as its passes; a mutant replaces one of them."""

    needed: Callable[..., Any] = needed
    needed_checkpoints: Callable[..., Any] = needed_checkpoints
    needed_models: Callable[..., Any] = needed_models
    restarts: Callable[..., Any] = restarts
    replays: Callable[..., Any] = replays
    interims: Callable[..., Any] = interims
    probes: Callable[..., Any] = probes
    transforms: Callable[..., Any] = transforms
    in_order: Callable[..., Any] = in_order
    finish: Callable[..., Any] = finish

    def plan(self, case: Any) -> tuple[Task, ...]:
        """The tasks for a world, as the planner assembles them."""
        world = case.world
        affected = self.needed(world)
        wanted = (*self.needed_checkpoints(affected), *self.needed_models(world))
        chains = self.restarts(world, dict.fromkeys(wanted), case.usable)
        remade = self.transforms(world, chains)
        made_by = makers(world, remade)
        tasks = (
            *self.interims(world, affected, case.usable),
            *remade,
            *self.probes(world, chains, made_by, case.usable),
            *self.replays(world, chains, made_by),
        )
        return tuple(self.finish(world, tainted(world), affected, self.in_order(tasks)))


def tainted(world: Any) -> Impact:
    nothing: frozenset[str] = frozenset()
    found = frozenset(each.id for each in world.checkpoints.values() if each.tainted)
    return Impact(Closure({}, {}, ()), (), nothing, nothing, found, nothing, nothing)


def faults(brute_force: ModuleType, case: Any, passes: Passes) -> list[str]:
    execution = brute_force.Execution(case.world, case.damaged)
    return list(execution.carry_out(passes.plan(case)).faults)


def test_every_plan_is_sound_and_as_cheap_as_the_cheapest_subset_of_segments(
    worlds: ModuleType, brute_force: ModuleType
) -> None:
    @settings(max_examples=500)
    @given(worlds.cases())
    def holds(case: Any) -> None:
        assert faults(brute_force, case, Passes()) == []

    holds()


@pytest.mark.soak
def test_ten_thousand_plans_are_sound_and_cheapest(
    worlds: ModuleType, brute_force: ModuleType
) -> None:
    @settings(max_examples=10_000)
    @given(worlds.cases())
    def holds(case: Any) -> None:
        assert faults(brute_force, case, Passes()) == []

    holds()


def test_a_full_retrain_counts_shared_segments_once(
    worlds: ModuleType, brute_force: ModuleType
) -> None:
    @settings(max_examples=100)
    @given(worlds.cases())
    def holds(case: Any) -> None:
        visits, _ = full_retrain(case.world, needed(case.world))
        assert visits == brute_force.from_scratch(case.world)
        assert visits >= brute_force.optimum(case.world, case.damaged)

    holds()


def every_version(world: World) -> tuple[VersionFacts, ...]:
    return tuple(version for version in world.versions if version.tainted)


def newest_versions(world: World) -> tuple[VersionFacts, ...]:
    return tuple(version for version in needed(world) if version.newest)


def first_members(versions: Iterable[VersionFacts]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(version.members[0] for version in versions))


def one_early(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    def earlier(chain: Chain) -> Chain:
        if chain.restart is None or chain.again:
            return chain
        before = world.checkpoints[chain.restart]
        if before.run_id != chain.run_id:
            return chain
        more = (before, *chain.checkpoints)
        return replace(chain, restart=before.previous, checkpoints=more)

    return tuple(map(earlier, restarts(world, wanted, usable)))


def one_late(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    def later(chain: Chain) -> Chain:
        first, *rest = chain.checkpoints
        if not rest:
            return chain
        return replace(chain, restart=first.id, again=False, checkpoints=tuple(rest))

    return tuple(map(later, restarts(world, wanted, usable)))


def from_nothing(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return restarts(world, wanted, lambda checkpoint: False)


def blind_to_damage(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return restarts(world, wanted, lambda checkpoint: True)


def blind_to_purges(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    kept = {each.id: replace(each, kept=True) for each in world.checkpoints.values()}
    return restarts(replace(world, checkpoints=kept), wanted, usable)


def blind_to_taint(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    clean = {
        each.id: replace(each, tainted=each.id in set(wanted))
        for each in world.checkpoints.values()
    }
    return restarts(replace(world, checkpoints=clean), wanted, usable)


def unshared(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return tuple(chain for each in wanted for chain in restarts(world, [each], usable))


def one_a_run(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    whole: dict[str, Chain] = {}
    for chain in restarts(world, wanted, usable):
        first, second = sorted(
            (whole.get(chain.run_id, chain), chain), key=lambda each: each.first_step
        )
        more = dict.fromkeys((*first.checkpoints, *second.checkpoints))
        whole[chain.run_id] = replace(first, checkpoints=tuple(more))
    return tuple(whole.values())


def silent(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return tuple(replace(c, fallback_from=None) for c in restarts(world, wanted, usable))


def alarmed(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return tuple(replace(c, fallback_from=c.restart) for c in restarts(world, wanted, usable))


def ownerless(world: World) -> World:
    """A world in which every run can be executed by anybody."""
    return replace(world, runs={n: replace(run, owner=None) for n, run in world.runs.items()})


def continued(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    return restarts(ownerless(world), wanted, usable)


def always_anew(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    chains = restarts(world, wanted, usable)
    made = {checkpoint.id for chain in chains for checkpoint in chain.checkpoints}
    return tuple(replace(chain, again=chain.restart in made) for chain in chains)


def blind_to_models(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    alone = {each.id: replace(each, given=()) for each in world.checkpoints.values()}
    return restarts(replace(world, checkpoints=alone), wanted, usable)


def blind_to_teachers(world: World, wanted: Iterable[str], usable: Usable) -> tuple[Chain, ...]:
    alone = {name: replace(each, given=()) for name, each in world.transforms.items()}
    return restarts(replace(world, transforms=alone), wanted, usable)


def taught_by_the_lost(world: World, chains: tuple[Chain, ...]) -> tuple[Task, ...]:
    return tuple(
        task.model_copy(update={"work": task.work.model_copy(update={"given": {}})})
        for task in transforms(world, chains)
    )


def all_transforms(world: World, chains: tuple[Chain, ...]) -> tuple[Task, ...]:
    every = {name: replace(each, wanted=True) for name, each in world.transforms.items()}
    return transforms(replace(world, transforms=every), chains)


def reading_what_was_lost(world: World, *given: Any) -> tuple[Task, ...]:
    return tuple(
        task.model_copy(update={"work": task.work.model_copy(update={"given": {}})})
        for task in replays(world, *given)
    )


def by_anybody(world: World, *given: Any) -> tuple[Task, ...]:
    return replays(ownerless(world), *given)


def probing_the_observed(world: World, *given: Any) -> tuple[Task, ...]:
    return probes(ownerless(world), *given)


def impatient(world: World, chains: tuple[Chain, ...], makers: object) -> tuple[Task, ...]:
    return replays(world, chains, {})


def nobody_meanwhile(world: World, affected: object, usable: Usable) -> tuple[Task, ...]:
    return ()


def everybody_meanwhile(world: World, affected: object, usable: Usable) -> tuple[Task, ...]:
    return interims(world, world.versions, usable)


def anything_meanwhile(
    world: World, affected: tuple[VersionFacts, ...], usable: Usable
) -> tuple[Task, ...]:
    return interims(world, affected, lambda checkpoint: True)


def never_probing(*given: Any) -> tuple[Task, ...]:
    return ()


def probing_blindly(
    world: World, chains: tuple[Chain, ...], makers: Makers, usable: Usable
) -> tuple[Task, ...]:
    return probes(world, chains, makers, lambda checkpoint: True)


def probing_at_once(
    world: World, chains: tuple[Chain, ...], makers: Makers, usable: Usable
) -> tuple[Task, ...]:
    return probes(world, chains, {}, usable)


def probing_the_fenced(
    world: World, chains: tuple[Chain, ...], makers: Makers, usable: Usable
) -> tuple[Task, ...]:
    return probes(replace(world, fenced=frozenset()), chains, makers, usable)


def purging_only(name: str) -> Callable[..., tuple[Task, ...]]:
    """The last pass with one list of the purge left empty."""

    def lazy(*given: Any) -> tuple[Task, ...]:
        *before, purge = finish(*given)
        work = purge.work.model_copy(update={name: ()})
        return (*before, purge.model_copy(update={"work": work}))

    return lazy


def without_a_check(*given: Any) -> tuple[Task, ...]:
    return tuple(task for task in finish(*given) if task.id != "check")


MUTANTS = {
    "versions nobody uses are remade": Passes(needed=every_version),
    "only the newest version is remade": Passes(needed=newest_versions),
    "only the first member is remade": Passes(needed_checkpoints=first_members),
    "a restart one checkpoint early": Passes(restarts=one_early),
    "a restart one checkpoint late": Passes(restarts=one_late),
    "always from scratch": Passes(restarts=from_nothing),
    "damaged bytes are trusted": Passes(restarts=blind_to_damage),
    "kept is ignored": Passes(restarts=blind_to_purges),
    "taint is ignored": Passes(restarts=blind_to_taint),
    "shared segments are done twice": Passes(restarts=unshared),
    "order is ignored": Passes(in_order=tuple),
    "models that rows are made with are not remade": Passes(restarts=blind_to_teachers),
    "models of what new runs read are not remade": Passes(needed_models=lambda world: ()),
    "a transform is given the models that were lost": Passes(transforms=taught_by_the_lost),
    "transforms that nothing needs are executed": Passes(transforms=all_transforms),
    "only what new runs read is made anew": Passes(
        transforms=lambda world, _: transforms(world, ())
    ),
    "gaps in a run are bridged": Passes(restarts=one_a_run),
    "a fallback is not named": Passes(restarts=silent),
    "every restart is called a fallback": Passes(restarts=alarmed),
    "an observed run is restarted": Passes(restarts=continued),
    "an observed run is replayed": Passes(replays=by_anybody),
    "an observed run is probed": Passes(probes=probing_the_observed),
    "what an owner left is not used": Passes(restarts=always_anew),
    "models that a run reads are not remade": Passes(restarts=blind_to_models),
    "a replay reads the models that were lost": Passes(replays=reading_what_was_lost),
    "replays do not wait for their rows": Passes(replays=impatient),
    "no interim": Passes(interims=nobody_meanwhile),
    "an interim of every version": Passes(interims=everybody_meanwhile),
    "an interim with damaged members": Passes(interims=anything_meanwhile),
    "no probe": Passes(probes=never_probing),
    "a probe from damaged bytes": Passes(probes=probing_blindly),
    "a probe does not wait for its rows": Passes(probes=probing_at_once),
    "a probe of what does not come out the same": Passes(probes=probing_the_fenced),
    "no checkpoint is purged": Passes(finish=purging_only("checkpoints")),
    "no fit is purged": Passes(finish=purging_only("fits")),
    "no version is purged": Passes(finish=purging_only("versions")),
    "no check": Passes(finish=without_a_check),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_planner_with_this_fault_is_caught_within_three_thousand_worlds(
    worlds: ModuleType, brute_force: ModuleType, mutant: Passes
) -> None:
    def caught(case: Any) -> bool:
        try:
            return bool(faults(brute_force, case, mutant))
        except (LookupError, StopIteration):
            return True

    find(worlds.cases(), caught, settings=settings(max_examples=3_000))
