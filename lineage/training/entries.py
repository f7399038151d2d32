"""What is written down before anything is executed: runs, their programs and their models."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.given import Members
from lineage.names import check_new
from lineage.source import Source
from lineage.store import Store
from lineage.training import recording as recordings
from lineage.training.given import give
from lineage.training.specification import RunSpec
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id


def add_run(
    session: Session,
    store: Store,
    spec: RunSpec,
    program_id: str,
    versions: Mapping[str, str],
    *,
    training_id: str | None = None,
    task_id: str | None = None,
    replay_of: str | None = None,
    start_id: str | None = None,
    first_step: int = 0,
    follows: str | None = None,
    ordered: bool = True,
    given: Mapping[str, Members] = MappingProxyType({}),
) -> tables.Run:
    """Write down a run that ``execute`` can then carry out, with its commitment.

    ``versions`` are its datasets and ``given`` the models it begins with beside a start, by alias.
    One whose order is recorded draws a recording of its own, in which it may be ``ordered``, or
    ``follows`` that of this id.
    """
    run = tables.Run(
        id=new_id("run"),
        training_id=training_id,
        task_id=task_id,
        replay_of=replay_of,
        program_id=program_id,
        start_id=start_id,
        first_step=first_step,
        specification=spec.model_dump(mode="json"),
        state="pending",
        created_at=store.clock(),
    )
    session.add(run)
    session.flush()
    session.add_all(
        tables.RunInput(
            run_id=run.id, alias=alias, version_id=version_id, trains=alias == spec.train
        )
        for alias, version_id in versions.items()
    )
    content: dict[str, Any] = {
        "specification": run.specification,
        "program": program_id,
        "inputs": dict(versions),
        "start": start_id,
        "first_step": first_step,
    }
    if given:
        give(session, run.id, given)
        content["given"] = {
            alias: [members[shard] for shard in sorted(members)] for alias, members in given.items()
        }
    if follows is not None:
        recordings.follow(session, run.id, follows)
        content["follows"] = follows
    elif spec.schedule.kind == "recorded/1":
        recordings.begin(session, store, run.id, ordered=ordered)
    ledger.commit(session, "schedule", run.id, content, store.clock())
    return run


def record_program(session: Session, store: Store, source: Source) -> str:
    """The id under which this state of a program's source is recorded, with its commitment."""
    known = select(tables.Program.id).where(
        tables.Program.ref == source.ref,
        tables.Program.root == str(source.root),
        tables.Program.source == source.digest,
    )
    found = session.scalar(known)
    if found is not None:
        return found
    row = tables.Program(
        id=new_id("prog"),
        ref=source.ref,
        root=str(source.root),
        source=source.digest,
        files=source.files,
        created_at=store.clock(),
    )
    session.add(row)
    session.flush()
    ledger.commit(session, "program", row.id, {"source": source.digest}, store.clock())
    return row.id


def named_model(session: Session, store: Store, name: str) -> tables.Model:
    """The model of this name, made now if there is none.

    Raises:
        InvalidInputError: a new one cannot have this name.
    """
    model = session.scalar(select(tables.Model).where(tables.Model.name == name))
    if model is None:
        check_new(name, "model")
        model = tables.Model(id=new_id("model"), name=name, created_at=store.clock())
        session.add(model)
        session.flush()
    return model
