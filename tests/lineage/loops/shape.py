"""A shape: one way of writing a training loop, and what may be said of it."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.lineage.loops.harness import By, Loop
from tests.lineage.loops.verdict import Verdict

Allowed = frozenset[Verdict]

EXACT: Allowed = frozenset({Verdict.EQUAL})
WHOLE: Allowed = EXACT | {Verdict.BATCH}
BOUNDED: Allowed = EXACT | {Verdict.BOUND}
REFUSED: Allowed = frozenset({Verdict.REFUSED})
EXACT_OR_REFUSED: Allowed = EXACT | REFUSED
ADMITTED: Allowed = frozenset({Verdict.INCOMPLETE})
TOLD: Allowed = BOUNDED | ADMITTED
UNKNOWN: Allowed = REFUSED | ADMITTED
ANY: Allowed = TOLD | REFUSED

EITHER: tuple[By, ...] = ("row", "key")
ROW: tuple[By, ...] = ("row",)
KEY: tuple[By, ...] = ("key",)


@dataclass(frozen=True, slots=True)
class Shape:
    """A loop, what it ``does``, and the verdicts that are ``allowed`` of it, by row and by key.

    ``workers`` are the numbers of loader workers it is run with: those in ``quick`` by every test
    run (the first of them, unless told otherwise), the others by ``make soak``. It is skipped where
    it ``needs`` a package that is not installed.
    """

    name: str
    does: str
    loop: Loop
    allowed: Allowed
    allowed_by_row: Allowed
    by: tuple[By, ...]
    workers: tuple[int, ...]
    quick: tuple[int, ...]
    needs: str

    def allowed_by(self, by: By) -> Allowed:
        """Return the verdicts that are allowed where records are named so."""
        return self.allowed_by_row if by == "row" else self.allowed


def shape(
    does: str,
    *,
    allowed: Allowed = EXACT,
    by_row: Allowed | None = None,
    by: tuple[By, ...] = EITHER,
    workers: tuple[int, ...] = (0, 2),
    quick: tuple[int, ...] | None = None,
    needs: str = "",
) -> Callable[[Loop], Shape]:
    """Make a shape of a loop; its name is the function's."""

    def made(loop: Loop) -> Shape:
        name = loop.__name__
        first = workers[:1] if quick is None else quick
        return Shape(name, does, loop, allowed, by_row or allowed, by, workers, first, needs)

    return made
