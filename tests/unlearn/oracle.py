"""Who learned from some rows, told from the diary alone: every batch is walked, none is predicted.

It imports nothing of the code it judges. The catalogue's file is read for names and for what
started where; every claim that a row was used comes from what the programs wrote down.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

Diary = Mapping[str, Sequence[tuple[str, int, list[int]]]]
"""Run id → what its program wrote down: kind, step, numbers of the rows."""

AGGREGATE = 9_000
"""Of row ``n`` an aggregation makes row ``first + n % AGGREGATE``, each time with another first."""


@dataclass
class Reach:
    """How far some rows came: ids; and per run its steps, visits, segments and fits."""

    runs: dict[str, tuple[list[int], int, set[str], set[str]]] = field(default_factory=dict)
    segments: set[str] = field(default_factory=set)
    fits: set[str] = field(default_factory=set)
    checkpoints: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    publications: set[str] = field(default_factory=set)


class Truth:
    """What happened in a store, by its catalogue's names and its programs' diary."""

    def __init__(
        self,
        catalogue: Path,
        diary: Diary,
        aggregated: Iterable[tuple[int, list[int]]],
        taught: Iterable[tuple[int, int]] = (),
        lessons: Mapping[int, set[str]] = MappingProxyType({}),
    ) -> None:
        self.diary = diary
        self.aggregated = list(aggregated)
        self.taught = list(taught)
        self.lessons = lessons
        with sqlite3.connect(catalogue) as db:
            self.begins = dict(db.execute("SELECT id, first_step FROM runs"))
            self.starts = dict(db.execute("SELECT id, start_id FROM runs ORDER BY rowid"))
            self.fits = db.execute("SELECT id, run_id, ordinal FROM fits").fetchall()
            self.models: dict[str, set[str]] = {}
            for run, checkpoint in db.execute("SELECT run_id, checkpoint_id FROM run_models"):
                self.models.setdefault(run, set()).add(checkpoint)
            self.members = db.execute("SELECT version_id, checkpoint_id FROM model_members")
            self.members = self.members.fetchall()
            self.given = db.execute("SELECT id, version_id FROM publications").fetchall()
            self.laps = db.execute(
                "SELECT s.run_id, s.id, c.id, s.first_step, c.step FROM segments s"
                " JOIN checkpoints c ON c.id = s.checkpoint_id ORDER BY s.run_id, c.step"
            ).fetchall()

    def batches(self, run: str) -> dict[int, list[int]]:
        """Step → rows; a resumed run does some steps again, and must be given the same rows."""
        found: dict[int, list[int]] = {}
        for kind, step, rows in self.diary.get(run, ()):
            if kind == "batch":
                assert found.setdefault(step, rows) == rows
        return found

    def reach(self, rows: Iterable[int], at: int | None = None, only: str | None = None) -> Reach:
        """Follow some rows to the end; or as far as they were ``at`` so many steps of each run.

        A run begins with all that its start had come to know, whenever that was; and, for now, on
        rows that a model has to make anew.
        """
        gone, whole = self._whole(rows)
        if at is None and only is None:
            return self._published(whole)
        reach = Reach()
        for run, start in self.starts.items():
            if only in (None, run) and (at is None or self.begins[run] <= at):
                self._walk(run, self._inherits(run, start, whole), gone, reach, at)
        return self._published(reach)

    def _whole(self, rows: Iterable[int]) -> tuple[set[int], Reach]:
        """All that some rows taint by now, rows and models in turn."""
        known: set[str] = set()
        while True:
            gone, whole = self._with_made(set(rows), known), Reach()
            for run, start in self.starts.items():
                anew = self._reads(run, {row for row in gone if self._lesson(row) & known})
                self._walk(run, anew or self._inherits(run, start, whole), gone, whole)
            if whole.checkpoints <= known:
                return gone, whole
            known = whole.checkpoints

    def _lesson(self, row: int) -> set[str]:
        return self.lessons.get(row - row % AGGREGATE, set())

    def _reads(self, run: str, rows: set[int]) -> bool:
        return any(not rows.isdisjoint(given) for given in self.batches(run).values())

    def _published(self, reach: Reach) -> Reach:
        reach.versions = {version for version, made in self.members if made in reach.checkpoints}
        reach.publications = {each for each, version in self.given if version in reach.versions}
        return reach

    def measured(self, rows: Iterable[int]) -> set[tuple[str, int]]:
        """The runs and steps at which somebody's rows, or what was made of them, were measured."""
        gone, _ = self._whole(rows)
        return {
            (run, step)
            for run, entries in self.diary.items()
            for kind, step, given in entries
            if kind == "evaluate" and gone.intersection(given)
        }

    def _inherits(self, run: str, start: str | None, whole: Reach) -> bool:
        return not whole.checkpoints.isdisjoint({start, *self.models.get(run, ())})

    def _with_made(self, gone: set[int], models: set[str]) -> set[int]:
        """Some rows, and all that was made of them or by one of these models."""
        before = -1
        while before < len(gone):
            before = len(gone)
            for first, given in self.aggregated:
                if gone.intersection(given):
                    gone |= {first + row % AGGREGATE for row in given}
            for first, row in self.taught:
                if row in gone or self.lessons[first] & models:
                    gone.add(first + row % AGGREGATE)
        return gone

    def _walk(
        self, run: str, tainted: bool, gone: set[int], reach: Reach, at: int | None = None
    ) -> None:
        fits = self._tainted_fits(run, gone)
        tainted = bool(fits) or tainted
        end = 10**9 if at is None else at
        steps, visits, entered = [], 0, set()
        batches = self.batches(run)
        for segment, checkpoint, first, last in self._laps_of(run):
            for step in range(first, min(last, end)):
                hits = len(gone.intersection(batches.get(step, ())))
                if hits:
                    tainted = True
                    steps.append(step)
                    visits += hits
                    entered.add(segment)
            if tainted and (first < end or last <= end):
                reach.segments.add(segment)
            if tainted and last <= end:
                reach.checkpoints.add(checkpoint)
        reach.fits |= fits
        if steps or fits:
            reach.runs[run] = (steps, visits, entered, fits)

    def done(self, run: str) -> int:
        """How many steps a run kept."""
        return max((last for *_, last in self._laps_of(run)), default=self.begins[run])

    def _laps_of(self, run: str) -> list[tuple[str, str, int, int]]:
        return [lap[1:] for lap in self.laps if lap[0] == run]

    def _tainted_fits(self, run: str, gone: set[int]) -> set[str]:
        given = [rows for kind, _, rows in self.diary.get(run, ()) if kind == "fit"]
        return {
            fit
            for fit, owner, ordinal in self.fits
            if owner == run and gone.intersection(given[ordinal])
        }


def truth(lived: Any) -> Truth:
    """What happened in a history that was lived through."""
    catalogue = lived.store.path / "catalogue.db"
    return Truth(catalogue, lived.diary, lived.aggregated, lived.taught, lived.lessons)
