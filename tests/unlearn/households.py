"""Transforms of groups and joins whose outputs the program ``tally.py`` can train on."""

import pyarrow as pa

from lineage.data.transform import transform


@transform(scope="group", by="x")
def distinct(rows):
    """One of the rows that say the same."""
    return rows.select(["id", "x"]).slice(0, 1), [0]


@transform(scope="group", by="household")
def packed(rows):
    """Rows of a household, two in one."""
    packs = [list(range(n, min(n + 2, len(rows)))) for n in range(0, len(rows), 2)]
    ids, numbers = rows["id"].to_pylist(), rows["x"].to_numpy()
    made = {
        "id": ["+".join(ids[row] for row in pack) for pack in packs],
        "x": [float(numbers[pack].sum()) for pack in packs],
    }
    return pa.table(made), packs


@transform(scope="group", by="household")
def with_visits(rows, visits):
    """Every row with the sum of its household's visits, and visits of households without rows."""
    if not len(rows):
        return visits.select(["id", "x"]), [None] * len(visits), range(len(visits))
    numbers = rows["x"].to_numpy() + visits["x"].to_numpy().sum() / 10
    made = pa.table({"id": rows["id"], "x": numbers})
    return made, range(len(rows)), [list(range(len(visits)))] * len(rows)


@transform(scope="record")
def halved(rows):
    return pa.table({"id": rows["id"], "x": rows["x"].to_numpy() / 2})


@transform(scope="aggregate")
def centred(rows):
    """Rows less the mean of all."""
    numbers = rows["x"].to_numpy()
    made = pa.table({"id": rows["id"], "x": numbers - numbers.mean()})
    return made, range(len(rows))
