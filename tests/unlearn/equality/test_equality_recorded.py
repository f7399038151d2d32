"""Models whose order was drawn, and recorded: what is left of it makes the same bytes anew.

The counterfactual is a loop of plain PyTorch over what the program itself noted at its original
training, with the forgotten struck out. It shares the network, the optimizer and the table of
images with the program, and nothing at all with the library: seeds are derived here by the
published recipe.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pyroaring import BitMap
from sqlalchemy import select

from lineage.data.retained import live
from lineage.errors import ProgramFailedError
from lineage.schedule import RecordedSchedule
from lineage.store import Store
from lineage.training import recording
from lineage.training.ensemble import Recipe, prepare, resume
from storage.catalogue import tables
from tests.unlearn.equality.counterfactual import bits, register, values_in
from tests.unlearn.equality.forgetting import TWIN, ask, forget
from tests.unlearn.equality.trained import MODEL, RECIPES, Trained, Trains, program
from unlearn.audit import verify_plan
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.journal import results
from unlearn.errors import VerificationFailedError
from unlearn.plan.planner import make_plan
from unlearn.twin import kit

SAMPLED, SHUFFLED = "drawn.py:sampled", "drawn.py:shuffled"
TOPOLOGY = {SAMPLED: "curriculum", SHUFFLED: "drawn"}
CONFIG: dict[str, dict[str, Any]] = {SAMPLED: {}, SHUFFLED: {"workers": 0}}
LOADING = 0xA0761D6478BD642F
WORD = 2**64 - 1


class Original(NamedTuple):
    """A model, and what its program noted: the ids of the images of each step."""

    model: Trained
    given: list[tuple[int, list[str]]]
    images: Mapping[str, tuple[np.ndarray, int]]

    @property
    def people(self) -> Mapping[str, str]:
        """The writer of each image."""
        table = self.model.material.table
        return dict(zip(table["id"].to_pylist(), table["writer"].to_pylist(), strict=True))

    def late(self) -> list[str]:
        """Images in the order in which they are first seen, the last ones first."""
        return list(dict.fromkeys(each for _, ids in self.given for each in ids))[::-1]


Draws = Callable[..., Original]


@pytest.fixture
def fate() -> Iterator[ModuleType]:
    """The programs' module: what they are given, and what happens to them."""
    module = sys.modules[program(SAMPLED).function.__module__]
    module.GIVEN.clear()
    yield module
    module.BEFORE.clear()


@pytest.fixture(scope="session")
def notes() -> dict[str, list[tuple[int, list[str]]]]:
    """What each program noted when it trained originally."""
    return {}


@pytest.fixture
def drawn(
    trained: Trains, fate: ModuleType, notes: dict[str, list[tuple[int, list[str]]]]
) -> Draws:
    """``drawn(ref, **config)`` gives a copy of a model, until it is asked for the next."""

    def original(ref: str, **config: Any) -> Original:
        key = f"{ref} {config}"
        model = trained(ref, TOPOLOGY[ref], **(config or CONFIG[ref]))
        table = model.material.table
        pixels = table["pixels"].combine_chunks().flatten().to_numpy().reshape(-1, 784)
        ids, digits = table["id"].to_pylist(), table["digit"].to_pylist()
        by_mark = {fate.mark(image): name for image, name in zip(pixels, ids, strict=True)}
        notes.setdefault(key, list(fate.GIVEN))
        fate.GIVEN.clear()
        given = [(step, [by_mark[mark] for mark in marks]) for step, marks in notes[key]]
        images = dict(zip(ids, zip(pixels, digits, strict=True), strict=True))
        return Original(model, given, images)

    return original


def seed(run_seed: int, step: int) -> None:
    """Seed torch for a step by ``seed/1``: SplitMix64, its upper 63 bits."""
    state = (run_seed + (step + 1) * 0x9E3779B97F4A7C15) & WORD
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & WORD
    torch.manual_seed((state ^ (state >> 31)) >> 1)


def plainly(fate: ModuleType, original: Original, ref: str, gone: set[str]) -> dict[str, object]:
    """What a reader consists of that was trained on the noted batches without some images."""
    seed(0, 0)
    reader = fate.Reader()
    for step, ids in original.given:
        left = [original.images[each] for each in ids if each not in gone]
        if len(left) < 2:
            continue
        seed(LOADING, step)
        floats = fate.noisy if ref == SHUFFLED else fate.plain
        images = torch.stack([floats(image) for image, _ in left])
        seed(0, step + 1)
        reader.learn(images, torch.tensor([digit for _, digit in left]))
    states = {"model": reader.model.state_dict(), "optimizer": reader.optimizer.state_dict()}
    return values_in(states)


def made(original: Original, version: str) -> dict[str, object]:
    """What a version of one member consists of."""
    (state,) = bits(original.model.store, version).shards
    return state


def forget_set(original: Original, which: str) -> tuple[str, list[str], set[str]]:
    """A kind, names of it, and the images that they mean."""
    late = original.late()
    if which == "one record":
        return "record", late[:1], set(late[:1])
    if which == "one person":
        person = original.people[late[0]]
        return "subject", [person], {i for i, p in original.people.items() if p == person}
    return "record", late[::100], set(late[::100])


def replays(outcome: Any) -> list[Any]:
    return [task.work for task in outcome.plan.tasks if task.work.kind == "replay"]


@pytest.mark.parametrize("ref", [SAMPLED, SHUFFLED])
def test_the_noted_batches_are_the_whole_training(ref: str, drawn: Draws, fate: ModuleType) -> None:
    original = drawn(ref)
    assert made(original, original.model.version) == plainly(fate, original, ref, set())


@pytest.mark.parametrize("which", ["one record", "one person", "1%"])
@pytest.mark.parametrize("ref", [SAMPLED, SHUFFLED])
def test_what_is_left_of_a_drawn_order_makes_the_model_without_the_forgotten(
    ref: str, which: str, drawn: Draws, fate: ModuleType, twin_here: None
) -> None:
    original = drawn(ref)
    store = original.model.store
    kind, names, gone = forget_set(original, which)
    outcome = forget(store, kind, names)
    assert outcome.plan.records == len(gone)
    assert made(original, outcome.version) == plainly(fate, original, ref, gone)
    verified = verify_plan(store, outcome.plan_id, twin=True)
    assert (verified.verdict, verified.statement.claim) == ("passed", "replay-verified")
    run = outcome.results["replay-1"]["run"]
    assert f"order_drawn_with_forgotten: {run}" in verified.statement.caveats


def test_a_record_that_comes_late_is_forgotten_from_a_checkpoint_in_the_middle(
    drawn: Draws, fate: ModuleType
) -> None:
    original = drawn(SAMPLED)
    (late, *_) = original.late()
    first = next(step for step, ids in original.given if late in ids)
    outcome = forget(original.model.store, "record", [late])
    (replay,) = replays(outcome)
    assert replay.restart_step == replay.first_step == first // 20 * 20 >= 60
    executed = [step for step, _ in fate.GIVEN if step >= replay.first_step]
    assert executed == list(range(replay.first_step, len(original.given)))
    claim = outcome.results["check"]["claim"]
    assert claim["claim"] == "exact-by-provenance"  # for the journal of the program
    assert claim["reason"].startswith("the program keeps drawn.GIVEN (list) between steps")
    assert outcome.results["probe-1"]["passed"] is True
    with original.model.store.catalogue.read() as session:
        (probe,) = session.scalars(select(tables.Run).where(tables.Run.task_id.like("%/probe-1")))
        followed = {
            session.get_one(tables.RunRecording, run).recording_id
            for run in (probe.id, replay.run_id, outcome.results["replay-1"]["run"])
        }
    assert len(followed) == 1


def test_a_second_request_strikes_more_out_of_the_same_recording(
    drawn: Draws, fate: ModuleType, twin_here: None
) -> None:
    original = drawn(SAMPLED)
    store, late = original.model.store, original.late()
    first = forget(store, "record", [late[3]])
    second = forget(store, "record", [late[0]], TWIN)
    (replay,) = replays(second)
    assert replay.run_id == first.results["replay-1"]["run"]
    expected = plainly(fate, original, SAMPLED, {late[0], late[3]})
    assert made(original, second.version) == expected
    assert second.results["check"]["claim"]["claim"] == "replay-verified"
    with store.catalogue.read() as session:
        recordings = session.scalars(select(tables.RunRecording.recording_id)).all()
    assert len(recordings) > 2
    assert len(set(recordings)) == 1


class PowerFailure(BaseException):
    """Nothing in the library expects this."""


def power_failure() -> None:
    raise PowerFailure


def recorded(store: Store) -> tuple[Any, ...]:
    """What the one recording of a store says: steps, sizes and records in order."""
    with store.catalogue.read() as session:
        (row,) = session.scalars(select(tables.Recording))
    opened = recording.open_recording(store, row.id)
    schedule = RecordedSchedule(opened, int(opened.batches.step[-1]) + 1)
    return (
        opened.batches.step.tolist(),
        opened.batches.size.tolist(),
        opened.between(0, len(opened.batches.step)).tolist(),
        schedule.steps,
    )


def test_a_training_that_lost_power_draws_and_records_what_it_would_have(
    drawn: Draws, fate: ModuleType, tmp_path: Path
) -> None:
    whole = drawn(SAMPLED)
    with Store.create(tmp_path / "interrupted") as store:
        register(store, whole.model.material)
        recipe = Recipe(**RECIPES["curriculum"])
        training = prepare(store, program(SAMPLED), {"few": "few"}, MODEL, recipe)
        for step in (7, 45, 46, 84):
            fate.BEFORE[step] = power_failure
            with pytest.raises(ProgramFailedError, match="PowerFailure"):
                resume(store, training)
        version = resume(store, training).id
        assert bits(store, version) == bits(whole.model.store, whole.model.version)
        assert recorded(store) == recorded(whole.model.store)


def test_processes_that_load_change_nothing(
    drawn: Draws, fate: ModuleType, twin_here: None
) -> None:
    alone = drawn(SHUFFLED)
    before = made(alone, alone.model.version)
    with_two = drawn(SHUFFLED, workers=2)
    assert made(with_two, with_two.model.version) == before
    assert with_two.given == alone.given
    kind, names, gone = forget_set(with_two, "one person")
    outcome = forget(with_two.model.store, kind, names, TWIN)
    assert made(with_two, outcome.version) == plainly(fate, with_two, SHUFFLED, gone)
    assert outcome.results["check"]["claim"]["claim"] == "replay-verified"


def test_a_twin_that_follows_another_order_is_told_from_the_model(
    drawn: Draws, fate: ModuleType, twin_here: None
) -> None:
    original, order = drawn(SAMPLED), kit._Packer._order
    store, late = original.model.store, original.late()[:1]

    def unfiltered(packer: Any, *given: Any) -> str | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kit, "remade", everybody)
            return order(packer, *given)

    plan_id, _ = make_plan(store, [ask(store, "record", late)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit._Packer, "_order", unfiltered)
        with pytest.raises(VerificationFailedError, match="differs from its twin"):
            apply(store, plan_id, InProcess(store), TWIN)
    check = results(store, plan_id)["check"]
    assert (check["claim"]["claim"], check["verdict"]) == ("none", "failed")


def everybody(session: Any, store: Any, version: Any, gone: Any) -> BitMap:
    """Nobody is struck out: where one who is not there was, the twin takes another."""
    return live(version)
