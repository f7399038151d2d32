"""One vocabulary: a label has one code in all that a run, or a model, reads.

Each dataset numbers the labels of its categories by itself. A run takes the numbers of the dataset
that it trains on, and translates those of its other datasets. The translation is made of codes
alone and is frozen with the run's specification: it does not change when labels are erased, so a
replay and a twin are given the same codes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lineage.data.statistics.contract import Columns
from lineage.data.version import Version
from lineage.errors import ProgramError, VocabularyError
from lineage.training.specification import HandleSpec
from storage.intake import Column, ColumnKind

Cells = NDArray[np.generic]

UNKNOWN = -2
"""The code of a label that is not in the vocabulary; nobody is given it."""


def first_of(versions: Iterable[Version]) -> dict[str, Column]:
    """Return the columns that decide the codes of a run: of each name, the first."""
    vocabulary: dict[str, Column] = {}
    for version in versions:
        for column in version.columns:
            vocabulary.setdefault(column.name, column)
    return vocabulary


def handle_spec(
    version: Version, nominal: int, vocabulary: Mapping[str, Column] | None = None
) -> HandleSpec:
    """Return what a program is told of a dataset version of nominally so many records.

    ``vocabulary`` are the columns that decide the codes; by default its own.
    """
    shared = [(column, (vocabulary or {}).get(column.name, column)) for column in version.columns]
    coded = [(here, there) for here, there in shared if here.kind is there.kind is _CATEGORY]
    return HandleSpec(
        dataset=version.dataset.name,
        nominal=nominal,
        columns=tuple(column.name for column in version.columns),
        categories={here.name: len(there.categories) for here, there in coded if there.categories},
        codes={
            here.name: translation(here, there)
            for here, there in coded
            if here.categories != there.categories[: len(here.categories)]
        },
        unlike=tuple(
            here.name
            for here, there in shared
            if (here.kind is _CATEGORY) != (there.kind is _CATEGORY)
        ),
    )


_CATEGORY = ColumnKind.CATEGORY


def translation(here: Column, there: Column) -> tuple[int | None, ...]:
    """Return, for each code of a category, the code of its label in another, or None."""
    codes = {label: code for code, label in enumerate(there.categories) if label is not None}
    return tuple(None if label is None else codes.get(label) for label in here.categories)


@dataclass(frozen=True, slots=True)
class Translated:
    """The columns of some rows, with the codes of a run in place of those of their dataset."""

    columns: Columns
    spec: HandleSpec

    def __getitem__(self, name: str) -> Cells:
        """A column, one entry a row.

        Raises:
            NotFoundError: the dataset has no such column.
            VocabularyError: it is no category where the codes come from, or a row has a label that
                has no code there.
        """
        cells = translated(self.spec, name, self.columns[name])
        require_known(self.spec, name, cells, np.arange(len(cells)))
        return cells


def columns_of(version: Version, spec: HandleSpec) -> Callable[[str], Cells]:
    """Return a function from a name to that column over all positions, in the codes of a run.

    It raises as `Translated` does; only present rows must have labels that are known.
    """
    found: dict[str, Cells] = {}

    def column(name: str) -> Cells:
        if name not in found:
            found[name] = translated(spec, name, version.column(name))
            require_known(spec, name, found[name], version.present.positions)
        return found[name]

    return column


def translated(spec: HandleSpec, name: str, cells: Cells) -> Cells:
    """Return cells in the codes of a run; `UNKNOWN` where a label has none."""
    if name in spec.unlike:
        raise VocabularyError(
            f"column {name!r} of dataset {spec.dataset!r} is a category here or in the dataset "
            "that decides the run's codes, and not in both",
            hint=f"register both alike, as text with --text {name}, or leave the column out",
        )
    if name not in spec.codes:
        return cells
    return recoded(cells, spec.codes[name])


def recoded(cells: Cells, codes: tuple[int | None, ...]) -> Cells:
    """Return category cells with other codes: −1, which is null, stays, and None is `UNKNOWN`."""
    known = [UNKNOWN if code is None else code for code in codes]
    strange = max(int(cells.max(initial=-1)) + 1 - len(known), 0)
    table: Cells = np.array([*known, *[UNKNOWN] * strange, -1], cells.dtype)
    moved: Cells = table[cells]
    return moved


def require_known(spec: HandleSpec, name: str, cells: Cells, rows: NDArray[np.integer]) -> None:
    """Raise if one of some rows has a label that the vocabulary does not have."""
    if name not in spec.codes:
        return
    strange = rows[cells[rows] == UNKNOWN]
    if len(strange):
        raise VocabularyError(
            f"column {name!r} of dataset {spec.dataset!r} has a label that the run's vocabulary "
            f"does not have, in {len(strange)} rows; the first is at position {strange[0]}",
            hint="leave these rows out, or train on a dataset that has the label",
        )


@dataclass(frozen=True, slots=True)
class PresentLabels:
    """Fits the labels of a category: a label a code, None where no row of those it is given has it.

    ``labels`` are those that the dataset has, by their codes in the run.
    """

    column: str
    labels: tuple[str | None, ...]

    @classmethod
    def of(cls, version: Version, spec: HandleSpec, name: str) -> Self:
        """Return what fits the labels of a column of a dataset version.

        Raises:
            ProgramError: the column is no category.
        """
        if name not in spec.categories:
            known = ", ".join(spec.categories) or "none"
            raise ProgramError(
                f"column {name!r} of dataset {spec.dataset!r} is no category and has no labels",
                hint=f"its categories are {known}",
            )
        (column,) = (column for column in version.columns if column.name == name)
        codes = spec.codes.get(name, range(len(column.categories)))
        by_code = dict(zip(codes, column.categories, strict=False))
        return cls(name, tuple(by_code.get(code) for code in range(spec.categories[name])))

    def __call__(self, batch: Columns) -> tuple[str | None, ...]:
        """Return the labels that some rows have."""
        codes = set(batch[self.column].tolist())
        return tuple(label if code in codes else None for code, label in enumerate(self.labels))
