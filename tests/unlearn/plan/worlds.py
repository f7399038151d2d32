"""Small random worlds for the planner: pure facts, no store behind them."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from unlearn.plan.makers import TransformFacts
from unlearn.plan.world import CheckpointFacts, Owner, RunFacts, VersionFacts, World

MOST = 10
"""Checkpoints in a world: every subset of them is tried."""


@dataclass(frozen=True)
class Case:
    """A world, and the checkpoints in it whose bytes are damaged."""

    world: World
    damaged: frozenset[str]

    def usable(self, checkpoint: str) -> bool:
        """What the planner is told when it asks for a checkpoint's bytes to be verified."""
        return checkpoint not in self.damaged


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Runs from scratch, from each other's checkpoints, or of an owner, in every state of decay."""
    checkpoints: dict[str, CheckpointFacts] = {}
    runs: dict[str, RunFacts] = {}
    damaged: set[str] = set()
    transforms: dict[str, TransformFacts] = {}
    derives = draw(st.booleans())
    for number in range(draw(st.sampled_from([1, 2, 3, 4]))):
        if derives and draw(st.booleans()):
            _transform(draw, f"tf-{number}", checkpoints, transforms)
        read = _chosen(draw, transforms)
        _run(draw, f"run-{number}", checkpoints, runs, damaged, read, transforms)
    tainted_runs = {each.run_id for each in checkpoints.values() if each.tainted}
    transforms = _with_heads(draw, transforms)
    fits = tuple(f"fit-{run}" for run in sorted(tainted_runs) if draw(RARELY))
    others = draw(st.sets(st.sampled_from(list(checkpoints)), max_size=2))
    checkpoints = _with_barred(checkpoints, others)
    fenced = frozenset(c.segment_id for c in checkpoints.values() if c.barred)
    versions = _versions(draw, checkpoints, runs)
    settled = frozenset(each for each in runs if draw(st.booleans()))
    world = World(checkpoints, runs, versions, fits, fenced, transforms, settled=settled)
    return Case(world, frozenset(damaged))


OWNER = Owner(("python", "train.py"), "their-folder")
RARELY = st.sampled_from([False, False, False, True])
SOUND, DAMAGED, PURGED = "sound", "damaged", "purged"
CONDITION = st.sampled_from([SOUND, SOUND, DAMAGED, PURGED])


def _run(
    draw: st.DrawFn,
    run: str,
    checkpoints: dict[str, CheckpointFacts],
    runs: dict[str, RunFacts],
    damaged: set[str],
    read: tuple[str, ...],
    transforms: dict[str, TransformFacts],
) -> None:
    """Add a run: of its own, a fine-tune, a replay that goes on where another run was, or observed.

    It may read other models, and may then take no step of its own: its only checkpoint is at 0.
    The forgotten records enter it in one of its segments, or in none; with rows ``read`` from a
    transform of a tainted model, in the first. What was only observed begins from scratch, and
    nothing but its owner's command goes on with it.
    """
    owner = OWNER if draw(RARELY) else None
    previous = None if owner else draw(st.sampled_from([None, *checkpoints]))
    executed = previous is not None and runs[checkpoints[previous].run_id].owner is None
    replay = executed and draw(st.booleans())
    step = checkpoints[previous].step if replay and previous else 0
    program = draw(st.sampled_from(["prog-1", "prog-2"]))
    settings = "other" if len(checkpoints) % 3 == 2 else ""
    given: set[str] = set()
    if checkpoints and draw(RARELY):
        given = draw(st.sets(st.sampled_from(list(checkpoints)), min_size=1, max_size=2))
    each_alone = tuple((each,) for each in sorted(given))
    models = draw(st.sampled_from([each_alone, (tuple(sorted(given)),)])) if given else ()
    runs[run] = RunFacts(run, program, step, read, owner, settings, models)
    still = bool(given) and not replay and owner is None and draw(st.booleans())
    count = 1 if still else draw(st.sampled_from([1, 2, 3, 4, 5]))
    taught = any(transforms[each].taught for each in read)
    enters = 0 if taught else draw(st.integers(0, count))
    for number in range(count):
        if len(checkpoints) == MOST:
            return
        after, condition = step + (0 if still else draw(st.integers(1, 3))), draw(CONDITION)
        name = f"ckpt-{len(checkpoints)}"
        checkpoints[name] = CheckpointFacts(
            id=name,
            run_id=run,
            step=after,
            first_step=step,
            previous=previous,
            kept=condition != PURGED,
            tainted=(number == enters and (taught or not still))
            or any(checkpoints[each].tainted for each in given | ({previous} - {None})),
            visits=0 if still else draw(st.integers(0, 9)),
            seconds=0.0,
            segment_id=f"seg-{name}",
            given=tuple(sorted(given)),
        )
        if condition == DAMAGED:
            damaged.add(name)
        previous, step = name, after


def _with_barred(
    checkpoints: dict[str, CheckpointFacts], others: set[str]
) -> dict[str, CheckpointFacts]:
    """Let records of other requests enter the segments of some checkpoints."""
    barred: dict[str, CheckpointFacts] = {}
    for name, each in checkpoints.items():
        descends = any(barred[source].barred for source in each.sources)
        reached = each.tainted or name in others or descends
        barred[name] = replace(each, barred=reached)
    return barred


def _transform(
    draw: st.DrawFn,
    name: str,
    checkpoints: dict[str, CheckpointFacts],
    transforms: dict[str, TransformFacts],
) -> None:
    """Add a transform, perhaps of what another made, perhaps with models."""
    before = _chosen(draw, transforms)
    given: set[str] = set()
    if checkpoints:
        given = draw(st.sets(st.sampled_from(list(checkpoints)), max_size=2))
    taught = any(checkpoints[each].tainted for each in given)
    plain = not given and all(transforms[each].wanted for each in before)
    transforms[name] = TransformFacts(name, name, before, tuple(sorted(given)), taught, plain)


def _chosen(draw: st.DrawFn, transforms: dict[str, TransformFacts]) -> tuple[str, ...]:
    """Perhaps one of the transforms, with those before it, in order."""
    if not transforms or draw(st.booleans()):
        return ()
    last = draw(st.sampled_from(list(transforms)))
    return (*transforms[last].before, last)


def _with_heads(
    draw: st.DrawFn, transforms: dict[str, TransformFacts]
) -> dict[str, TransformFacts]:
    """Perhaps one of the transforms made what new runs read."""
    heads = _chosen(draw, transforms)
    return {
        name: replace(each, wanted=each.wanted or name in heads)
        for name, each in transforms.items()
    }


def _versions(
    draw: st.DrawFn, checkpoints: dict[str, CheckpointFacts], runs: dict[str, RunFacts]
) -> tuple[VersionFacts, ...]:
    """Versions of a few models; members may be any checkpoints, shared with other versions.

    What was observed is no ensemble: its version is the end of its run alone.
    """
    versions: list[VersionFacts] = []
    last = {each.run_id: each.id for each in checkpoints.values()}
    ends = list(last.values())
    some = st.lists(st.sampled_from(list(checkpoints)), min_size=1, max_size=4)
    for model in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 2))
        for sequence in range(1, count + 1):
            members = draw(st.just(ends) | some)
            of = [checkpoints[member].run_id for member in members]
            members = next(([last[run]] for run in of if runs[run].owner), members)
            newest = sequence == count
            versions.append(
                VersionFacts(
                    id=f"mv-{len(versions)}",
                    model=f"model-{model}",
                    sequence=sequence,
                    members=dict(enumerate(members)),
                    live=newest or draw(st.booleans()),
                    newest=newest,
                    tainted=any(checkpoints[member].tainted for member in members),
                    interim=False,
                )
            )
    return tuple(versions)
