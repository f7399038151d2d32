"""Transforms of groups and joins for the tests; rows have a ``household`` and a ``value``."""

import numpy as np
import pyarrow as pa

from lineage.data.transform import transform


def values(rows):
    return rows.column("value").to_numpy()


def made(rows, new):
    """Rows of the household of some rows."""
    household = rows.column("household")[0].as_py()
    return pa.table({"household": pa.array([household] * len(new), pa.int64()), "value": new})


@transform(scope="group", by="value")
def first_of_a_kind(rows):
    return rows.select(["household", "value"]).slice(0, 1), [0]


@transform(scope="group", by=["household", "value"])
def first_of_a_household(rows):
    return rows.select(["household", "value"]).slice(0, 1), [list(range(rows.num_rows))]


@transform(scope="group", by="household")
def top_two(rows):
    best = np.argsort(-values(rows), kind="stable")[:2]
    return rows.select(["household", "value"]).take(best), best


@transform(scope="group", by="household")
def packed(rows):
    """Two rows in one, as far as there are."""
    packs = [list(range(n, min(n + 2, rows.num_rows))) for n in range(0, rows.num_rows, 2)]
    numbers = [sum((10**n) * values(rows)[row] for n, row in enumerate(pack)) for pack in packs]
    return made(rows, pa.array(numbers, pa.int64())), packs


@transform(scope="group", by="household")
def summed(rows):
    return made(rows, pa.array([values(rows).sum()], pa.int64()))


@transform(scope="group", by="household", frames="pandas")
def above_the_mean(frame):
    return frame.loc[frame["value"] >= frame["value"].mean(), ["household", "value"]]


@transform(scope="record", by="household")
def matched(left, right):
    """An inner join, of pairs whose values differ."""
    ours, theirs = np.nonzero(values(left)[:, None] != values(right)[None, :])
    numbers = values(left)[ours] * 10 + values(right)[theirs]
    return made(left, pa.array(numbers, pa.int64())), ours, theirs


@transform(scope="group", by="household")
def outer(left, right):
    """Each row of the left with the sum of the right, and the rows of the right that have none."""
    if not left.num_rows:
        rows = list(range(right.num_rows))
        return right.select(["household", "value"]), [None] * len(rows), rows
    numbers = pa.array(values(left) + 10 * values(right).sum(), pa.int64())
    every = list(range(right.num_rows))
    return made(left, numbers), range(left.num_rows), [every] * left.num_rows
