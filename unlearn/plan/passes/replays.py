"""The tasks that train again: one a chain, after the chain it starts from and the data it reads.

A chain of an observed run is its owner's to train.
"""

import shlex
from collections.abc import Mapping

from unlearn.plan.model import External, Made, Replay, Task
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.retained import seconds
from unlearn.plan.world import CheckpointFacts, Owner, World


def replays(
    world: World, chains: tuple[Chain, ...], makers: Mapping[str, tuple[str, ...]]
) -> tuple[Task, ...]:
    """A task for each chain; ``makers`` gives, per run, the tasks that make its inputs anew."""
    names = names_of(world, chains)
    return tuple(_replay(world, chain, names, makers.get(chain.run_id, ())) for chain in chains)


def names_of(world: World, chains: tuple[Chain, ...]) -> dict[str, str]:
    """The id of the task that makes each checkpoint of the chains."""
    return {
        each.id: f"{'replay' if world.runs[chain.run_id].owner is None else 'external'}-{number}"
        for number, chain in enumerate(chains, 1)
        for each in chain.checkpoints
    }


def made_by(task: str, checkpoint: CheckpointFacts) -> Made:
    """Return what a task makes in place of a checkpoint."""
    return Made(task=task, step=checkpoint.step, edition=checkpoint.edition)


def _replay(world: World, chain: Chain, names: Mapping[str, str], makers: tuple[str, ...]) -> Task:
    restart, step, edition = chain.restart, 0, 0
    if restart is not None:
        step, edition = world.checkpoints[restart].step, world.checkpoints[restart].edition
        restart = names[restart] if chain.again else restart
    given = {each: made_by(names[each], world.checkpoints[each]) for each in chain.given}
    upstream = dict.fromkeys(names[each] for each in chain.remade)
    owner = world.runs[chain.run_id].owner
    work: Replay | External
    if owner is None:
        work = Replay(
            run_id=chain.run_id,
            restart=restart,
            restart_step=step,
            restart_edition=edition,
            first_step=chain.first_step,
            until=chain.until,
            fallback_from=chain.fallback_from,
            given=given,
        )
    else:
        work = External(
            run_id=chain.run_id, command=owner.command, folder=owner.folder, given=given
        )
    return Task(
        id=names[chain.checkpoints[0].id],
        depends_on=tuple(dict.fromkeys((*upstream, *makers))),
        work=work,
        visits=chain.visits,
        seconds=seconds(chain.checkpoints),
        reason=_reason(chain, step) if owner is None else _owners_reason(chain, owner),
    )


def _owners_reason(chain: Chain, owner: Owner) -> str:
    why = _why(chain, "has lost a checkpoint that is needed")
    command = f"{shlex.join(owner.command)}, in {owner.folder}"
    return f"{chain.run_id} {why}, and was only observed; its owner trains it again: {command}"


def _reason(chain: Chain, step: int) -> str:
    origin = "no checkpoint before the forgotten records is left: from scratch"
    if chain.restart is not None:
        origin = f"{chain.restart} at step {step} is the last clean state"
    if chain.fallback_from is not None:
        origin += f"; {chain.fallback_from} would have served but is damaged"
    why = _why(chain, "has lost a clean checkpoint that is needed")
    return f"{chain.run_id} {why}; {origin}"


def _why(chain: Chain, otherwise: str) -> str:
    if any(each.tainted for each in chain.checkpoints):
        return "trained on the forgotten records"
    if any(each.barred for each in chain.checkpoints):
        return "trained on records of another request, and something is made of it again"
    return otherwise
