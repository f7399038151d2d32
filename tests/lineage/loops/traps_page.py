"""The table of loop shapes on the page of traps, made of the shapes themselves.

``python -m tests.lineage.loops.traps_page`` writes it anew.
"""

from pathlib import Path

from tests.lineage.loops.all_shapes import SHAPES, TRAINERS
from tests.lineage.loops.shape import Allowed, Shape
from tests.lineage.loops.verdict import Verdict

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "traps.md"
TITLE = "## Loop shapes\n"

INTRODUCTION = """
Each of these loops is run twice from one seed, bare and watched: watching may change no number and
no order. Then the records that each step is said to have learned from are compared with those whose
weights it moved. *Equal*: the same records. *Whole batch*: the batches that had a part in the step.
*Bound*: all that may have had one, and said to be a bound. *Incomplete*: the run says so of itself.
*Refused*: before the first step, with what to do. Nothing else passes.

| loop | what it does | may be told | test |
| --- | --- | --- | --- |
"""


def table() -> str:
    """Return the section of the page."""
    tests = (
        (SHAPES, "test_shapes.py::test_a_loop_is_told_as_it_was"),
        (TRAINERS, "test_trainers.py::test_a_trainer_is_told_as_it_was"),
    )
    rows = [_row(name, shape, test) for found, test in tests for name, shape in found.items()]
    return TITLE + INTRODUCTION + "".join(rows)


def section(page: str) -> str:
    """Return what the page has in place of `table`."""
    return TITLE + page.partition(TITLE)[2].partition("\n## ")[0]


def _row(name: str, shape: Shape, test: str) -> str:
    return f"| `{name}` | {shape.does} | {_told(shape)} | `{test}[{name}-…]` |\n"


def _told(shape: Shape) -> str:
    ways = {by: _listed(shape.allowed_by(by)) for by in shape.by}
    if len(set(ways.values())) == 1 and len(ways) == 2:
        return ways[shape.by[0]]
    return "; ".join(f"by {by}: {told}" for by, told in ways.items())


def _listed(allowed: Allowed) -> str:
    return " or ".join(verdict.value for verdict in Verdict if verdict in allowed)


def write() -> None:
    """Write the section into the page."""
    page = PAGE.read_text("utf-8")
    if TITLE in page:
        page = page.replace(section(page), table())
    else:
        page = page.replace("## Not yet\n", f"{table()}\n## Not yet\n")
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    write()
