"""Statistics that a replay brings up to date instead of fitting them again."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyroaring import BitMap
from sqlalchemy import update

from lineage import Counts, Moments, TokenCounts
from lineage.data.dataset import head, without
from lineage.data.statistics import Statistic
from lineage.data.version import Version, open_version
from lineage.training import state as codec
from lineage.training.entries import add_run
from lineage.training.execute import execute
from lineage.training.fits import carried, seen
from lineage.training.specification import RunSpec
from storage.catalogue import tables

OF_X = Moments.of("x")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows moments are taken of, call by call."""
    calls: list[int] = []
    measure = Moments.__call__

    def noted(moments: Moments, columns: Any) -> Moments:
        calls.append(len(columns["x"]))
        return measure(moments, columns)

    monkeypatch.setattr(Moments, "__call__", noted)
    return calls


def less(store: Any, version: Version, positions: set[int]) -> Version:
    """A version without these rows; the head stays."""
    with store.catalogue.write() as session:
        made = without(session, store, version.row, BitMap(positions), "a test")
    return open_version(store, made.id)


def repeated(store: Any, run: tables.Run, version: Version) -> str:
    """Write down a replay of a run over another version of its data."""
    with store.catalogue.write() as session:
        return add_run(
            session,
            store,
            RunSpec.model_validate(run.specification),
            run.program_id,
            {"people": version.id},
            replay_of=run.id,
        ).id


def rows_seen(version: Version, run: tables.Run) -> list[int]:
    """The rows of a version that a fit of a run sees."""
    return seen(version, RunSpec.model_validate(run.specification)).tolist()


def refit(version: Version, run: tables.Run) -> str:
    """The digest of the moments of all rows, taken without a run."""
    moments = OF_X({"x": version.column("x")[rows_seen(version, run)]})
    return codec.digest({"fitted": moments})


@pytest.fixture(scope="session")
def fitted_once(
    workshop: Any, program_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of people, with two runs, a shard each, that scale by moments."""
    folder = tmp_path_factory.mktemp("fitted")
    bench = workshop.Bench(program_folder, folder)
    with workshop.Store.create(folder / "store", workshop.Clock()) as store:
        bench.register(store)
        bench.train(store, config={"fit": "moments"})
    return folder / "store"


@pytest.fixture
def store(workshop: Any, fitted_once: Path, tmp_path: Path) -> Iterator[Any]:
    """A copy of it, of the test's own, a day later."""
    shutil.copytree(fitted_once, tmp_path / "store")
    with workshop.Store.open(tmp_path / "store", workshop.Clock(days=1)) as opened:
        yield opened


@pytest.fixture
def people(store: Any) -> Version:
    """The people that both runs were given."""
    return head(store, "people")


@pytest.fixture
def run(workshop: Any, store: Any) -> tables.Run:
    """The run of one shard."""
    found: tables.Run = workshop.rows_of(store, tables.Run)[0]
    return found


@pytest.fixture
def fit_of(workshop: Any, store: Any) -> Callable[[str], tables.Fit]:
    """What a run fitted, as the catalogue has it."""

    def found(run_id: str) -> tables.Fit:
        (fit,) = workshop.rows_of(store, tables.Fit, run_id=run_id)
        assert isinstance(fit, tables.Fit)
        return fit

    return found


@pytest.mark.parametrize("forgotten", [set(), {3}, set(range(0, 96, 7))])
def test_a_replay_subtracts_the_rows_that_went_and_measures_no_other(
    store: Any,
    people: Version,
    run: tables.Run,
    fit_of: Any,
    measured: list[int],
    forgotten: set[int],
) -> None:
    retained = less(store, people, forgotten)
    went = forgotten.intersection(rows_seen(people, run))
    measured.clear()
    replay = repeated(store, run, retained)
    execute(store, replay)
    assert measured == [len(went), 0]
    assert fit_of(replay).digest == refit(retained, run)
    assert (fit_of(replay).digest == fit_of(run.id).digest) == (not went)


def test_a_replay_of_a_replay_adds_the_rows_that_came_back(
    workshop: Any, store: Any, people: Version, run: tables.Run, fit_of: Any, measured: list[int]
) -> None:
    mine = rows_seen(people, run)
    measured.clear()
    first = repeated(store, run, less(store, people, set(mine[:6])))
    execute(store, first)
    other = less(store, people, {mine[0], mine[7]})
    second = repeated(store, workshop.rows_of(store, tables.Run, id=first)[0], other)
    execute(store, second)
    assert measured == [6, 0, 1, 5]
    assert fit_of(second).digest == refit(other, run)


def purged(store: Any, fit: tables.Fit) -> None:
    with store.catalogue.write() as session:
        session.execute(update(tables.Fit).values(purged_at=store.clock()))


def damaged(store: Any, fit: tables.Fit) -> None:
    store.objects.open(fit.object).write_bytes(b"")


def holding(value: object) -> Callable[[Any, tables.Fit], None]:
    def put(store: Any, fit: tables.Fit) -> None:
        with store.catalogue.write() as session:
            blob = store.objects.put(codec.encode({"fitted": value}))
            session.execute(update(tables.Fit).where(tables.Fit.id == fit.id).values(object=blob))

    return put


SPLIT = TokenCounts.of("id", str.upper)


@pytest.mark.parametrize(
    ("happened", "wanted"),
    [
        (purged, OF_X),
        (damaged, OF_X),
        (holding(OF_X({"x": np.zeros(2)})), OF_X),
        (holding(1.5), OF_X),
        (holding(SPLIT), SPLIT),
        (lambda store, fit: None, Moments.of("x", "id")),
        (lambda store, fit: None, Counts.of("x")),
    ],
    ids=["purged", "damaged", "of other rows", "no statistic", "own tokenizer", "more", "other"],
)
def test_rows_are_read_again_where_nothing_can_be_subtracted_from(
    store: Any,
    people: Version,
    run: tables.Run,
    fit_of: Any,
    happened: Callable[[Any, tables.Fit], None],
    wanted: Statistic,
) -> None:
    retained = less(store, people, {3})
    replay = repeated(store, run, retained)
    assert carried(store, replay, 0, OF_X, retained) is not None
    happened(store, fit_of(run.id))
    assert carried(store, replay, 0, wanted, retained) is None


def test_a_run_that_repeats_none_a_second_fit_and_a_small_rest_are_fitted_anew(
    store: Any, people: Version, run: tables.Run
) -> None:
    few = less(store, people, set(rows_seen(people, run)[5:]))
    assert carried(store, run.id, 0, OF_X, people) is None
    assert carried(store, repeated(store, run, people), 1, OF_X, people) is None
    assert carried(store, repeated(store, run, few), 0, OF_X, few) is None
    assert len(rows_seen(few, run)) == 5
