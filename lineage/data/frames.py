"""Transform functions over pandas DataFrames: pandas is imported when one is executed."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from lineage.errors import TransformError


def called(function: Callable[..., Any], inputs: Sequence[pa.Table]) -> Any:
    """Call a function with frames; what it returns, with a table in place of a frame.

    A frame that is returned alone, of one input, says by its index which rows it was made from.
    Columns have Arrow types, which do not depend on the rows that happen to be present.

    Raises:
        TransformError: pandas is not installed.
    """
    pandas = _pandas()
    made = function(*(table.to_pandas(types_mapper=pandas.ArrowDtype) for table in inputs))
    frame, *given = made if isinstance(made, tuple) else (made,)
    if not isinstance(frame, pandas.DataFrame):
        return made
    if not given and len(inputs) == 1:
        given = [frame.index.to_numpy()]
    return (pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(), *given)


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise TransformError(
            "a transform over pandas frames needs pandas, which is not installed",
            hint='pip install pandas, or take Arrow tables: leave frames="pandas" out',
        ) from error
    return pandas
