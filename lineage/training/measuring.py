"""Making sure that rows which are only measured leave nothing in what is trained."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lineage.errors import ProgramError
from lineage.training.contract import Stateful
from lineage.training.seeds import generators_kept
from lineage.training.state import digest


@contextmanager
def measuring(tracked: Mapping[str, Stateful], alias: str) -> Iterator[None]:
    """Allow a block to measure rows of a dataset, and raise if it changes a tracked object.

    The global generators have the state again afterwards that they had.

    Raises:
        ProgramError: one changed: it learned from rows that are recorded as measured alone.
        StateError: its state cannot be stored exactly.
    """
    before = _digests(tracked)
    with generators_kept(uses_torch="torch" in sys.modules):
        yield
    after = _digests(tracked)
    if changed := [name for name in tracked if after[name] != before.get(name)]:
        raise ProgramError(
            f"run.evaluate changed the tracked {changed[0]!r} while it measured {alias!r}, and "
            "what is measured is not recorded as learned from",
            hint="call model.eval() inside, and change what is tracked after run.evaluate returned",
        )


def _digests(tracked: Mapping[str, Stateful]) -> dict[str, str]:
    return {name: digest({name: thing.state_dict()}) for name, thing in tracked.items()}
