"""Where a run leaves what it does: checkpoints, fitted artefacts and measures, in the store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy.orm import Session

from lineage.data.fences import check_versions
from lineage.data.given import Members
from lineage.data.statistics import Statistic
from lineage.data.version import Version
from lineage.errors import FencedError, RunError, RunStoppedError
from lineage.schedule.contract import Positions
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from lineage.training import fits, ownership, recording
from lineage.training import state as codec
from lineage.training.given import give
from lineage.training.lap import Lap
from lineage.training.untracked import UntrackedSearch, is_news, tell
from storage import manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.exposures import File, Log


@dataclass(frozen=True)
class StoreRecorder:
    """Leaves what a run does in the store; ``log`` is that of a run that draws its order.

    ``owner`` is the process that claimed the run: once another one has, nothing more is written.
    With a ``search``, the first checkpoint names the state that the program does not track.
    """

    store: Store
    run_id: str
    environment: str
    inputs: Mapping[str, Version]
    log: Log | None = None
    owner: str | None = None
    search: UntrackedSearch | None = None

    @property
    def visited(self) -> Callable[[int, Positions], None] | None:
        """Writes down which records a step was given; None where the schedule says it."""
        return None if self.log is None else self.log.append

    def checkpoint(self, step: int, state: Mapping[str, object], lap: Lap) -> None:
        """Publish a checkpoint; then stop if one of its records is to be forgotten."""
        names = None if self.search is None else self.search.end(state)
        if names is not None:
            self.keeps_untracked(names)
        with self.store.objects.claiming():
            self.publish(step, state, lap, None if self.log is None else self.log.seal())

    def publish(
        self, step: int, state: Mapping[str, object], lap: Lap, visits: File | None
    ) -> None:
        """Publish a checkpoint whose segment was given ``visits``; then stop as `checkpoint`."""
        checkpoints.publish(
            self.store, self.run_id, step, state, lap, self.environment, visits, self.owner
        )
        try:
            check_versions(self.store, self.inputs.values())
        except FencedError as fenced:
            raise RunStoppedError(
                f"run {self.run_id} stopped after step {step}: {fenced.message}",
                hint="plan and apply the request; the run is part of its impact",
            ) from fenced

    def keeps_untracked(self, names: Sequence[str]) -> None:
        """Keep what the program does not track, and say it where it is news."""
        with self._writing() as session:
            run = session.get_one(tables.Run, self.run_id)
            news = bool(names) and is_news(session, run, names)
            run.untracked = list(names)
        if news:
            tell(names)

    def differs(self, state: Mapping[str, object]) -> bool:
        """Return True if a state is another than the run's newest checkpoint has."""
        with self.store.catalogue.read() as session:
            last = checkpoints.newest(session, self.run_id)
        return last is None or last.digest != codec.digest(state)

    def merged(
        self, logs: Sequence[File], told: Callable[[NDArray[np.uint32]], object]
    ) -> File | None:
        """What several processes drew as one log; theirs are destroyed."""
        with self.store.catalogue.read() as session:
            drawn = session.get_one(tables.RunRecording, self.run_id).recording_id
        whole = recording.merged(self.store, drawn, logs, told)
        made = set() if whole is None else {whole.object}
        recording.drop(self.store, {log.object for log in logs} - made)
        return whole

    def given(self, models: Mapping[str, Members]) -> None:
        """Keep that the run has read models, some of which may be known."""
        if models:
            with self._writing() as session:
                give(session, self.run_id, models)

    def doubts(self, unknown: int, bounds: BitMap) -> None:
        """Keep how much nobody knows of what was given, and which steps are upper bounds."""
        if not unknown and not bounds:
            return
        with self._writing() as session:
            row = session.get_one(tables.RunRecording, self.run_id)
            row.unknown += unknown
            row.bounds = manifests.dump_bitmap(recording.bounds_of(row) | bounds)

    def carried(self, ordinal: int, alias: str, wanted: Statistic) -> Statistic | None:
        """What the run that this one repeats fitted, for the rows of this one; see `carried`."""
        return fits.carried(self.store, self.run_id, ordinal, wanted, self.inputs[alias])

    def fitted(self, ordinal: int, alias: str, value: object) -> None:
        """Keep a fitted value, or check that a resumed run fitted the same."""
        data, digest = codec.encode_verified({"fitted": value})
        blob = self.store.objects.put(data)
        with self._writing() as session:
            known = session.scalar(fits.fit_of(self.run_id, ordinal))
            if known is None:
                self.store.objects.put_again(blob, data)
                session.add(
                    tables.Fit(
                        id=new_id("fit"),
                        run_id=self.run_id,
                        ordinal=ordinal,
                        alias=alias,
                        object=blob,
                        digest=digest,
                        created_at=self.store.clock(),
                    )
                )
            elif known.digest != digest:
                raise RunError(
                    f"fit {ordinal} of run {self.run_id} gave another result than before",
                    hint="a fitted function must depend on its rows alone",
                )

    def evaluated(
        self, alias: str, step: int, metrics: Mapping[str, float], *, steers: bool = True
    ) -> None:
        """Keep a selection edge, which may steer what the run does next."""
        with self._writing() as session:
            session.add(
                tables.Evaluation(
                    id=new_id("eval"),
                    run_id=self.run_id,
                    alias=alias,
                    step=step,
                    metrics={name: float(value) for name, value in metrics.items()},
                    steers=steers,
                    created_at=self.store.clock(),
                )
            )

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self.store.catalogue.write() as session:
            if self.owner is not None:
                ownership.keep(session, self.store, self.run_id, self.owner)
            yield session
