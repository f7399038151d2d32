"""The oracle knows the truth, and the kit believes no watcher that lies."""

from pathlib import Path
from typing import Any

import pytest
import torch

from storage.errors import ExpungeError
from tests.lineage.loops.harness import Bare, Env, Loop, run, try_loop
from tests.lineage.loops.shapes import accumulation, by_hand, loaders, models, replay, updates
from tests.lineage.loops.toy_watcher import ToyWatcher
from tests.lineage.loops.verdict import Answer, Judgement, Verdict


def _learned(loop: Loop, tmp_path: Path) -> list[list[int]]:
    return [sorted(update.learned) for update in run(loop, Bare(), "key", 0, tmp_path).updates]


def _judged(watcher: ToyWatcher, tmp_path: Path, loop: Loop = accumulation.two.loop) -> Judgement:
    return try_loop(loop, watcher, "key", 0, tmp_path)


def test_the_oracle_knows_what_plain_steps_learned_from(tmp_path: Path) -> None:
    assert _learned(loaders.listed_batches.loop, tmp_path) == [[1, 3], [1, 4, 5], [2, 5, 6, 9]] * 2


def test_the_oracle_finds_gradients_that_were_kept_thrown_away_and_put_together(
    tmp_path: Path,
) -> None:
    def loop(env: Env) -> None:
        first, second, third = env.loader(batch_size=4)
        weight = env.model.weight
        env.loss(first).backward()
        kept, weight.grad = weight.grad, None
        env.loss(second).backward()
        weight.grad = None
        env.loss(third).backward()
        weight.grad += kept
        env.optimizer.step()
        env.optimizer.step()
        env.optimizer.zero_grad(set_to_none=False)
        env.optimizer.step()

    together = [0, 1, 2, 3, 8, 9, 10, 11]
    assert _learned(loop, tmp_path) == [together, together, []]


@pytest.mark.parametrize(
    "shape", [by_hand.meta, replay.ring, updates.lbfgs, models.mixup_across], ids=lambda s: s.name
)
def test_the_oracle_finds_more_than_the_last_batch(shape: Any, tmp_path: Path) -> None:
    trace = run(shape.loop, Bare(), "key", 0, tmp_path)
    given = {number for numbers in trace.given for number in numbers}
    assert all(update.learned <= given for update in trace.updates)
    assert all(update.learned for update in trace.updates)


def test_an_honest_watcher_is_believed(tmp_path: Path) -> None:
    for loop in (loaders.shuffled.loop, accumulation.two.loop, updates.closure.loop):
        assert _judged(ToyWatcher(), tmp_path, loop).verdicts == {Verdict.EQUAL}


class NoticesLate(ToyWatcher):
    """Is one batch behind."""

    def given(self, batch: Any) -> Any:
        late, self.held = getattr(self, "held", None), batch
        if late is not None:
            super().given(late)
        return batch


class KnowsTheLast(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(frozenset(self.since[-1]))


class NamesTooFew(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(frozenset(sorted(super().answer().named)[1:]))


class NamesTooMany(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(super().answer().named | {0, 11})


class BoundsTooTightly(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(frozenset(self.since[-1]), bound=True)


class NeverForgets(ToyWatcher):
    """Names everything it was ever given."""

    def stepped(self) -> None:
        self.told.append(self.answer())


class MissesTheLastStep(ToyWatcher):
    def answers(self) -> list[Answer]:
        return self.told[:-1]


class CountsAStepTooMany(ToyWatcher):
    def answers(self) -> list[Answer]:
        return [*self.told, Answer(frozenset())]


class DrawsNumbers(ToyWatcher):
    def given(self, batch: Any) -> Any:
        torch.rand(1)
        return super().given(batch)


class ChangesInputs(ToyWatcher):
    def given(self, batch: Any) -> Any:
        return {**super().given(batch), "x": batch["x"] * 1.5}


class ChangesTheOrder(ToyWatcher):
    def watch(self, loader: Any, *_: Any, **__: Any) -> Any:
        return super().watch(list(loader)[::-1])


class StopsInTheMiddle(ToyWatcher):
    def stepped(self) -> None:
        raise ExpungeError("no further", hint="begin again")


class RefusesWithoutAHint(ToyWatcher):
    def watch(self, *_: Any, **__: Any) -> Any:
        raise ExpungeError("not this loader")


@pytest.mark.parametrize(
    "lying",
    [
        NoticesLate,
        KnowsTheLast,
        NamesTooFew,
        NamesTooMany,
        BoundsTooTightly,
        NeverForgets,
        MissesTheLastStep,
        CountsAStepTooMany,
        DrawsNumbers,
        ChangesInputs,
        ChangesTheOrder,
        StopsInTheMiddle,
        RefusesWithoutAHint,
    ],
)
def test_a_watcher_that_lies_or_meddles_is_caught(lying: type[ToyWatcher], tmp_path: Path) -> None:
    judgement = _judged(lying(), tmp_path)
    assert Verdict.WRONG in judgement.verdicts
    assert judgement.complaints


class Bounds(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(super().answer().named | {0, 11}, bound=True)


class Admits(ToyWatcher):
    def answer(self) -> Answer:
        return Answer(frozenset(), complete=False)


class Refuses(ToyWatcher):
    def watch(self, *_: Any, **__: Any) -> Any:
        raise ExpungeError("not this loader", hint="watch another one")


@pytest.mark.parametrize(
    ("watcher", "verdict"),
    [(Bounds, Verdict.BOUND), (Admits, Verdict.INCOMPLETE), (Refuses, Verdict.REFUSED)],
)
def test_what_is_marked_is_no_lie(
    watcher: type[ToyWatcher], verdict: Verdict, tmp_path: Path
) -> None:
    assert _judged(watcher(), tmp_path).verdicts == {verdict}


def test_a_batch_may_be_named_whole_only_where_the_loop_says_what_was_together(
    tmp_path: Path,
) -> None:
    def loop(env: Env) -> None:
        with env.observe() as run:
            for batch in run.watch(env.loader(batch_size=4)):
                env.oracle.batch(batch["number"] if together else [])
                env.learn({key: batch[key][:2] for key in ("x", "y")})

    together = True
    assert _judged(ToyWatcher(), tmp_path, loop).verdicts == {Verdict.BATCH}
    together = False
    assert Verdict.WRONG in _judged(ToyWatcher(), tmp_path, loop).verdicts


def test_records_whose_features_the_loop_made_zeros_must_be_named_where_it_says_so(
    tmp_path: Path,
) -> None:
    def loop(env: Env) -> None:
        with env.observe() as run:
            for batch in run.watch(env.loader(batch_size=4)):
                env.oracle.silent(batch["number"].tolist() if said else [])
                env.learn({"x": batch["x"] * 0, "y": batch["y"]})

    said = True
    assert _judged(ToyWatcher(), tmp_path, loop).verdicts == {Verdict.EQUAL}
    assert Verdict.WRONG in _judged(NamesTooFew(), tmp_path, loop).verdicts
    said = False
    assert Verdict.WRONG in _judged(ToyWatcher(), tmp_path, loop).verdicts
