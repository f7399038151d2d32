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


CALLS = []


@transform(scope="group", by="household")
def counting(rows):
    """Remembers what it was called with before."""
    CALLS.append(rows)
    return made(rows, pa.array([len(CALLS)], pa.int64()))


@transform(scope="record", by="household")
def matched_with_the_largest(left, right):
    best = int(np.argmax(values(right)))
    rows = range(left.num_rows)
    return made(left, values(left)), rows, [best] * len(rows)


@transform(scope="record", by="household")
def left_alone(left, right):
    return left, range(left.num_rows), [None] * left.num_rows


@transform(scope="record", by="household")
def unsaid(left, right):
    return left


@transform(scope="record", by="household")
def half_said(left, right):
    return left, range(left.num_rows)


@transform(scope="group", by="household")
def out_of_nothing(rows):
    return rows.slice(0, 1), [[]]


@transform(scope="group", by="household")
def out_of_others(rows):
    return rows.slice(0, 1), [[0, rows.num_rows]]


@transform(scope="group", by="household")
def said_by_a_generator(rows):
    return rows, (n for n in range(rows.num_rows))


@transform(scope="group", by="text")
def of_texts(rows):
    return rows


@transform(scope="record", frames="pandas")
def exploded(frame):
    """A row a word, by the index that pandas keeps."""
    return frame.assign(word=frame["text"].str.split(" ")).explode("word")[["word"]]


@transform(scope="record", frames="pandas")
def positive(frame):
    return frame[frame["value"] > 0][["value"]]


@transform(scope="record", frames="pandas")
def a_series(frame):
    return frame["value"]


@transform(scope="record", frames="pandas")
def forgetful(frame):
    return frame[frame["value"] > 0].reset_index(drop=True)
