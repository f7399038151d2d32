"""Models that a transform is given: which checkpoints, and what stands in for them.

What it makes of any row descends from each of them. A model is whatever opens these checkpoints;
here it is only handed to the function.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.function import TransformFunction
from lineage.errors import TransformError
from storage.catalogue import tables

Members = Mapping[int, str]
"""The checkpoints of a model version: shard → id."""


class Model(Protocol):
    """A model as a function is given it."""

    @property
    def members(self) -> Members:
        """Its checkpoints."""
        ...


Models = Mapping[str, Model]
"""Models by the names of a function's keyword arguments."""

NO_MODELS: Models = MappingProxyType({})

NOTHING_ELSE: Mapping[str, str] = MappingProxyType({})
"""No checkpoint stands in for another."""


def standing_in(
    models: Mapping[str, Members], made: Mapping[str, str]
) -> dict[str, dict[int, str]]:
    """The same models, with what was ``made`` (checkpoint id → id) in place of what it replaces."""
    return {
        alias: {shard: made.get(checkpoint, checkpoint) for shard, checkpoint in members.items()}
        for alias, members in models.items()
    }


def in_place(
    session: Session, models: Mapping[str, Members], made: Mapping[str, str]
) -> dict[str, dict[int, str]]:
    """The same models, as `standing_in`; what was purged before has what replaced it then."""
    checkpoints = {each for members in models.values() for each in members.values()}
    return standing_in(models, {each: _in_place(session, each, made) for each in checkpoints})


def _in_place(session: Session, checkpoint_id: str, made: Mapping[str, str]) -> str:
    if checkpoint_id in made:
        return made[checkpoint_id]
    checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
    if checkpoint.purged_at is None:
        return checkpoint_id
    given = select(tables.TransformModel.checkpoint_id)
    again = session.scalar(
        select(tables.Checkpoint.id)
        .join(tables.Run, tables.Run.id == tables.Checkpoint.run_id)
        .where(
            tables.Run.replay_of == checkpoint.run_id,
            tables.Checkpoint.step == checkpoint.step,
            tables.Checkpoint.edition == checkpoint.edition,
            tables.Checkpoint.id.in_(given),
        )
        .order_by(tables.Checkpoint.created_at.desc())
        .limit(1)
    )
    return checkpoint_id if again is None else _in_place(session, again, made)


def members_of(models: Models) -> dict[str, dict[int, str]]:
    """The checkpoints of models, by alias."""
    return {alias: dict(model.members) for alias, model in models.items()}


def bound(function: TransformFunction, models: Models) -> TransformFunction:
    """The function with its models in hand: each keyword-only argument is one.

    Raises:
        TransformError: it asks for another model than it is given, or for none of this name.
    """
    asked = {
        each.name: each.default is Parameter.empty
        for each in signature(function.function).parameters.values()
        if each.kind is Parameter.KEYWORD_ONLY
    }
    for alias, required in asked.items():
        if required and alias not in models:
            raise TransformError(
                f"{function.source.ref} asks for model {alias!r}, and is given none of this name",
                hint=f"pass --given {alias}=MODEL",
            )
    for alias in sorted(models.keys() - asked.keys()):
        raise TransformError(
            f"{function.source.ref} is given model {alias!r}, and does not ask for it",
            hint=f"let it take one by keyword: (rows, *, {alias})",
        )
    return replace(function, function=partial(function.function, **models)) if models else function
