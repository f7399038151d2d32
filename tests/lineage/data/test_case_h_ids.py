"""Ids that numbers would merge or lose: 20 digits, codes, decimals, uint64 and reals."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

import lineage
from lineage.errors import UnknownIdError
from lineage.integrations.torch import observe
from storage.errors import InvalidInputError

Add = Any


@pytest.fixture
def add(store: Any, tmp_path: Path) -> Add:
    """Registers a file of columns ``k`` and ``v``: CSV text, or the cells of ``k`` in Parquet."""

    def added(name: str, content: Any, **roles: tuple[str, ...]) -> Any:
        path = tmp_path / f"{name}.{'csv' if isinstance(content, str) else 'parquet'}"
        if isinstance(content, str):
            path.write_text(content)
        else:
            pq.write_table(pa.table({"k": content, "v": list(range(len(content)))}), path)
        return lineage.add_dataset(store, name, path, **(roles or {"id_columns": ("k",)}))

    return added


def records(store: Any, kind: str, name: str) -> int:
    try:
        found: int = lineage.who_saw(store, kind, name).records
    except UnknownIdError:
        return 0
    return found


SUBJECT = {"subject_columns": ("k",)}


def test_twenty_digits_of_a_csv_file_are_all_kept(store: Any, add: Add) -> None:
    ids = ["11898508762506083287", "11898508762506083288", "3266119658877827603"]
    add("d", "k,v\n" + "".join(f"{name},1\n" for name in ids), **SUBJECT)
    assert [records(store, "subject", name) for name in ids] == [1, 1, 1]
    assert records(store, "subject", "1.1898508762506084e+19") == 0


def test_codes_that_are_one_number_are_two_people(store: Any, add: Add) -> None:
    add("d", "k,v\n250.1,1\n250.10,2\n", **SUBJECT)
    assert [records(store, "subject", name) for name in ("250.1", "250.10", "250.100")] == [1, 1, 0]


@pytest.mark.parametrize("kind", ["subject", "record"])
def test_decimals_beyond_the_digits_of_a_real_are_told_apart(
    store: Any, add: Add, kind: str
) -> None:
    ids = [Decimal(2**53), Decimal(2**53 + 1)]
    cells = pa.array(ids, pa.decimal128(38, 0))
    add("d", cells, **(SUBJECT if kind == "subject" else {}))
    assert [records(store, kind, str(name)) for name in ids] == [1, 1]
    if kind == "record":
        assert lineage.holds(store, "d", ids).tolist() == [True, True]


def test_unsigned_integers_of_64_bits_are_ids(store: Any, add: Add) -> None:
    ids = [2**64 - 1, 5]
    add("d", pa.array(ids, pa.uint64()))
    assert [records(store, "record", str(name)) for name in ids] == [1, 1]
    assert lineage.holds(store, "d", [*ids, 2**64 - 2]).tolist() == [True, True, False]
    add("d", pa.array([2**64 - 3], pa.uint64()))
    assert records(store, "record", str(2**64 - 3)) == 1


def test_holds_finds_reals_by_the_values_of_the_file(store: Any, add: Add) -> None:
    add("d", pa.array([7.0, 8.5]))
    for values in ([7.0, 8.5], torch.tensor([7.0, 8.5], dtype=torch.float64), pa.array([7.0, 8.5])):
        assert lineage.holds(store, "d", values).tolist() == [True, True]
    assert lineage.holds(store, "d", [7, "8.5", 8]).tolist() == [True, True, False]
    with pytest.raises(InvalidInputError, match="id 1 is a real, which may not say what the file"):
        lineage.holds(store, "d", torch.tensor([8.5]))


def test_holds_finds_whole_numbers_whatever_carries_them(store: Any, add: Add) -> None:
    add("d", pa.array([7, 8]))
    for values in ([7, 8], [7.0, 8.0], torch.tensor([7, 8]), torch.tensor([7.0, 8.0]), ["7", "8"]):
        assert lineage.holds(store, "d", values).tolist() == [True, True]
    assert lineage.holds(store, "d", [7.5]).tolist() == [False]
    for lossy in ([float(2**53)], torch.tensor([float(2**24)]), [True]):
        with pytest.raises(InvalidInputError, match="id 1 is a"):
            lineage.holds(store, "d", lossy)


def test_a_number_is_refused_where_two_texts_would_be_it(store: Any, add: Add) -> None:
    add("d", "k,v\n7,1\n007,2\n")
    assert lineage.holds(store, "d", ["7", "007", "07"]).tolist() == [True, True, False]
    for number in (7, 7.0, Decimal(7)):
        with pytest.raises(InvalidInputError, match="which may not say what the file says"):
            lineage.holds(store, "d", [number])


def test_ids_of_several_columns_are_tuples(store: Any, add: Add, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('clinic,k\n"a","7"\n"a,b",8\n')
    lineage.add_dataset(store, "c", tmp_path / "c.csv", id_columns=("clinic", "k"))
    asked = [("a", 7), ("a,b", 8.0), ("a", "b,8"), '["a","7"]']
    assert lineage.holds(store, "c", asked).tolist() == [True, True, False, True]
    with pytest.raises(InvalidInputError, match="no tuple of the 2 columns"):
        lineage.holds(store, "c", [7])


@pytest.mark.parametrize("values", [[7.0, 8.5], torch.tensor([7.0, 8.5], dtype=torch.float64)])
def test_a_watched_loop_names_its_records_by_the_reals_of_the_file(
    store: Any, add: Add, values: Any
) -> None:
    add("d", pa.array([7.0, 8.5]))
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    items: Any = [{"k": k, "x": torch.tensor([1.0])} for k in values]
    with observe(store, "d", "m", optimizer=optimizer, model=model) as run:
        for batch in run.watch(DataLoader(items, batch_size=2), record="k"):
            model(batch["x"]).sum().backward()
            optimizer.step()
    assert [each.id for each in lineage.batch_at(store, run.id, 0).records] == ["7", "8.5"]


def test_an_id_that_is_no_text_is_refused_by_its_number(store: Any, add: Add) -> None:
    add("d", pa.array([7, 8]))
    for wrong in (7, "\udcff"):
        with pytest.raises(InvalidInputError, match="record 2 of 2 is no text"):
            lineage.who_saw(store, "record", ["7", wrong])  # type: ignore[list-item]
