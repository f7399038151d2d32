"""Comparing model versions with their from-scratch twins, digest by digest."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineage.errors import ProgramError
from lineage.source import require_there
from lineage.store import Store
from lineage.training.aggregation import Aggregation, model_digest
from lineage.training.program import require_source
from storage import child
from storage.processes import is_alive, this_process
from unlearn.claim import Twin
from unlearn.errors import InconclusiveError
from unlearn.plan.model import Plan
from unlearn.twin.kit import REFUSAL, RESULT, Kit, pack
from unlearn.twin.left_out import LeftOut

TWINS = "twins"
"""The folder of a store that twins are trained in; each is named after its process."""


def compare(store: Store, plan: Plan, made: Sequence[Mapping[str, Any]]) -> list[Twin]:
    """A twin for each version that a plan made; where none can be trained, why."""
    with own_folder(store) as folder:
        try:
            twins = _trained(store, plan, made, folder)
        except InconclusiveError as error:
            return [_twin(version, None, error.message) for version in made]
    return [_twin(version, twins[version["replaces"]]) for version in made]


@contextmanager
def own_folder(store: Store) -> Iterator[Path]:
    """A folder for retained rows that another process trains on; it goes with this process."""
    scratch = store.path / TWINS
    scratch.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{this_process()}-", dir=scratch) as folder:
        yield Path(folder)


def sweep_twins(store: Store) -> None:
    """Destroy the twins of processes that died: retained rows are in them."""
    for folder in (store.path / TWINS).glob("*-*"):
        if not is_alive(folder.name.rpartition("-")[0]):
            shutil.rmtree(folder)


def _trained(
    store: Store, plan: Plan, made: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, list[str]]:
    with store.catalogue.read() as session:
        left_out = LeftOut(session, plan)
    kit = pack(store, left_out, made, folder, plan.affected.checkpoints)
    _require_sources(kit)
    (folder / "kit.json").write_text(kit.model_dump_json(), "utf-8")
    done = child.run(child.python("unlearn.twin.train", str(folder)), cwd=folder)
    if (folder / REFUSAL).is_file():
        sys.stderr.write(done.stderr)
        raise InconclusiveError((folder / REFUSAL).read_text("utf-8"))
    if done.returncode != 0 or not (folder / RESULT).is_file():
        sys.stderr.write(done.stderr)
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise InconclusiveError(
            f"the twin's process ended with status {done.returncode}: {last}",
            hint="run the program by itself on the retained rows to see why",
        )
    answer: dict[str, list[str]] = json.loads((folder / RESULT).read_text("utf-8"))
    return answer


def _require_sources(kit: Kit) -> None:
    """Refuse before a process starts, where a program or transform is not what it was.

    Raises:
        InconclusiveError: one was moved, or has changed.
    """
    try:
        for item in kit.items:
            if item.kind == "run":
                require_source(item.ref, Path(item.root), item.files)
            elif item.made_by is not None:
                require_there(item.made_by.ref, Path(item.made_by.root))
    except ProgramError as error:
        raise InconclusiveError(error.message, hint=error.hint) from error


def _twin(version: Mapping[str, Any], members: list[str] | None, why: str = "") -> Twin:
    how = Aggregation(version.get("aggregation", Aggregation.MEAN))  # plans of before had no other
    weights = version.get("weights", ())
    return Twin(
        version=version["replaces"],
        model_digest=version["digest"],
        twin_digest=None if members is None else model_digest(how, members, weights),
        members=tuple(version["member_digests"]),
        twin_members=tuple(members or ()),
        why=why,
    )
