"""State that a program keeps between steps and does not track: looked for once, and named.

A checkpoint does not hold it, so whatever goes on from there does so without it.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType, ModuleType

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.training.contract import Stateful
from lineage.training.kept_state import Kept, Search, is_covered, left_out, mark
from lineage.training.program import Program
from storage.catalogue import tables


@dataclass(frozen=True, slots=True)
class _Place:
    """A variable: a local one of a call that goes on, by its frame, or a module's."""

    owner: object
    name: str
    is_local: bool = False


_Marks = dict[tuple[str, str], list[bytes]]
"""From the name and kind of what a variable keeps to the digests of all of it."""


class UntrackedSearch:
    """Looks at what a program holds before its first step and at its first checkpoint."""

    def __init__(self, program: Program) -> None:
        root = program.source.root
        self._files = frozenset(os.path.realpath(root / name) for name in program.source.files)
        self._tracked: Mapping[str, Stateful] = {}
        self._before: dict[_Place, _Marks] | None = None

    def begin(self, tracked: Mapping[str, Stateful]) -> None:
        """Look before the first step. To be called from what the program's code waits for."""
        self._tracked = tracked
        self._before = {place: _marks(found) for place, found in self._look()}

    def end(self, state: Mapping[str, object]) -> tuple[str, ...] | None:
        """Return what changed and is not in the state of a checkpoint: ``name (kind)``.

        None where there was no first step, or that was asked before.
        """
        before, self._before = self._before, None
        if before is None:
            return None
        suspects = [
            each
            for place, found in self._look()
            if not place.is_local or place in before or any(each.always for each in found)
            for each in _changed(found, before.get(place, {}))
        ]
        held: set[bytes] = set()
        if suspects:
            mark(state, held)
        lost = [each for each in suspects if not is_covered(each.content, held)]
        return tuple(sorted({f"{each.name} ({each.kind})" for each in lost}))

    def _look(self) -> Iterator[tuple[_Place, list[Kept]]]:
        """Find what the program keeps: beside what it tracks, in its calls, and in its modules."""
        passed = {id(thing) for thing in self._tracked.values()}
        modules = dict(_modules(self._files))

        def own(kind: type) -> bool:
            return kind.__module__ in modules

        for name, thing in self._tracked.items():
            yield _Place("tracked", name), left_out(name, thing)
        for frame in _frames(self._files):
            search = Search(own, values=None, passed=passed)
            for name, value in _locals(frame).items():
                if value is not None and not isinstance(value, (bool, int, float, str)):
                    place = _Place((id(frame), frame.f_code), name, is_local=True)
                    yield place, [*search.within(name, value)]
        for module_name, module in modules.items():
            for name, value in list(vars(module).items()):
                search = Search(own, values=type(value).__name__, passed=passed)
                if not name.startswith("__"):
                    full = f"{_stem(module)}.{name}"
                    yield _Place(module_name, name), [*search.within(full, value)]


def tell(names: Collection[str]) -> None:
    """Say once, on standard error, what a program keeps and does not track."""
    print(f"{sentence(names)}: track it so that replays are exact", file=sys.stderr)


def sentence(names: Collection[str]) -> str:
    """Return the sentence that names what is not tracked."""
    return f"the program keeps {', '.join(sorted(names))} between steps, which is not tracked"


def untracked_of(session: Session, run_ids: Collection[str]) -> tuple[str, ...]:
    """Return what these runs, and those that they replay, keep and do not track."""
    found: set[str] = set()
    waiting, seen = [*run_ids], set[str]()
    while waiting:
        run_id = waiting.pop()
        if run_id in seen:
            continue
        seen.add(run_id)
        row = session.get_one(tables.Run, run_id)
        found.update(row.untracked or ())
        waiting += [row.replay_of] if row.replay_of is not None else []
    return tuple(sorted(found))


def is_news(session: Session, run: tables.Run, names: Collection[str]) -> bool:
    """Return True if no other run of the program was found to keep just this."""
    others = select(tables.Run.untracked).where(
        tables.Run.program_id == run.program_id, tables.Run.id != run.id
    )
    return all(known is None or {*known} != {*names} for known in session.scalars(others))


def _marks(found: list[Kept]) -> _Marks:
    marks: _Marks = defaultdict(list)
    for each in found:
        marks[each.name, each.kind].append(mark(each.content))
    return marks


def _changed(found: list[Kept], before: _Marks) -> Iterator[Kept]:
    """Return what is state whatever happens to it, and what is no longer as it was."""
    changed = {key for key, marks in _marks(found).items() if marks != before.get(key)}
    for each in found:
        if each.always or (each.name, each.kind) in changed:
            yield each


def _frames(files: Collection[str]) -> Iterator[FrameType]:
    """Return the calls of code in these files that wait for this one, within the program."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not Program.__call__.__code__:
        if frame.f_code.co_flags & CO_OPTIMIZED and _real(frame.f_code.co_filename) in files:
            yield frame
        frame = frame.f_back


def _locals(frame: FrameType) -> dict[str, object]:
    read = frame.f_locals
    names = dict(read)
    # Before Python 3.13 a frame keeps what was read of it: tensors of a step would live as long.
    if isinstance(read, dict):
        read.clear()
    return names


def _modules(files: Collection[str]) -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _real(file) in files:
            yield name, module


def _stem(module: ModuleType) -> str:
    return Path(module.__file__ or module.__name__).stem


@cache
def _real(file: str) -> str:
    return os.path.realpath(file)
