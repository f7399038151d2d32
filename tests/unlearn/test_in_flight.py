"""What is under way when somebody is forgotten: it stops, and nothing of it is published."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import lineage
import unlearn
from lineage.errors import RunStoppedError
from lineage.provenance.query import live_versions
from lineage.training.ensemble import resume
from storage.catalogue import tables
from tests.unlearn import folding
from unlearn.errors import StalePlanError

RECIPE = lineage.Recipe(epochs=2, batch_size=8, checkpoint_every=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    """A store with two data sets about different people, and a model of the first."""
    with lineage.Store.create(tmp_path / "store") as made:
        for name in ("base", "other"):
            rows = tmp_path / f"{name}.csv"
            lines = (f"{name}{number % 8},{number}" for number in range(64))
            rows.write_text("\n".join(["person,number", *lines]) + "\n", "utf-8")
            lineage.add_dataset(made, name, rows, subject_columns=("person",), namespace="people")
        lineage.train(made, folding.train, {"d": "base"}, "m", RECIPE)
        folding.BETWEEN.clear()
        yield made


def trained(store: Any, dataset: str, model: str, **recipe: Any) -> Any:
    config = {"waits": True, **recipe.pop("config", {})}
    how = lineage.Recipe(epochs=2, batch_size=8, checkpoint_every=3, config=config, **recipe)
    return lineage.train(store, folding.train, {"d": dataset}, model, how)


def forget(store: Any, person: str) -> Callable[[], Any]:
    """What forgets somebody to the end, when it is called."""

    def carried_out() -> Any:
        request = unlearn.accept(store, "subject", [person])
        plan, _ = unlearn.make_plan(store, [request.request_id])
        carried_out.results = unlearn.apply(store, plan, unlearn.InProcess(store))  # type: ignore[attr-defined]

    return carried_out


def newest_member(store: Any, model: str) -> str:
    with store.catalogue.read() as session:
        version, member = tables.ModelVersion, tables.ModelMember
        found = (
            select(member.checkpoint_id)
            .join(version, version.id == member.version_id)
            .join(tables.Model, tables.Model.id == version.model_id)
            .where(tables.Model.name == model, version.purged_at.is_(None))
        )
        return str(session.scalars(found).one())


def models_in_use(store: Any) -> set[str]:
    with store.catalogue.read() as session:
        version = tables.ModelVersion
        named = select(tables.Model.name).join(version, version.model_id == tables.Model.id)
        return set(session.scalars(named.where(version.id.in_(live_versions(session)))))


def test_case_p_in_flight(store: Any) -> None:
    """A fine-tune whose start is purged under it."""
    start = newest_member(store, "m")
    forgetting = forget(store, "base1")
    folding.BETWEEN.append(forgetting)
    with pytest.raises(RunStoppedError, match=f"descends from checkpoint {start}, which was purge"):
        trained(store, "other", "tuned", start=start)
    assert models_in_use(store) == {"m"}
    residuals = forgetting.results["purge"]["residuals"]  # type: ignore[attr-defined]
    assert [each["kind"] for each in residuals].count("run") == 1


def test_a_student_whose_teacher_is_purged_under_it_is_not_published(store: Any) -> None:
    folding.BETWEEN.append(forget(store, "base1"))
    with pytest.raises(RunStoppedError, match="which was purged"):
        trained(store, "other", "student", given={"teacher": "m"}, config={"taught": True})
    assert models_in_use(store) == {"m"}


def test_a_training_whose_rows_are_erased_under_it_publishes_nothing_more(store: Any) -> None:
    folding.BETWEEN.append(forget(store, "other1"))
    with pytest.raises(RunStoppedError, match="rows of which have been erased since"):
        trained(store, "other", "late")
    assert models_in_use(store) == {"m"}


def centred_while_somebody_waits(store: Any) -> Callable[[], Any]:
    """Derive rows from which nobody can be taken away, and return what then forgets ``other1``."""
    lineage.derive(store, folding.centred, "other", "centred")
    request = unlearn.accept(store, "subject", ["other1"])

    def carried_out() -> Any:
        plan, _ = unlearn.make_plan(store, [request.request_id])
        carried_out.results = unlearn.apply(store, plan, unlearn.InProcess(store))  # type: ignore[attr-defined]

    return carried_out


def test_a_training_on_rows_that_the_forgotten_had_a_part_in_publishes_nothing_more(
    store: Any,
) -> None:
    forgetting = centred_while_somebody_waits(store)
    folding.BETWEEN.append(forgetting)
    with pytest.raises(RunStoppedError, match="rows of which have been erased since"):
        trained(store, "centred", "late")
    assert models_in_use(store) == {"m"}
    residuals = forgetting.results["purge"]["residuals"]  # type: ignore[attr-defined]
    assert [each["kind"] for each in residuals].count("run") == 1


def test_what_is_published_while_rows_are_being_erased_is_refused(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what is marked and what is erased, a run under way is stopped by the plan alone."""
    forgetting = centred_while_somebody_waits(store)
    folding.BETWEEN.append(forgetting)
    monkeypatch.setattr("unlearn.tasks.purge.erase_rows", lambda *_: 0)
    with pytest.raises(RunStoppedError, match="was stopped by a plan, which erases rows"):
        trained(store, "centred", "late")
    assert models_in_use(store) == {"m"}


def test_a_training_that_was_stopped_does_not_go_on_with_rows_that_are_erased(store: Any) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    forgetting = centred_while_somebody_waits(store)
    folding.BETWEEN.append(stop)
    with pytest.raises(KeyboardInterrupt):
        trained(store, "centred", "late")
    forgetting()
    with store.catalogue.read() as session:
        training = session.scalars(select(tables.Training.id).order_by(tables.Training.created_at))
        stopped = [*training][-1]
    with pytest.raises(RunStoppedError, match="rows of which have been erased since"):
        resume(store, stopped)
    assert models_in_use(store) == {"m"}


def test_a_training_of_what_waits_stops_and_belongs_to_the_impact_of_the_request(
    store: Any,
) -> None:
    folding.BETWEEN.append(lambda: unlearn.accept(store, "subject", ["other1"]))
    with pytest.raises(RunStoppedError, match="are being forgotten"):
        trained(store, "other", "late")
    assert models_in_use(store) == {"m"}


def test_a_plan_whose_replay_a_new_request_stops_names_a_way_on_that_works(store: Any) -> None:
    trained(store, "other", "late")
    first = unlearn.accept(store, "subject", ["other1"])
    plan, _ = unlearn.make_plan(store, [first.request_id])
    folding.BETWEEN.append(lambda: unlearn.accept(store, "subject", ["other2"]))
    with pytest.raises(StalePlanError, match="cannot go on") as stopped:
        unlearn.apply(store, plan, unlearn.InProcess(store))
    assert stopped.value.hint.endswith(f"expunge plan {first.request_id}")
    again, _ = unlearn.make_plan(store, [first.request_id])
    unlearn.apply(store, again, unlearn.InProcess(store))
    assert unlearn.verify_plan(store, again, twin=True).verdict.value == "passed"


def test_a_program_may_not_open_models_by_itself(store: Any) -> None:
    folding.BETWEEN.append(lambda: lineage.load_model(store, "m"))
    with pytest.raises(lineage.errors.ProgramError, match="opens model version"):
        trained(store, "other", "student")
