"""The transforms that have to be executed again: what each needs, and which runs need it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.mapping import maker_among, recorded
from storage.catalogue import tables


@dataclass(frozen=True, slots=True)
class TransformFacts:
    """A transform to execute again, after those ``before`` it that made what it was given.

    ``given`` are the checkpoints of models it is given, and ``taught`` says that one of these is
    tainted. ``wanted`` is one whatever is replayed: it made what new runs read, or needs no model.
    """

    id: str
    ref: str
    before: tuple[str, ...]
    given: tuple[str, ...]
    taught: bool
    wanted: bool


class Makers:
    """Which transforms made a dataset version, of those to execute again."""

    def __init__(self, session: Session, stale: Sequence[str], taught: Collection[str]) -> None:
        self._session = session
        self._stale = stale
        self._taught = taught
        self._transforms = recorded(session) if stale else ()
        self._of: dict[str, frozenset[str]] = {}

    def of(self, versions: Iterable[str]) -> tuple[str, ...]:
        """Those that made any of these versions, or what they were made of, in order."""
        found = frozenset[str]().union(*map(self._behind, versions))
        return tuple(each for each in self._stale if each in found)

    def facts(self) -> dict[str, TransformFacts]:
        """All of them."""
        rows = {each.id: each for each in self._transforms}
        heads = select(tables.Dataset.head_id).where(tables.Dataset.head_id.is_not(None))
        wanted = {*self.of(self._session.scalars(heads))}
        before = {each: self.of(rows[each].input_ids) for each in self._stale}
        return {
            each: TransformFacts(
                each,
                rows[each].ref,
                before[each],
                tuple(sorted(_given(rows[each]))),
                each in self._taught,
                each in wanted or not any(_given(rows[one]) for one in (*before[each], each)),
            )
            for each in self._stale
        }

    def _behind(self, version_id: str) -> frozenset[str]:
        if not self._stale:
            return frozenset()
        if version_id not in self._of:
            version = self._session.get_one(tables.DatasetVersion, version_id)
            by = maker_among(self._session, version, self._transforms)
            made = [] if by is None else [{by.id}, *map(self._behind, by.input_ids)]
            self._of[version_id] = frozenset[str]().union(*made)
        return self._of[version_id]


def _given(transform: tables.Transform) -> set[str]:
    return {checkpoint for members in transform.given.values() for checkpoint in members.values()}
