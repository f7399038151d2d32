"""Several processes that train one model together: who is who, and how they stay together.

Each executes the same program on its own share of every batch. The first alone writes to the store,
and tells the others after every checkpoint whether to go on.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lineage.data.statistics import Statistic
from lineage.errors import LineageError, ProgramFailedError, RunError, RunStoppedError
from lineage.schedule.contract import Positions
from lineage.store import Store
from lineage.training.lap import Lap
from lineage.training.recorder import StoreRecorder
from storage import child
from storage.errors import ExpungeError
from storage.processes import this_process

MEMBER = "lineage.integrations.torch.member"
"""The module that a process of a team executes; it needs torch."""


class Team(Protocol):
    """The processes of a run: this one is number ``rank`` of ``size``."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def tell(self, word: Any) -> Any:
        """What the first process says; every process calls this at the same point."""
        ...

    def gather(self, word: Any) -> list[Any]:
        """What every process says, by rank; every process calls this at the same point."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process is a team too."""

    rank: int = 0
    size: int = 1

    def tell(self, word: Any) -> Any:
        """Its own word."""
        return word

    def gather(self, word: Any) -> list[Any]:
        """Its own word."""
        return [word]


@dataclass(frozen=True)
class TeamRecorder:
    """Lets the first process leave what a run does, and all go on or stop together."""

    recorder: StoreRecorder
    team: Team

    @property
    def visited(self) -> Callable[[int, Positions], None] | None:
        """Writes down which records a step was given, in the first process."""
        return self.recorder.visited if self.team.rank == 0 else None

    def checkpoint(self, step: int, state: Mapping[str, object], lap: Lap) -> None:
        """Publish a checkpoint; whatever stops the first process stops all."""
        stop = None
        if self.team.rank == 0:
            try:
                self.recorder.checkpoint(step, state, lap)
            except ExpungeError as error:
                stop = error
        stop = self.team.tell(stop)
        if stop is not None:
            raise stop

    def carried(self, ordinal: int, alias: str, wanted: Statistic) -> Statistic | None:
        """What a fit gives without reading all rows; every process reads the same."""
        return self.recorder.carried(ordinal, alias, wanted)

    def fitted(self, ordinal: int, alias: str, value: object) -> None:
        """Keep a fitted value once; every process has fitted the same."""
        if self.team.rank == 0:
            self.recorder.fitted(ordinal, alias, value)

    def evaluated(
        self, alias: str, step: int, metrics: Mapping[str, float], *, steers: bool = True
    ) -> None:
        """Keep a measure once."""
        if self.team.rank == 0:
            self.recorder.evaluated(alias, step, metrics, steers=steers)


def launch(store: Store, run_id: str, size: int, until: int | None, *, allow_changed: bool) -> None:
    """Execute a run in processes of this machine, and wait for them.

    Raises:
        RunStoppedError, ProgramFailedError, RunError: as the process that failed first said.
    """
    with tempfile.TemporaryDirectory() as folder:
        said, end = Path(folder) / "error.json", Path(folder) / "end"
        asked = {
            "store": str(store.path),
            "run": run_id,
            "until": until,
            "allow_changed": allow_changed,
            "error": str(said),
            "done": str(end),
            "owner": this_process(),
        }
        command = child.python("torch.distributed.run", "--standalone", "--no-python")
        command += ["--nproc-per-node", str(size), *child.python(MEMBER, json.dumps(asked))]
        done = child.run(command)
        if said.is_file():
            raise _as_said(json.loads(said.read_text("utf-8")))
        if done.returncode != 0 or not end.is_file():
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise RunError(
                f"a process of run {run_id} ended with status {done.returncode}: {last}",
                hint="what was kept at its checkpoints stays; run the same command again",
            )


def _as_said(error: Mapping[str, str]) -> LineageError:
    kinds = {kind.__name__: kind for kind in (RunStoppedError, ProgramFailedError)}
    again = kinds.get(error["kind"], RunError)(error["message"], hint=error["hint"])
    again.add_note(error["traceback"])
    return again
