"""Limits on time and memory, damage, interruptions; and the views of the catalogue."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lineage.errors import LimitError
from lineage.provenance import listing
from lineage.provenance.sql import VIEWS, query, visits
from lineage.training.choice import choose
from lineage.training.given import give
from storage.catalogue import tables
from storage.errors import CorruptObjectError

PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "query-with-sql.md"
ENDLESS = "SELECT count(*) FROM range(1000000000000)"


def test_a_statement_that_takes_too_long_is_ended(bare: Any, ask: Any) -> None:
    with pytest.raises(LimitError, match=r"longer than 0\.2 s") as ended:
        ask(bare, ENDLESS, timeout=0.2)
    assert "--timeout" in ended.value.hint


def test_a_time_that_is_over_before_the_statement_begins_ends_it_too(bare: Any, ask: Any) -> None:
    with pytest.raises(LimitError, match="longer"):
        ask(bare, ENDLESS, timeout=1e-9)


@pytest.mark.parametrize(
    "statement", ["FROM range(50000000)", "SELECT list(range) FROM range(50000000)"]
)
def test_a_statement_or_an_answer_that_is_too_large_is_ended_and_nothing_is_written(
    bare: Any, ask: Any, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LimitError, match="more than 64 MiB") as ended:
        ask(bare, statement, memory=64)
    assert "--memory" in ended.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("view", ["records", "exposures"])
def test_a_damaged_file_is_an_error_and_never_a_shorter_answer(
    trained: Any, ask: Any, workshop: Any, view: str
) -> None:
    (chunk,) = workshop.rows_of(trained, tables.Chunk)
    trained.objects.delete(chunk.manifest)
    with pytest.raises(CorruptObjectError, match=chunk.manifest):
        ask(trained, f"SELECT count(*) FROM {view}")
    assert ask(trained, "SELECT count(*) FROM checkpoints")[0][0] > 0


def test_an_interruption_while_a_view_is_drawn_is_one(
    trained: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(visits, "_drawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(trained, "SELECT count(*) FROM exposures")


def test_the_views_of_the_catalogue_say_what_the_lists_say(trained: Any, ask: Any) -> None:
    (data,) = listing.datasets(trained)
    columns = "dataset, namespace, version, sequence, records"
    expected = (data.name, data.namespace, data.version, data.sequence, data.records)
    assert ask(trained, f"SELECT {columns} FROM datasets") == [expected]
    columns = "run, model, training, replay_of, shard, state, step, steps"
    assert ask(trained, f"SELECT {columns} FROM runs") == [
        tuple(dict(run).values()) for run in listing.runs(trained)
    ]
    runs = [listing.run(trained, each.id) for each in listing.runs(trained)]
    left = {each for run in runs for each in run.checkpoints}
    columns = "checkpoint, c.run, c.step, digest, size, segment, visits, seconds, purged_at"
    rows = ask(trained, f"SELECT {columns} FROM checkpoints c JOIN segments s USING (checkpoint)")
    names = ("id", "run", "step", "digest", "size", "segment", "visits", "seconds", "purged_at")
    assert set(rows) == {tuple(getattr(each, name) for name in names) for each in left}
    (version,) = listing.model(trained, "m").versions
    columns = "version, model, sequence, digest, live, interim"
    shown = (version.id, "m", version.sequence, version.digest, version.live, version.interim)
    assert ask(trained, f"SELECT {columns} FROM models") == [shown]
    members = ask(trained, "SELECT shard, checkpoint FROM members")
    assert dict(members) == version.members


def test_models_that_were_given_and_chosen_can_be_asked_about(trained: Any, ask: Any) -> None:
    (version,) = listing.model(trained, "m").versions
    data = listing.datasets(trained)[0].version
    (run, *_) = listing.runs(trained)
    with trained.catalogue.write() as session:
        give(session, run.id, {"base": version.members})
    read = ask(trained, "SELECT reader, alias, shard, checkpoint FROM given")
    assert read == [(run.id, "base", *each) for each in sorted(version.members.items())]
    chosen = choose(trained, "m", by={"people": "loss"})
    columns = "choice, version, loser, data, metric"
    found = ask(trained, f"SELECT {columns} FROM choices")
    assert found == [(chosen.id, version.id, None, data, "loss")]


def test_times_are_in_utc(trained: Any, ask: Any, workshop: Any) -> None:
    ((shown,),) = ask(trained, "SELECT created_at FROM datasets")
    (dataset,) = workshop.rows_of(trained, tables.Dataset)
    assert shown == dataset.created_at.replace(tzinfo=None)


def test_every_view_has_the_columns_it_declares_and_the_page_lists_them(trained: Any) -> None:
    for view in VIEWS:
        with query(trained, f"FROM {view.name}") as answer:
            declared = [(column.name, column.type) for column in view.columns]
            assert [(column.name, column.type) for column in answer.columns] == declared
        section = PAGE.read_text().partition(f"### `{view.name}`\n")[2].partition("\n#")[0]
        assert view.about in section
        listed = re.findall(r"^\| `(\w+)` \| (\S+) \| (.*) \|$", section, re.MULTILINE)
        assert listed == list(view.columns)
