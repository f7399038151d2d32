"""Rows that somebody deleted or changed, which no entry of the ledger states: others do."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from lineage.store import CATALOGUE, Store
from lineage.training.registry import hold, release
from storage.manifests import dump_bitmap
from unlearn.cli.examination import examine
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept
from unlearn.thinning import thin

THEN = "'2026-11-02 09:00:00.000000'"
OF_M = "(SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = 'm')"
OTHER = f"X'{dump_bitmap(BitMap([90, 91])).hex()}'"

HAND = {
    "DELETE FROM segments WHERE rowid = 1": "has no segment",
    "DELETE FROM segments": "has no segment",
    "UPDATE segments SET first_step = first_step + 1 WHERE rowid = 1": "does not begin at step 0",
    "UPDATE run_inputs SET trains = NOT trains WHERE rowid = 1": "not what its specification says",
    "UPDATE evaluations SET alias = 'others' WHERE rowid = 1": "which the run was not given",
    "UPDATE evaluations SET step = -1 WHERE rowid = 1": "where the run had not begun",
    "UPDATE datasets SET head_id = 'dsv-0' WHERE name = 'people'": "no version of it",
    "UPDATE datasets SET head_id = (SELECT head_id FROM datasets WHERE name = 'halved')": (
        "no version of it"
    ),
    "UPDATE datasets SET head_id = (SELECT id FROM dataset_versions WHERE dataset_id = datasets.id"
    " AND sequence = 1)": "rows that requests have taken out",
    "UPDATE datasets SET id_columns = '[\"number\"]' WHERE name = 'people'": "that it has not",
    "UPDATE datasets SET subject_columns = '[\"who\"]' WHERE name = 'people'": "that it has not",
    "UPDATE datasets SET namespace = 'others'": "in none of the datasets it names",
    "UPDATE transforms SET rows = rows + 1": "no part of its output",
    "UPDATE transforms SET first_position = 1": "no part of its output",
    "DELETE FROM request_targets": "has other targets than fences",
    "UPDATE request_targets SET pseudonym = pseudonym || '0'": "under other pseudonyms",
    "UPDATE suppressions SET scope = 'others'": "has other targets than fences",
    "DELETE FROM secrets": "keys of its subjects are missing",
    "UPDATE secrets SET key = randomblob(32)": "under other pseudonyms",
    "DELETE FROM forget_sets": "names no rows",
    f"UPDATE forget_sets SET positions = {OTHER} WHERE request_id IN "
    "(SELECT id FROM requests WHERE state = 'open')": "does not name",
    f"UPDATE forget_sets SET positions = {OTHER} WHERE request_id IN "
    "(SELECT id FROM requests WHERE state = 'done')": "keeps rows that its requests name",
    "DELETE FROM plan_requests": "has other requests than it says",
    "DELETE FROM tasks WHERE kind = 'check'": "has other tasks than it says",
    "DELETE FROM redactions WHERE kind = 'data'": "not what its redactions made of it",
    "DELETE FROM redactions": "redacted other chunks",
    "UPDATE redactions SET plan_id = 'plan-0'": "which has purged nothing",
    "UPDATE redactions SET kind = 'manifests'": "not what its redactions made of it",
    "UPDATE redactions SET new = old": "not what its redactions made of it",
    f"UPDATE checkpoints SET purged_at = {THEN}": "nothing has purged it",
    f"UPDATE fits SET purged_at = {THEN}": "nothing has purged it",
    f"UPDATE model_versions SET purged_at = {THEN}": "nothing has purged it",
    f"UPDATE model_versions SET purged_at = NULL WHERE id IN {OF_M}": "is in use",
    "UPDATE model_versions SET interim = NOT interim": "say of it",
    "UPDATE model_versions SET plan_id = NULL": "say of it",
    "UPDATE runs SET state = 'failed'": "a version was made of it",
    "UPDATE runs SET state = 'pending'": "is pending, and has checkpoints",
    "UPDATE runs SET state = 'finished'": "has the unknown state",
    "UPDATE trainings SET state = 'running'": "its versions say otherwise",
    "UPDATE plans SET state = 'failed'": "the ledger has its outcome",
    "UPDATE plans SET state = 'ready'": "is ready, and has begun",
    "UPDATE plans SET state = 'cancelled'": "nothing has cancelled it",
    "UPDATE tasks SET state = 'pending' WHERE kind = 'purge'": "tasks that are not done",
    "UPDATE requests SET closed_at = NULL": "its closing time says otherwise",
}
"""What somebody did by hand, and part of a sentence that tells of it."""


def problems(path: Path) -> tuple[str, ...]:
    with Store.open(path) as store:
        return examine(store, sweep=False).problems


def by_hand(path: Path, statement: str) -> None:
    with sqlite3.connect(path / CATALOGUE) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        assert connection.execute(statement).rowcount
    connection.close()


@pytest.mark.parametrize(("statement", "sentence"), HAND.items(), ids=HAND)
def test_what_was_done_by_hand_is_told(lived: Path, statement: str, sentence: str) -> None:
    by_hand(lived, statement)
    assert any(sentence in each for each in problems(lived)), problems(lived)


@pytest.mark.parametrize("table", ["checkpoints", "model_versions"])
def test_nothing_is_purged_in_a_store_that_never_purged(trained: Any, table: str) -> None:
    by_hand(trained.path, f"UPDATE {table} SET purged_at = {THEN}")
    assert any("nothing has purged it" in each for each in problems(trained.path))


def test_a_sweep_destroys_nothing_that_is_marked_by_hand(trained: Any) -> None:
    by_hand(trained.path, f"UPDATE checkpoints SET purged_at = {THEN}")
    with Store.open(trained.path) as store:
        assert examine(store, sweep=True).swept == 0


def test_what_was_evicted_and_held_and_purged_is_healthy(
    tally: Any, store: Store, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store, shards=2, slices=2, epochs=4)
    runs = workshop.rows_of(store, workshop.tables.Run)
    assert thin(store, runs[0].id, keep=3).evicted
    held = hold(store, workshop.rows_of(store, workshop.tables.ModelVersion)[0].id, "a dispute")
    for person in ("person-03", "person-07"):
        plan, _ = make_plan(store, [accept(store, "subject", [person]).id])
        apply(store, plan)
        assert problems(store.path) == ()
    release(store, held.id)
    assert problems(store.path) == ()
