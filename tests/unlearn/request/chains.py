"""Transforms that can be given what each of the others makes."""

import pyarrow as pa

from lineage.data.transform import transform


@transform(scope="record")
def same(rows):
    """Every row as it is."""
    return rows.select(["id", "household", "x"]), range(len(rows))


@transform(scope="group", by="household")
def counted(rows):
    """A row for a household: how many rows it has."""
    house = [rows["household"][0].as_py()]
    made = pa.table({"id": house, "household": house, "x": [float(len(rows))]})
    return made, [list(range(len(rows)))]


@transform(scope="group", by="household")
def largest(rows):
    """The row of a household with the largest number; nothing is made of the others."""
    numbers = rows["x"].to_numpy()
    at = int(numbers.argmax())
    return rows.select(["id", "household", "x"]).slice(at, 1), [at]


@transform(scope="aggregate")
def centred(rows):
    """Every row less the mean of all."""
    numbers = rows["x"].to_numpy()
    columns = {"id": rows["id"], "household": rows["household"], "x": numbers - numbers.mean()}
    return pa.table(columns), range(len(rows))
