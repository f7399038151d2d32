"""Owners of loops that were watched, and their stores: for the tests of what they are asked."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lineage.store import Store
from lineage.training import recording
from storage.catalogue import tables
from unlearn.cli import main
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

OWNER = Path(__file__).with_name("owner.py")
EVERYBODY = set(range(96))
COMMAND = (sys.executable, "owner.py")

Whim = Callable[[dict[str, Any]], object]
"""What the owner's command does, given what it is asked."""


def ask(store: Store, *names: str, kind: str = "subject") -> str:
    """Ask to forget people; the request's id."""
    return str(accept(store, kind, list(names)).id)


def planned(store: Store, *names: str, kind: str = "subject") -> str:
    """Ask to forget people, and plan it; the plan's id."""
    return make_plan(store, [ask(store, *names, kind=kind)])[0]


def asked(*words: str, store: Store, status: int = 0) -> Any:
    """What the command answers."""
    done = CliRunner().invoke(main, [*words, "--store", str(store.path), "--json"])
    assert done.exit_code == status, done.stdout
    return json.loads(done.stdout)


def given(store: Store, run_id: str) -> set[int]:
    """The positions that a run visited."""
    with store.catalogue.read() as session:
        row = session.get_one(tables.RunRecording, run_id)
    return set(recording.open_recording(store, row.recording_id).records.tolist())


def of(*people: int) -> set[int]:
    """The positions of people's records: four each."""
    return {person + 24 * each for person in people for each in range(4)}


def settled(workshop: Any, folder: Path) -> Store:
    """The folder of an owner, with a store that holds ``people``, and twice as many ``others``."""
    shutil.copy(OWNER, folder)
    store = Store.create(folder / "store")
    bench = workshop.Bench(folder, folder)
    bench.register(store)
    bench.register(store, "others", [{**row, "id": f"o-{row['id']}"} for row in workshop.people()])
    return store
