"""The planner's judge: tries every subset of segments, and carries every plan out on paper.

It imports nothing of the code it judges, and reads worlds and tasks by their documented fields.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import compress, product
from typing import Any


def serves(checkpoint: Any, damaged: Collection[str]) -> bool:
    """Whether a checkpoint may be used: clean, purged by nobody, its bytes as they were."""
    return not checkpoint.tainted and checkpoint.kept and checkpoint.id not in damaged


def needed(world: Any, damaged: Collection[str]) -> set[str]:
    """The checkpoints that must be made again: members of replaced versions that do not serve."""
    live = (version for version in world.versions if version.live and version.tainted)
    wanted = {member for version in live for member in version.members.values()}
    for transform in world.transforms.values():
        wanted |= set(transform.given) if transform.wanted else set()
    return {each for each in wanted if not serves(world.checkpoints[each], damaged)}


def sound(world: Any, again: Collection[str], damaged: Collection[str]) -> bool:
    """Whether each of these can be made: from scratch, another of them, or one that serves."""
    facts = world.checkpoints
    befores = {before for each in again for before in needs(world, facts[each])} - {*again}
    return all(begins(facts[before], damaged) for before in befores)


def begins(checkpoint: Any, damaged: Collection[str]) -> bool:
    """Whether something may be made of a checkpoint: it has nothing that the plan leaves out."""
    return serves(checkpoint, damaged) and not checkpoint.barred


def sources(checkpoint: Any) -> set[str]:
    """What a checkpoint was made from: the one before it, and the models its run was given."""
    return ({checkpoint.previous} - {None}) | set(checkpoint.given)


def needs(world: Any, checkpoint: Any) -> set[str]:
    """The same, and the models of the transforms that make its run's rows anew."""
    models: set[str] = set()
    for transform in world.runs[checkpoint.run_id].transforms:
        models |= set(world.transforms[transform].given)
    return sources(checkpoint) | models


def observed(world: Any) -> list[set[str]]:
    """The checkpoints of each run that only its owner can train: all of them, or none."""
    owned = {c.run_id for c in world.checkpoints.values() if world.runs[c.run_id].owner}
    return [{c.id for c in laps(world, run)} for run in owned]


def laps(world: Any, run: str) -> list[Any]:
    """The segments of a run, in order."""
    return sorted((c for c in world.checkpoints.values() if c.run_id == run), key=lambda c: c.step)


def optimum(world: Any, damaged: Collection[str]) -> int:
    """The fewest visits of any sound set of segments that makes what is needed."""
    facts, wanted = world.checkpoints, needed(world, damaged)
    others = [each for each in facts if each not in wanted]
    subsets = (wanted | set(compress(others, mask)) for mask in product((0, 1), repeat=len(others)))
    wholes = observed(world)
    return min(
        sum(facts[each].visits for each in again)
        for again in subsets
        if sound(world, again, damaged)
        and all(whole <= again or not whole & again for whole in wholes)
    )


def from_scratch(world: Any) -> int:
    """The visits of all segments that led to any member of a version in use that is affected."""
    live = (version for version in world.versions if version.live and version.tainted)
    reached: set[str] = set()
    waiting = [member for version in live for member in version.members.values()]
    waiting += [m for each in world.transforms.values() if each.wanted for m in each.given]
    while waiting:
        each = waiting.pop()
        if each not in reached:
            reached.add(each)
            run = world.checkpoints[each].run_id
            waiting += needs(world, world.checkpoints[each])
            waiting += [c.id for c in laps(world, run)] if world.runs[run].owner else []
    return sum(world.checkpoints[each].visits for each in reached)


class Execution:
    """A plan's tasks carried out in their order, on paper; ``faults`` says what went wrong."""

    def __init__(self, world: Any, damaged: Collection[str]) -> None:
        self.world, self.damaged = world, damaged
        self.facts = world.checkpoints
        self.done: set[str] = set()
        self.transformed: dict[str, str] = {}
        self.made: dict[str, dict[int, str]] = {}
        self.replaced: list[str] = []
        self.visits = 0
        self.fallbacks: set[str] = set()
        self.probed: dict[str, tuple[str, ...]] = {}
        self.faults: list[str] = []

    def expect(self, holds: bool, fault: str) -> None:
        """Note a fault unless it holds."""
        if not holds:
            self.faults.append(fault)

    @property
    def again(self) -> list[str]:
        """Every checkpoint that was made, as often as it was."""
        return [each for made in self.made.values() for each in made.values()]

    def carry_out(self, tasks: Sequence[Any]) -> "Execution":
        """Carry out all tasks, and judge the whole."""
        for task in tasks:
            missing = [each for each in task.depends_on if each not in self.done]
            self.expect(not missing, f"{task.id} comes before {missing}")
            getattr(self, f"_{task.work.kind}", lambda task: None)(task)
            self.expect(task.id not in self.done, f"{task.id} is there twice")
            self.done.add(task.id)
        self._judge(tasks)
        return self

    def _probe(self, task: Any) -> None:
        segment = next(c for c in self.facts.values() if c.segment_id == task.work.segment_id)
        self.expect(task.visits == segment.visits, f"{task.id} costs {segment.visits}")
        self.expect(segment.id not in self.probed, f"{segment.id} is probed twice")
        self.probed[segment.id] = task.work.runs
        self._rows(task, segment.run_id)

    def repeatable(self, run: str, before: str | None) -> list[str]:
        """The segments that show whether bits of a run come out the same, the best first.

        They were executed on from the checkpoint ``before`` them, in the same run: those of the
        run, or of what it goes on from, come first; then those of the same program and settings.
        """
        world, chain = self.world, [run]
        while before is not None and self.asked(self.facts[before].run_id) == self.asked(run):
            chain.append(self.facts[before].run_id)
            before = self.facts[before].previous
        found = [
            (c.run_id not in chain, c.visits, c.id)
            for c in self.facts.values()
            if (c.run_id in chain or self.asked(c.run_id) == self.asked(run))
            and world.runs[c.run_id].owner is None
            and c.kept
            and c.visits
            and c.segment_id not in world.fenced
            and c.previous
            and self.facts[c.previous].run_id == c.run_id
            and all(serves(self.facts[each], self.damaged) for each in sources(c))
            and all(each in self.transformed for each in world.runs[c.run_id].transforms)
        ]
        return [name for *_, name in sorted(found)]

    def asked(self, run: str) -> tuple[str, str]:
        """What a run was asked to do."""
        return self.world.runs[run].program_id, self.world.runs[run].specification

    def _replay(self, task: Any) -> None:
        work = task.work
        self.expect(self.world.runs[work.run_id].owner is None, f"nobody can carry out {task.id}")
        own = laps(self.world, work.run_id)
        again = [c for c in own if work.first_step < c.step <= work.until]
        again = again or [c for c in own if work.first_step == c.step == work.until]
        self._make(task, again)
        if not again or again[0].first_step != work.first_step or again[-1].step != work.until:
            self.faults.append(f"{task.id} begins or ends where no checkpoint is")
            return
        self._start(task, again[0].previous)
        passed_over = {c.id for c in again if self._passed_over(c)}
        self.expect(bool(work.fallback_from) or not passed_over, f"{task.id} hides a fallback")
        self.fallbacks |= {work.fallback_from} - {None}

    def _external(self, task: Any) -> None:
        work, owner = task.work, self.world.runs[task.work.run_id].owner
        theirs = owner and (owner.command, owner.folder) == (work.command, work.folder)
        self.expect(theirs, f"{task.id} has not the command of an owner")
        self._make(task, laps(self.world, work.run_id))

    def _make(self, task: Any, again: Sequence[Any]) -> None:
        for each in again[0].given if again else ():
            self._given(task, each)
        self.made[task.id] = {c.step: c.id for c in again}
        self._rows(task, task.work.run_id)
        visits = sum(c.visits for c in again)
        self.expect(task.visits == visits, f"{task.id} costs {visits}, not {task.visits}")
        self.visits += visits

    def _transform(self, task: Any) -> None:
        transform = self.world.transforms[task.work.transform_id]
        self.expect(transform.id not in self.transformed, f"{transform.id} is executed twice")
        for each in transform.given:
            self._given(task, each)
        self._wait(task, transform.before)
        self._wait(task, self.transformed)
        self.transformed[transform.id] = task.id

    def _rows(self, task: Any, run: str) -> None:
        self._wait(task, self.world.runs[run].transforms)

    def _wait(self, task: Any, transforms: Collection[str]) -> None:
        """The task waits for the tasks of these transforms."""
        makers = {self.transformed.get(each) for each in transforms}
        self.expect(makers <= set(task.depends_on), f"{task.id} does not wait for its rows")

    def _given(self, task: Any, model: str) -> None:
        """A model that a run reads is there, or what a task makes in its place."""
        stands = task.work.given.get(model)
        may = serves if task.work.kind == "transform" else begins
        there = may(self.facts[model], self.damaged)
        if stands is None:
            self.expect(there, f"{task.id} cannot read {model}")
            return
        made = self.made.get(stands.task, {}).get(stands.step)
        self.expect(made == model, f"{stands.task} does not make {model}, which {task.id} reads")
        self.expect(stands.task in task.depends_on, f"{task.id} does not wait for {model}")

    def _start(self, task: Any, before: str | None) -> None:
        restart = task.work.restart
        step = 0 if before is None else self.facts[before].step
        self.expect(task.work.restart_step == step, f"{task.id} restarts at another step")
        if before is None or restart is None:
            self.expect(before is restart, f"{task.id} restarts from {restart}, not {before}")
        elif restart in self.facts:
            there = restart == before and begins(self.facts[before], self.damaged)
            self.expect(there, f"{task.id} cannot restart from {restart}")
        else:
            there = begins(self.facts[before], self.damaged)
            self.expect(not there, f"{task.id} waits for {before}, which is there")
            made = self.made.get(restart, {}).values()
            self.expect(before in made, f"{restart} does not make what {task.id} restarts from")
            self.expect(restart in task.depends_on, f"{task.id} does not wait for {restart}")

    def _aggregate(self, task: Any) -> None:
        self.replaced.append(task.work.version_id)
        version = next(v for v in self.world.versions if v.id == task.work.version_id)
        for shard, member in version.members.items():
            given = task.work.members[shard]
            if serves(self.facts[member], self.damaged) and member not in self.again:
                self.expect(getattr(given, "checkpoint_id", "") == member, f"{member} was clean")
                continue
            made = self.made.get(getattr(given, "task", ""), {})
            same = made.get(getattr(given, "step", -1)) == member
            self.expect(same, f"{task.id} has nothing in place of {member}")
            self.expect(same and given.task in task.depends_on, f"{task.id} does not wait")

    def _interim(self, task: Any) -> None:
        version = next(v for v in self.world.versions if v.id == task.work.version_id)
        clean = {s: m for s, m in version.members.items() if serves(self.facts[m], self.damaged)}
        self.expect(task.work.members == clean, f"{task.id} serves others than the clean members")
        self.expect(version.newest and version.tainted, f"{version.id} needs no interim")

    def _purge(self, task: Any) -> None:
        left = {c.id for c in self.facts.values() if c.kept} - set(task.work.checkpoints)
        left |= {v.id for v in self.world.versions} - set(task.work.versions)
        left |= set(self.world.fits) - set(task.work.fits)
        tainted = {c.id for c in self.facts.values() if c.tainted} | set(self.world.fits)
        tainted |= {v.id for v in self.world.versions if v.tainted}
        gone = {*task.work.checkpoints, *task.work.versions, *task.work.fits}
        self.expect(not left & tainted, f"purge leaves {sorted(left & tainted)}")
        self.expect(gone <= tainted, f"purge destroys {sorted(gone - tainted)}, which are clean")

    def _judge(self, tasks: Sequence[Any]) -> None:
        kinds = [task.work.kind for task in tasks]
        self.expect(kinds[-3:] == ["check", "publish", "purge"], "it does not end as plans end")
        live = {v.id for v in self.world.versions if v.live and v.tainted}
        self.expect(sorted(self.replaced) == sorted(live), "it replaces other versions")
        self.expect(len(self.again) == len(set(self.again)), "it makes something twice")
        best = optimum(self.world, self.damaged)
        self.expect(self.visits == best, f"it costs {self.visits}, the cheapest costs {best}")
        self.expect(best >= optimum(self.world, ()), "damage made it cheaper")
        passed_over = {each for each in self.again if self._passed_over(self.facts[each])}
        self.expect(self.fallbacks <= passed_over, "it names a fallback that was none")
        self.expect(set(self._interims(tasks)) == self._served(), "it serves others meanwhile")
        self._judge_probes([task.work for task in tasks])
        runs = {task.work.run_id for task in tasks if task.work.kind in ("replay", "external")}
        wanted = {each.id for each in self.world.transforms.values() if each.wanted}
        wanted.update(each for run in runs for each in self.world.runs[run].transforms)
        self.expect(self.transformed.keys() == wanted, "it executes other transforms")
        check = next((task for task in tasks if task.work.kind == "check"), None)
        waits = set(check.depends_on) if check else set()
        before = {task.id for task in tasks[:-3]}
        self.expect(waits == before, "the check does not wait for everything before it")

    def _judge_probes(self, works: Sequence[Any]) -> None:
        expected: dict[str, list[str]] = {}
        for work in works:
            if work.kind == "replay" and work.restart is not None:
                first = next(c for c in self._made_by(work) if c.first_step == work.first_step)
                for best in self.repeatable(work.run_id, first.previous)[:1]:
                    expected.setdefault(best, []).append(work.run_id)
        runs = {each: tuple(dict.fromkeys(found)) for each, found in expected.items()}
        self.expect(self.probed == runs, f"it probes {self.probed}, not {runs}")

    def _made_by(self, work: Any) -> Iterator[Any]:
        return (
            c
            for c in laps(self.world, work.run_id)
            if work.first_step < c.step <= work.until or work.first_step == c.step == work.until
        )

    def _passed_over(self, checkpoint: Any) -> bool:
        return not checkpoint.barred and checkpoint.kept and checkpoint.id in self.damaged

    def _interims(self, tasks: Sequence[Any]) -> Iterator[str]:
        return (task.work.version_id for task in tasks if task.work.kind == "interim")

    def _served(self) -> set[str]:
        """Newest versions that lose some members and keep others."""
        found = set()
        for version in self.world.versions:
            left = [m for m in version.members.values() if serves(self.facts[m], self.damaged)]
            if version.newest and version.live and version.tainted and left:
                found.add(version.id)
        return found
