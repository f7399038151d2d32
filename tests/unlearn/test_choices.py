"""Choices between versions: told of whoever may have steered them, and never taken for learning."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage.data.dataset import head
from lineage.data.identity import resolve
from lineage.provenance.listing import thing
from lineage.training.choice import choose
from storage import ledger
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError
from unlearn.audit.evidence import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.impact import impact
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

PICK = st.integers(0, 9)
CHOICES = st.lists(st.tuples(PICK, st.lists(PICK, max_size=2), st.booleans()), min_size=1)


def choose_among(lived: Any, picks: Any) -> list[tables.Choice]:
    """Make choices among the versions of a history, by a base dataset or by nothing."""
    made, every = [], lived.versions
    for chosen, rivals, looked in picks:
        winner = every[chosen % len(every)]
        over = {every[each % len(every)] for each in rivals} - {winner}
        by = {list(lived.rows)[-1]: "loss"} if looked or not over else {}
        made.append(choose(lived.store, winner, sorted(over), by))
    return made


@pytest.mark.no_cover
def test_choices_are_told_of_those_who_may_have_steered_them_and_taint_nothing(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=2)
    @given(histories.histories(), CHOICES)
    def holds(history: Any, picks: Any) -> None:
        with histories.lived(history) as lived:
            if not lived.versions:
                return
            questions = list(lived.questions())
            positions = [resolve(lived.store, k, [n], w)[n] for k, n, w, _ in questions]
            before = [impact(lived.store, each) for each in positions]
            made = choose_among(lived, picks)
            for found, rows, earlier in zip(positions, questions, before, strict=True):
                now = impact(lived.store, found)
                assert now.versions == earlier.versions
                assert now.checkpoints == earlier.checkpoints
                kind, name, within, numbers = rows
                answer = lineage.who_saw(lived.store, kind, name, within)
                learned = oracle.truth(lived).reach(numbers).versions
                told = {each.choice: (set(each.by), set(each.over)) for each in answer.chosen}
                assert told == expected(lived, made, numbers, learned)

    holds()


def expected(
    lived: Any, made: list[tables.Choice], numbers: set[int], learned: set[str]
) -> dict[str, tuple[set[str], set[str]]]:
    """What should be told of each choice, by the numbers that are really in the datasets."""
    version = head(lived.store, list(lived.rows)[-1])
    seen = set(version.column("id")[version.present.positions].tolist()) & numbers
    steered = {each.id: ({*each.by} if seen else set(), {*each.over} & learned) for each in made}
    return {choice: each for choice, each in steered.items() if any(each)}


@pytest.fixture
def two(store: Any, tally: Any, workshop: Any) -> tuple[str, str]:
    """Versions of two models that learned from different people."""
    tally.register(store)
    late = workshop.people(48)[24:48]
    tally.register(store, "late", [{**row, "id": f"late-{row['id']}"} for row in late])
    first = tally.train(store)
    return first.id, tally.train(store, "other", config={"data": "late"}).id


def forgotten(store: Any, person: str) -> tuple[Any, str]:
    request = accept(store, "subject", [person])
    plan_id, plan = make_plan(store, [request.id])
    return plan, plan_id


def test_a_plan_and_its_claim_name_the_choices_that_are_not_made_again(
    store: Any, two: tuple[str, str], twin_here: None
) -> None:
    first, second = two
    choice = choose(store, second, [first], {"people": "loss"})
    plan, plan_id = forgotten(store, "person-03")
    (note,) = plan.notes
    assert note.startswith(f"{second} was chosen by looking at dsv-")
    assert f"over {first}, which learned from them: that choice is not made again" in note
    assert {t.work.version_id for t in plan.tasks if t.work.kind == "aggregate"} == {first}
    caveat = f"choices that the forgotten may have steered: {choice.id}"
    assert caveat in apply(store, plan_id)["check"]["claim"]["caveats"]
    later = verify_plan(store, plan_id, twin=True)
    assert (later.statement.claim, later.verdict) == ("replay-verified", "passed")
    assert caveat in later.statement.caveats
    other, _ = forgotten(store, "person-30")
    assert other.notes == ()


def test_a_choice_is_shown_committed_and_drawn(store: Any, two: tuple[str, str]) -> None:
    first, second = two
    choice = choose(store, "other", [first], {"late": "accuracy", "people": None})
    shown = thing(store, choice.id)
    assert (shown.version, shown.over) == (second, (first,))
    assert shown.by == {head(store, "late").id: "accuracy", head(store, "people").id: None}
    with store.catalogue.read() as session:
        assert ledger.revision(session, "choice")
    for asked in (first, second):
        links = lineage.trace(store, asked).selection
        assert (first, second, "loses") in {(e.start, e.end, e.kind) for e in links}
    up = lineage.trace(store, second, down=False)
    assert first not in {each.id for each in up.upstream}
    again = choose(store, first, [second])
    assert lineage.trace(store, first).nodes
    assert again.over == (second,)


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        (lambda a, b: (b, [b], {}), InvalidInputError, "cannot be chosen over itself"),
        (lambda a, b: (b, [], {}), InvalidInputError, "nothing is said of what"),
        (lambda a, b: (b, ["nobody"], {}), NotFoundError, "no model 'nobody'"),
        (lambda a, b: (b, [], {"nothing": None}), NotFoundError, "no dataset 'nothing'"),
        (lambda a, b: (b, [], {"dsv-0": None}), NotFoundError, "no dataset version dsv-0"),
    ],
)
def test_a_choice_that_says_nothing_or_names_what_is_not_there_is_refused(
    store: Any,
    two: tuple[str, str],
    wanted: Callable[[str, str], Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        choose(store, *wanted(*two))
