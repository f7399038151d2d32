"""Who saw whom: the whole answer, against the diary and against the file of the catalogue."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from lineage.data.dataset import add
from lineage.errors import AmbiguousIdError
from lineage.provenance.query import ErasedAnswer, WhoSaw, live_versions, who_saw
from lineage.provenance.reach import Moment
from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from unlearn.request.lifecycle import accept, cancel

MOMENTS = st.integers(0, 24)


def agree(histories: ModuleType, oracle: ModuleType, history: Any, at: int) -> None:
    """Ask about each, now and at a moment, and about all subjects as one set."""
    with histories.lived(history) as lived:
        truth = oracle.truth(lived)
        for kind, name, within, rows in lived.questions():
            whole, then = truth.reach(rows), truth.reach(rows, at)
            now = who_saw(lived.store, kind, name, within)
            assert_same(lived, now, whole, whole)
            assert isinstance(now, WhoSaw)
            assert {(each.run, s) for each in now.measured for s in each.steps} == truth.measured(
                rows
            )
            answer = who_saw(lived.store, kind, name, within, Moment(at))
            assert_same(lived, answer, then, whole)
        subjects = {name: rows for kind, name, _, rows in lived.questions() if kind == "subject"}
        whole = truth.reach(set().union(*subjects.values()))
        if subjects:
            together = who_saw(lived.store, "subject", [*subjects, *subjects], "people")
            assert_same(lived, together, whole, whole)
            assert (together.asked, together.erased) == (len(subjects), {})


def assert_same(lived: Any, answer: Any, expected: Any, whole: Any) -> None:
    assert isinstance(answer, WhoSaw)
    assert answer.complete
    assert answer.state == ("trained" if expected.runs or expected.segments else "not-trained")
    assert {run: list(steps) for run, steps in answer.steps.items()} == {
        run: steps for run, (steps, *_) in expected.runs.items()
    }
    assert {each.run: (each.visits, each.first_step) for each in answer.runs} == {
        run: (visits, min(steps, default=None))
        for run, (steps, visits, *_) in expected.runs.items()
    }
    assert set(answer.checkpoints) == expected.checkpoints
    assert {each.id for each in answer.models} == expected.versions
    assert_path(lived, answer, expected, whole)


def assert_path(lived: Any, answer: WhoSaw, expected: Any, whole: Any) -> None:
    """From a version that holds rows, over what was entered, each node made by the one before.

    It may have been entered later than the moment asked about, by a run that others began from.
    """
    if not expected.segments | expected.fits:
        assert answer.path == ()
        return
    first, entered, *rest = (node.id for node in answer.path)
    trained = lived.sql(
        "SELECT s.id, i.version_id FROM segments s JOIN run_inputs i ON i.run_id = s.run_id"
        " WHERE i.trains"
    )
    fitted = lived.sql(
        "SELECT f.id, i.version_id FROM fits f JOIN run_inputs i"
        " ON i.run_id = f.run_id AND i.alias = f.alias"
    )
    assert (entered, first) in [*trained, *fitted]
    assert any(entered in segments | fits for _, _, segments, fits in whole.runs.values())
    assert (entered, *rest)[-1] in (
        expected.segments | expected.fits | expected.checkpoints | expected.versions
    )
    follows = set(lived.sql("SELECT id, checkpoint_id FROM segments"))
    follows |= set(lived.sql("SELECT checkpoint_id, version_id FROM model_members"))
    follows |= set(
        lived.sql("SELECT m.checkpoint_id, s.id FROM run_models m JOIN segments s USING (run_id)")
    )
    follows |= set(lived.sql("SELECT f.id, s.id FROM fits f JOIN segments s USING (run_id)"))
    follows |= set(
        lived.sql(
            "SELECT c.id, s.id FROM checkpoints c JOIN segments s JOIN runs r ON r.id = s.run_id"
            " WHERE c.id = r.start_id OR (c.run_id = r.id AND c.step = s.first_step)"
        )
    )
    assert all(pair in follows for pair in zip((entered, *rest), rest, strict=False))
    assert (answer.path[-1].kind == "model-version") or not expected.versions


@pytest.mark.no_cover
def test_who_saw_is_what_a_walk_over_every_batch_finds(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=5)
    @given(histories.histories(), MOMENTS)
    def holds(history: Any, at: int) -> None:
        agree(histories, oracle, history, at)

    holds()


@pytest.mark.soak
def test_who_saw_in_many_histories(histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any, at: int) -> None:
        agree(histories, oracle, history, at)

    histories.soak(12, holds, histories.histories(), MOMENTS)


Live = Callable[..., Any]
ROWS = {
    "a": tuple((n, str(n), ((f"p{n % 5}",) if n % 5 else ())) for n in range(20)),
    "b": tuple((1_000 + n, str(n), ("q",)) for n in range(5)),
}


@pytest.fixture
def live(histories: ModuleType) -> Live:
    """Live through a history over ``a`` and ``b``, given its trainings."""

    def through(*models: str, **rest: Any) -> Any:
        recipe = Recipe(epochs=2, batch_size=4)
        trainings = tuple(histories.Training("a", recipe, model=model, **rest) for model in models)
        return histories.lived(histories.History(ROWS, trainings))

    return through


def test_somebody_nobody_trained_on_is_not_trained(live: Live) -> None:
    with live("m", evaluate=("b",)) as lived:
        answer = who_saw(lived.store, "subject", "q")
        assert isinstance(answer, WhoSaw)
        assert (answer.state, answer.records, answer.datasets) == ("not-trained", 5, {"b": 5})
        assert answer.runs == answer.checkpoints == answer.models == answer.path == ()


def test_the_path_of_what_was_only_fitted_on_begins_at_its_own_dataset(live: Live) -> None:
    with live("m", fit=("b",)) as lived:
        answer = who_saw(lived.store, "subject", "q")
        assert isinstance(answer, WhoSaw)
        assert answer.steps == dict.fromkeys(lived.diary, ())
        assert [node.kind for node in answer.path[:3]] == ["dataset-version", "fit", "segment"]
        ((version,),) = lived.sql("SELECT head_id FROM datasets WHERE name = 'b'")
        assert answer.path[0].id == version


def test_nobody_knows_an_unknown_id(live: Live) -> None:
    with live("m") as lived, pytest.raises(NotFoundError, match="no dataset has this subject"):
        who_saw(lived.store, "subject", "p9")


def test_a_record_id_in_two_datasets_needs_one_to_be_named(live: Live) -> None:
    with live("m") as lived:
        with pytest.raises(AmbiguousIdError, match="several datasets: a, b"):
            who_saw(lived.store, "record", "1")
        answer = who_saw(lived.store, "record", "1", "b")
        assert isinstance(answer, WhoSaw)
        assert answer.state == "not-trained"


def test_a_fence_alone_hides_nothing_and_its_cancelling_changes_nothing(live: Live) -> None:
    with live("m") as lived:
        before = who_saw(lived.store, "subject", "p1")
        request = accept(lived.store, "subject", ["p1"])
        assert who_saw(lived.store, "subject", "p1") == before
        cancel(lived.store, request.id)
        assert who_saw(lived.store, "subject", "p1") == before


def test_the_erased_are_answered_with_request_and_date(live: Live, apply: Any) -> None:
    with live("m") as lived:
        request = accept(lived.store, "subject", ["p1"])
        apply(lived.store, request.id)
        answer = who_saw(lived.store, "subject", "p1")
        assert isinstance(answer, ErasedAnswer)
        assert (answer.request, answer.request_state) == (request.id, "done")
        others = who_saw(lived.store, "subject", "p2")
        assert isinstance(others, WhoSaw)
        purged = {each for (each,) in lived.sql("SELECT id FROM checkpoints WHERE purged_at > 0")}
        assert set(others.purged_checkpoints) == purged != set()
        assert not set(others.checkpoints) & purged
        assert [(each.sequence, each.live, each.purged) for each in others.models] == [
            (1, False, True),
            (2, True, False),
        ]


def test_an_erasure_is_told_where_the_id_lives_on_in_another_dataset(
    live: Live, apply: Any, workshop: Any, tmp_path: Path
) -> None:
    with live("m") as lived:
        request = accept(lived.store, "subject", ["p1"])
        apply(lived.store, request.id)
        rows = workshop.written(tmp_path / "again.csv", [{"id": "1", "person": "p1"}])
        add(lived.store, "again", rows, id_columns=("id",), subject_columns=("person",))
        answer = who_saw(lived.store, "subject", "p1")
        assert isinstance(answer, WhoSaw)
        assert (answer.asked, answer.records, answer.datasets) == (1, 1, {"again": 1})
        assert answer.erased == {request.id: 1}
        here = who_saw(lived.store, "subject", "p1", "again")
        assert isinstance(here, WhoSaw)
        assert here.erased == {}


def test_many_cost_no_more_queries_than_one(live: Live) -> None:
    asked: list[str] = []
    with live("m") as lived:
        who_saw(lived.store, "subject", "p1")
        engine = lived.store.catalogue.engine
        event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
        who_saw(lived.store, "subject", "p1")
        one = len(asked)
        who_saw(lived.store, "subject", [f"p{n}" for n in range(1, 5)])
        assert len(asked) == 2 * one > 0


def test_live_is_the_newest_version_and_what_aliases_publications_and_holds_keep(
    live: Live,
) -> None:
    with live(*"mmmmmn") as lived:
        aliased, published, held, withdrawn, newest, other = lived.versions
        now = lived.store.clock()
        with lived.store.catalogue.write() as session:
            model = session.get_one(tables.ModelVersion, aliased).model_id
            session.add(
                tables.Alias(model_id=model, alias="production", version_id=aliased, created_at=now)
            )
            for version, end in ((published, None), (withdrawn, now)):
                session.add(
                    tables.Publication(
                        id=new_id("pub"),
                        version_id=version,
                        recipient="a hospital",
                        created_at=now,
                        withdrawn_at=end,
                    )
                )
            for artefact, end in ((held, None), (withdrawn, now)):
                session.add(
                    tables.Hold(
                        id=new_id("hold"),
                        artefact_id=artefact,
                        reason="litigation",
                        created_at=now,
                        released_at=end,
                    )
                )
        with lived.store.catalogue.read() as session:
            assert live_versions(session) == {aliased, published, held, newest, other}
        with lived.store.catalogue.write() as session:
            retired = session.get_one(tables.ModelVersion, other).model_id
            session.get_one(tables.Model, retired).retired_at = now
            session.flush()
            assert live_versions(session) == {aliased, published, held, newest}
