"""Transform functions of the tests: they live in a file of their own, as a user's do."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineage.data.transform import transform


def values(rows):
    return rows.column("value").to_numpy()


def with_values(rows, new):
    return rows.set_column(rows.column_names.index("value"), "value", pa.array(new))


@transform(scope="record")
def doubled(rows):
    return with_values(rows, values(rows) * 2)


@transform(scope="record")
def unless_third(rows):
    kept = np.flatnonzero(values(rows) % 3 != 0)
    return rows.take(kept), kept


@transform(scope="record")
def pieces(rows):
    """As many rows as the value modulo 3, numbered in their values."""
    source = np.repeat(np.arange(rows.num_rows), values(rows) % 3)
    number = np.arange(len(source)) - np.searchsorted(source, source)
    return with_values(rows.take(source), values(rows)[source] + number), source


@transform(scope="record")
def twice(rows):
    """Every value and the one after it."""
    source = np.repeat(np.arange(rows.num_rows), 2)
    return with_values(rows.take(source), values(rows)[source] + np.tile([0, 1], len(rows))), source


@transform(scope="aggregate")
def less_the_sum(rows):
    return with_values(rows, values(rows) - values(rows).sum())


@transform(scope="aggregate")
def at_least_the_mean(rows):
    kept = np.flatnonzero(values(rows) * rows.num_rows >= values(rows).sum())
    return rows.take(kept), kept.tolist()


@transform(scope="aggregate")
def standardised(rows):
    return with_values(rows, (values(rows) - values(rows).mean()) / values(rows).std())


@transform(scope="aggregate")
def standardised_again(rows):
    return standardised(rows)


@transform(scope="record")
def tokens(rows):
    """A row a word of a text, with other columns than its input has."""
    words = pc.split_pattern(rows.column("text"), " ").combine_chunks()
    return pa.table({"word": words.flatten()}), pc.list_parent_indices(words)


@transform(scope="record")
def silent_where_negative(rows):
    return with_values(rows, [None if value < 0 else value for value in values(rows).tolist()])


@transform(scope="record")
def with_missing(rows):
    found = values(rows).astype(float)
    return with_values(rows, np.where(found % 2 == 0, np.nan, found))


@transform(scope="record")
def paired(rows):
    """A vector of two for each row."""
    pairs = np.stack([values(rows), np.full(rows.num_rows, np.nan)], axis=1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(pairs.reshape(-1)), 2)
    return pa.table({"pair": vectors})


@transform(scope="record")
def missing_in_one_of_two_ways(rows):
    missing = None if rows.num_rows < 9 else np.nan
    return with_values(rows, pa.array([missing] * rows.num_rows, pa.float64()))


@transform(scope="record")
def attributed_to_a_neighbour(rows):
    return pa.table({"value": np.zeros(rows.num_rows)}), np.roll(np.arange(rows.num_rows), 1)


@transform(scope="record")
def copied(rows):
    return rows


@transform(scope="record")
def peeking(rows):
    return with_values(rows, values(rows) - values(rows).mean())


@transform(scope="record")
def numbered(rows):
    return with_values(rows, np.arange(rows.num_rows))


@transform(scope="record")
def first_come(rows):
    """Drops rows whose value an earlier row has."""
    kept = np.sort(np.unique(values(rows), return_index=True)[1])
    return rows.take(kept), kept


@transform(scope="record")
def of_two_types(rows):
    return with_values(rows, [value if value < 9 else value / 2 for value in values(rows).tolist()])


@transform(scope="record")
def shorter(rows):
    return rows.slice(1)


@transform(scope="record")
def elsewhere(rows):
    return rows, np.arange(rows.num_rows) + 1


@transform(scope="record")
def vague(rows):
    return rows, np.linspace(0, 1, rows.num_rows)


@transform(scope="record")
def listed(rows):
    return rows.to_pylist()


@transform(scope="record")
def structured(rows):
    return rows.append_column("both", [[{"a": 1, "b": 2}] * rows.num_rows])


@transform(scope="aggregate")
def all_reals_standardised(rows):
    for place, column in enumerate(rows.schema):
        if pa.types.is_floating(column.type):
            cells = rows.column(place).to_numpy()
            scaled = pa.array((cells - cells.mean()) / (cells.std() + 1))
            rows = rows.set_column(place, column.name, scaled)
    return rows


def undecorated(rows):
    return rows
