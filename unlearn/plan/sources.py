"""What stands against executing the programs and transforms of a plan, seen before it begins."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy.orm import Session

from lineage.errors import ProgramError
from lineage.source import require_there
from lineage.training.program import require_source
from storage.catalogue import tables
from unlearn.plan.model import Task


def source_faults(
    session: Session, tasks: Iterable[Task], *, allow_changed: bool = False
) -> Iterator[ProgramError]:
    """Return an error for each program or transform of these tasks that cannot be executed now.

    Nothing is imported: what a program imports that is not recorded is seen when it is executed.
    """
    programs, transforms = _needed(session, tasks)
    for program_id in programs:
        row = session.get_one(tables.Program, program_id)
        try:
            require_source(row.ref, Path(row.root), row.files, allow_changed=allow_changed)
        except ProgramError as error:
            yield error
    for transform_id in transforms:
        made = session.get_one(tables.Transform, transform_id)
        try:
            require_there(made.ref, Path(made.root))
        except ProgramError as error:
            yield error


def _needed(session: Session, tasks: Iterable[Task]) -> tuple[dict[str, None], dict[str, None]]:
    """The ids of the programs and transforms that some tasks execute, each once, in order."""
    programs: dict[str, None] = {}
    transforms: dict[str, None] = {}
    for task in tasks:
        match task.work.kind:
            case "probe":
                programs[task.work.program_id] = None
            case "replay":
                programs[session.get_one(tables.Run, task.work.run_id).program_id] = None
            case "transform":
                transforms[task.work.transform_id] = None
    return programs, transforms
