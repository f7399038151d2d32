"""The page of traps and the shapes of loops say the same."""

from tests.lineage.loops.all_shapes import SHAPES, TRAINERS
from tests.lineage.loops.traps_page import PAGE, section, table


def test_the_page_lists_every_shape_as_it_is_tested() -> None:
    assert section(PAGE.read_text("utf-8")) == table()


def test_there_are_shapes_enough() -> None:
    assert len({**SHAPES, **TRAINERS}) >= 60
