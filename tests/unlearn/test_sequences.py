"""Requests in any order, accepted, carried out and withdrawn: what is in use is never a mixture.

At every moment each model in use has the bytes of a training from scratch on sets of rows, one a
chain, that its plans name. The judge folds the numbers of the rows by itself, step by step as they
were given to the first training, less those that a chain's plan leaves out.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
import unlearn
from tests.soak_counts import COUNTED
from tests.unlearn.histories import MEMORY, soak
from tests.unlearn.living import PEOPLE, ROWS, TWINS_ALONE, World
from unlearn.claim import Claim, Verdict

pytestmark = pytest.mark.no_cover

Step = tuple[str, int]
"""What happens next, and a number that picks of whom or of what."""

OFTEN = ["accept", "apply"]
KINDS = ["withdraw", "train", "tune", "teach", "race", "pupil", "mates", "scholar"]
SELDOM = ["grow", "redraw", "hold", "give", "prune"]

steps = st.tuples(st.sampled_from([*OFTEN, *OFTEN, *KINDS, *SELDOM]), st.integers(0, 23))
sequences = st.lists(steps, min_size=3, max_size=9)


def live(sequence: list[Step], *, twins: bool = False) -> None:
    """Let a sequence happen to a new store, and judge after each step."""
    COUNTED["sequences"] += 1
    scratch = tempfile.TemporaryDirectory(dir=MEMORY)
    with scratch as folder, lineage.Store.create(Path(folder, "store")) as store:
        world = World(store, Path(folder))
        world.add([number % PEOPLE for number in range(ROWS)])
        world.train(0)
        for kind, pick in sequence:
            getattr(world, kind)(pick)
            world.judge()
        if twins:
            _with_twins(world)


def _with_twins(world: World) -> None:
    """The claims of the last plans are what their twins bear out."""
    for plan in world.plans[-2:]:
        found = unlearn.verify_plan(world.store, plan, twin=True)
        COUNTED["claims compared"] += 1
        assert found.verdict is Verdict.PASSED, found.statement.reason
        if found.twins and not found.evidence.held:
            assert found.statement.claim is Claim.REPLAY_VERIFIED


@settings(max_examples=int(os.environ.get("SEQUENCES", "12")))
@given(sequence=sequences)
def test_every_model_in_use_is_a_training_from_scratch_at_every_moment(
    sequence: list[Step],
) -> None:
    live(sequence, twins=any(kind in TWINS_ALONE for kind, _ in sequence))


@pytest.mark.parametrize("topology", [0, 1, 2, 3, 6, 7])
def test_case_o_withdrawn(topology: int) -> None:
    """A waits, B is carried out, A is withdrawn, C follows; A comes back and is carried out."""
    live(
        [
            ("train", topology),
            ("accept", 1),
            ("accept", 2),
            ("apply", 1),
            ("withdraw", 0),
            ("accept", 3),
            ("apply", 0),
            ("accept", 1),
            ("apply", 0),
        ],
        twins=topology == 3,
    )


@pytest.mark.soak
def test_ever_new_sequences_leave_no_mixture_behind() -> None:
    soak(12, lambda sequence: live(sequence, twins=_is_one_in_four(sequence)), sequences)


def _is_one_in_four(sequence: list[Step]) -> bool:
    return sum(pick for _, pick in sequence) % 4 == 0
